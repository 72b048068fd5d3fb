"""The real `marlbench run` with real jobs; in a process of its own where signals are the matter."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from marlbench.errors import CELLS_FAILED, STORE, USAGE
from marlbench.plugins import plugins

SUITE = """\
schema: 1
suite: small
title: Little of everything
rows: 2
seeds: 2
steps: 40
protocol: {{kind: episodic, policy: sampled, evaluations: 2, episodes: 2, absolute_episodes: 2}}
algorithms:
  random: {{}}
  raises: {{algorithm: misbehaving, hyperparameters: {{raises: true}}, seeds: 1}}
  killed: {{algorithm: misbehaving, hyperparameters: {{kills: 1, folder: {marks}}}, seeds: 1}}
  slow: {{algorithm: misbehaving, hyperparameters: {{pause: 0.05, folder: {marks}}}, steps: 2000}}
  deaf: {{algorithm: misbehaving, hyperparameters: {{pause: 60.0, folder: {marks}}}, seeds: 1}}
tasks:
  stag:
    environment: matrix_game:stag_hunt
    parameters: {{rounds: 5}}
    score: {{metric: return_mean, low: 0.0, high: 20.0, source: the test}}
"""
SECONDS = 120

Typed = Callable[..., tuple[int, str, str]]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


@pytest.fixture
def environment(tmp_path: Path, marks: Path) -> dict[str, str]:
    """Of a user in an empty directory who has installed the plug-in of methods.py."""
    folder = tmp_path / "plugins"
    metadata = folder / "misbehaving-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[marlbench.algorithms]\nmisbehaving = methods:Misbehaving\n")
    shutil.copy(Path(__file__).with_name("methods.py"), folder / "methods.py")
    (tmp_path / "small.yaml").write_text(SUITE.format(marks=marks))
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MARLBENCH_", "MLFLOW_"))
    }
    return {**kept, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(folder)}


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Starts `marlbench ...` in its own process group; whatever is left at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, **options: Any) -> subprocess.Popen[str]:
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        process = subprocess.Popen(
            [sys.executable, "-m", "marlbench", *words],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **pipes,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            everyone = [psutil.Process(process.pid)]
            for one in [*everyone, *everyone[0].children(recursive=True)]:
                one.kill()
        process.communicate()


@pytest.fixture
def run(
    typed: Typed, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs `marlbench ...` in this process, which has torch already; jobs are processes as ever."""
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
    monkeypatch.syspath_prepend(environment["PYTHONPATH"])
    plugins.cache_clear()

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["/somewhere/marlbench", *words])
        return typed(*words)

    yield run
    plugins.cache_clear()
    sys.modules.pop("methods", None)


def wait_for(question: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def jobs_below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        # One that ends while it is looked at is none.
        with contextlib.suppress(psutil.Error):
            if "run-job" in child.cmdline():
                found.append(child)
    return found


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_failures_retries_and_what_a_user_is_told(run: Any, tmp_path: Path) -> None:
    arguments = ("run", "./small.yaml", "--algorithm", "random,raises,killed")
    code, out, said = run(*arguments)
    assert code == CELLS_FAILED
    assert re.search(r"small: .*3 of 4 cells done", out)
    assert "4: 0 done, 0 to resume, 4 to run" in said
    assert re.search(r"killed/stag seed 0: signal: ended by SIGKILL.*; starts again.*\(retry 1\)", said)
    assert "raises/stag/s0: exception: ValueError: the reward is a string" in said
    assert "To try them again: /somewhere/marlbench run ./small.yaml --algorithm random,raises,killed" in said
    (hint,) = re.findall(r"marlbench logs (\w+)", said)

    code, out, _ = run("logs", hint, "-n", "5")
    assert code == 0
    assert "attempt 1: " in out
    assert "failed, exception: ValueError: the reward is a string" in out
    assert out.rstrip().splitlines()[-1].endswith("ValueError: the reward is a string")

    code, out, _ = run("status", "--json")
    document = json.loads(out)
    assert document["schema"] == 1
    assert document["states"] == {"done": 3, "failed": 1}
    assert [(one["name"], one["failure"]) for one in document["trouble"]] == [("raises/stag/s0", "exception")]

    (tmp_path / "results/index.sqlite").unlink()
    before = snapshot(tmp_path / "results")
    code, out, said = run(*arguments, "--dry-run", "--json")
    assert code == 0
    assert snapshot(tmp_path / "results") == before
    plan = json.loads(out)
    assert (plan["dry_run"], plan["cells"], plan["done"], plan["to_run"]) == (True, 4, 3, 1)
    assert "1 cell failed before" in said

    code, out, _ = run("run", "./small.yaml", "--algorithm", "random,killed", "--json")
    assert code == 0
    assert json.loads(out) == {
        "schema": 1,
        "matrix_id": json.loads(out)["matrix_id"],
        "cells": 3,
        "done": 3,
        "done_before": 3,
        "done_now": 0,
        "failed": 0,
        "interrupted": 0,
    }


def test_a_dry_run_makes_no_store(run: Any, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    code, out, said = run("run", "./small.yaml", "--dry-run", "--algorithm", "random")
    assert (code, out) == (0, "")
    assert "2: 0 done, 0 to resume, 2 to run" in said
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "results").exists()


def test_an_unusable_store_ends_the_run_before_it_begins(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, out, said = run("run", "./small.yaml", "--algorithm", "random", "--results", "file/results")
    assert (code, out) == (STORE, "")
    assert "error:" in said
    assert str(tmp_path / "file") in said
    assert "Traceback" not in said


@pytest.mark.parametrize("options", [("--device", "gpu"), ("--device", "cuda:7")])
def test_options_that_cannot_be_met_are_usage_errors(
    run: Any, tmp_path: Path, options: tuple[str, str]
) -> None:
    code, out, said = run("run", "./small.yaml", "--algorithm", "random", *options)
    assert (code, out) == (USAGE, "")
    assert options[1] in said
    assert not (tmp_path / "results").exists()


def test_ctrl_c_says_what_is_safe_and_the_same_command_goes_on(
    start: Start, tmp_path: Path, marks: Path
) -> None:
    arguments = ("run", "./small.yaml", "--algorithm", "random,slow", "--jobs", "2", "--json")
    process = start(*arguments)
    results = tmp_path / "results"
    wait_for(lambda: (marks / "busy").exists() and len(list(results.glob("cells/*/result.json"))) == 2)
    jobs = jobs_below(process)
    assert jobs
    os.killpg(process.pid, signal.SIGINT)
    pressed = time.monotonic()
    out, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert time.monotonic() - pressed < 60
    assert not any(job.is_running() for job in jobs)
    summary = json.loads(out)
    assert (summary["cells"], summary["done"], summary["failed"], summary["interrupted"]) == (4, 2, 0, 2)
    assert "Stopped by Ctrl-C. Safe on disk: 2 of 4 cells are done, 2 begun ones go on" in said
    (command,) = re.findall(r"Go on with: (.*)", said)
    assert command.endswith("marlbench run ./small.yaml --algorithm random,slow --jobs 2 --json")

    goes_on = start(*arguments)
    wait_for(lambda: list(results.glob("cells/*/attempts/2.json")))
    follower = start("logs", "slow/stag/s0", "--follow")
    time.sleep(3.0)
    goes_on.send_signal(signal.SIGTERM)
    out, said = goes_on.communicate(timeout=SECONDS)
    followed, _ = follower.communicate(timeout=30)
    assert (goes_on.returncode, follower.returncode) == (143, 0)
    assert "attempt 2: " in followed
    assert "no end recorded" in followed
    assert "stopped by SIGTERM" in followed.splitlines()[-1]
    assert json.loads(out)["done_before"] == 2
    assert "2 to resume" in said
    assert "Stopped by SIGTERM" in said


def test_a_second_ctrl_c_kills_at_once(start: Start, marks: Path) -> None:
    process = start("run", "./small.yaml", "--algorithm", "deaf")
    wait_for((marks / "busy").exists)
    (job,) = jobs_below(process)
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)
    assert job.is_running()
    process.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    wait_for(lambda: not job.is_running() or job.status() == psutil.STATUS_ZOMBIE, seconds=5.0)
    assert time.monotonic() - pressed < 5
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert "killing 1 job" in said


def test_on_a_terminal_there_is_a_bar_and_ctrl_c_is_a_key(
    start: Start, environment: dict[str, str], marks: Path
) -> None:
    """The program leads the terminal's session, so the terminal turns the key into a signal for it alone."""
    environment["TERM"] = "xterm-256color"
    environment.pop("COLUMNS")
    ours, theirs = pty.openpty()
    program = (
        "import fcntl, os, sys, termios\n"
        f"fcntl.ioctl({theirs}, termios.TIOCSCTTY, 0)\n"
        f"for number in (0, 1, 2): os.dup2({theirs}, number)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'marlbench', *sys.argv[1:]])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "run", "./small.yaml", "--algorithm", "slow", "--seeds", "1"],
        cwd=marks.parent,
        env=environment,
        start_new_session=True,
        pass_fds=[theirs],
    )
    os.close(theirs)
    shown = bytearray()

    def read() -> None:
        # The terminal is gone, an OSError, when the last process has closed it.
        with contextlib.suppress(OSError):
            while block := os.read(ours, 4096):
                shown.extend(block)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        wait_for((marks / "busy").exists)
        wait_for(lambda: b"0/1 cells" in shown and b"slow/stag seed 0" in shown)
        os.write(ours, b"\x03")
        process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()
    reader.join(10)
    os.close(ours)
    text = shown.decode(errors="replace")
    assert process.returncode == 130
    assert "Stopped by Ctrl-C" in text
    assert "Go on with: " in text
    assert "Traceback" not in text
