from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from marlbench.store import checkpoint, execution, locks
from marlbench.store.failures import classify
from marlbench.store.process import WithoutSecrets
from marlbench.store.states import Failure
from marlbench.store.uris import cut


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no uri: a@b?c", "no uri: a@b?c"),
        ("at https://user:pw@host:80/path?token=x&y=z#part.", "at https://host:80/path"),
        ("'postgresql://u:p@s@db/name?sslkey=k', next", "'postgresql://db/name', next"),
        ("https://host/path", "https://host/path"),
        ("two http://a@b/ and s3://k:s@bucket/x", "two http://b/ and s3://bucket/x"),
        ("mail@example.org at http://host", "mail@example.org at http://host"),
        ("https://token@host", "https://host"),
        ("http://host?key=secret", "http://host"),
    ],
)
def test_secrets_are_cut_from_uris(text: str, expected: str) -> None:
    assert cut(text) == expected


def test_a_stream_cuts_secrets_that_come_in_pieces(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    stream = WithoutSecrets(descriptor)
    for piece in ("begin http://us", "er:pass", "word@host/x?to", "ken=1 end\nnext", " line"):
        stream.write(piece)
    stream.flush()
    os.close(descriptor)
    assert (tmp_path / "log").read_text() == "begin http://host/x end\nnext line"
    # A full or closed log ends nothing.
    stream.write("more\n")
    print("text", file=stream, flush=True)


@pytest.mark.parametrize(
    ("error", "code", "failure"),
    [
        (OSError(28, "No space left on device"), 12, Failure.DISK_FULL),
        (OSError(13, "Permission denied"), 10, Failure.EXCEPTION),
        (MemoryError(), 11, Failure.MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory"), 11, Failure.MEMORY),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 11, Failure.MEMORY),
        (RuntimeError("shape mismatch\nat line 2"), 10, Failure.EXCEPTION),
        (KeyboardInterrupt(), 10, Failure.EXCEPTION),
    ],
)
def test_errors_are_classified(error: BaseException, code: int, failure: Failure) -> None:
    found, kind, reason = classify(error)
    assert (found, kind) == (code, failure)
    assert reason
    assert "\n" not in reason


def test_checkpoints_cost_at_most_a_twentieth() -> None:
    spacing = checkpoint.Spacing(0.0)
    now = time.monotonic()
    assert spacing.due(now)
    spacing.done(cost=2.0)
    now = time.monotonic()
    assert not spacing.due(now + 37.0)
    assert spacing.due(now + 38.0)
    rare = checkpoint.Spacing(5.0)
    rare.done(cost=0.01)
    assert not rare.due(time.monotonic() + 4.5)


def test_a_policy_holds_its_own_tensors_only(tmp_path: Path) -> None:
    stack = torch.zeros(1000, 100)
    checkpoint.save(tmp_path / "policy.pt", checkpoint.compact({"w": stack[3], "deep": [(stack[:, 1], 2)]}))
    assert (tmp_path / "policy.pt").stat().st_size < 10_000
    loaded = torch.load(tmp_path / "policy.pt", weights_only=True)
    assert loaded["deep"][0][0].shape == (1000,)


def test_a_lock_outlives_no_holder_and_no_fork(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.is_held(path)
    lock = locks.Lock.take(path, patience=0)
    assert lock is not None
    assert locks.is_held(path)
    assert locks.Lock.take(path, patience=0.05) is None
    ours, theirs = socket.socketpair()
    if (child := os.fork()) == 0:
        ours.close()
        theirs.send(b"alive")
        theirs.recv(1)
        os._exit(0)
    theirs.close()
    assert ours.recv(5) == b"alive"
    # As if this process died: the descriptor goes without an unlock, while the fork lives on.
    lock._forget()
    assert not locks.is_held(path)
    ours.close()
    os.waitpid(child, 0)


def test_looking_at_a_lock_does_not_keep_anyone_from_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    program = (
        "import sys; from pathlib import Path; from marlbench.store import locks\n"
        "print('looking', flush=True)\n"
        "while True: locks.is_held(Path(sys.argv[1]))\n"
    )
    looker = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    try:
        assert looker.stdout is not None
        looker.stdout.readline()
        for _ in range(50):
            lock = locks.Lock.take(path, patience=1.0)
            assert lock is not None
            lock.release()
    finally:
        looker.kill()
        looker.wait()


def test_processor_time_of_children_counts() -> None:
    before = execution.cpu_seconds()
    program = (
        "import time; end = time.process_time() + 0.3\n"
        "while time.process_time() < end: pass\n"
        "print(flush=True); input()"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    living = execution.cpu_seconds()
    child.communicate(b"\n")
    reaped = execution.cpu_seconds()
    assert living >= before + 0.29
    assert reaped >= living


def test_run_job_leaves_with_one_line_and_its_code(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "marlbench", "run-job", "0" * 16, "--results", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 10
    assert len(ended.stderr.splitlines()) == 1
    assert "there is no store" in ended.stderr
