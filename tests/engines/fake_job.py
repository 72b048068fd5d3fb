"""A job process in miniature: FOLDER JOB CELLS WORDS. Each start does what the next of the WORDS says.

The folder stands for a store: <job>.lock, <job>.attempts (one letter for each start), <cell>.json.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

folder, job, cells, words = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(","), sys.argv[4].split(",")


def write(state: str, attempts: int, failure: str | None = None, detail: str = "") -> None:
    for cell in cells:
        document = {"state": state, "attempts": attempts, "failure": failure, "detail": detail or state}
        (folder / f"{cell}.new").write_text(json.dumps(document))
        (folder / f"{cell}.new").rename(folder / f"{cell}.json")


def leave(number: int, frame: object) -> None:
    write("interrupted", attempt)
    os._exit(128 + number)


lock = (folder / f"{job}.lock").open("a")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    raise SystemExit(75) from None

before = folder / f"{job}.attempts"
attempt = len(before.read_text()) + 1 if before.exists() else 1
word = words[min(attempt, len(words)) - 1]
with before.open("a") as stream:
    stream.write("x")
(folder / f"{job}.{attempt}.environment").write_text(json.dumps(dict(os.environ)))

if word == "broken":
    raise ImportError("libnothing.so.1 is missing")
signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, leave)
write("running", attempt)

if word == "done":
    time.sleep(0.2)
    write("done", attempt)
elif word == "done-but-killed":
    write("done", attempt)
    os.kill(os.getpid(), signal.SIGKILL)
elif word == "half":
    cells = cells[:1]
    write("done", attempt)
    os.kill(os.getpid(), signal.SIGKILL)
elif word == "nothing":
    pass
elif word == "exception":
    write("failed", attempt, "exception", "ValueError: the reward is a string")
    raise SystemExit(10)
elif word == "memory":
    raise SystemExit(11)
elif word == "disk":
    raise SystemExit(12)
elif word == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif word == "stopped":
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
elif word == "sleep":
    time.sleep(60)
elif word == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    write("running", attempt)
    (folder / f"{job}.ready").touch()
    time.sleep(60)
elif word.startswith("slow"):
    time.sleep(float(word.removeprefix("slow")))
    write("done", attempt)
elif word == "orphan":
    parent = os.getppid()
    try:
        os.read(int(os.environ["MARLBENCH_LIFELINE"]), 1)
    finally:
        (folder / f"{job}.left").touch()
