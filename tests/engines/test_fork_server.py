from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from marlbench.engines.forking import COMMAND, ForkedProcess
from marlbench.engines.local import LocalEngine, LocalProcess

from .test_local import exit_code, wait_for

# Verbs that the server offers to its children: what `marlbench.cli.main` is replaced by below.
VERBS = """
import os, pathlib, signal, subprocess, sys, time
import marlbench.cli

def main(arguments):
    verb, *rest = arguments
    if verb == "leave":
        sys.exit(int(rest[0]))
    if verb == "say":
        print(os.environ["WORD"], os.getcwd(), "torch" in sys.modules, os.getsid(0) == os.getpid())
        sys.exit(0)
    if verb == "sleep":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        pathlib.Path(rest[0]).write_text(str(child.pid))
        time.sleep(60)
    if verb == "wait":
        pathlib.Path(rest[0]).touch()
        os.read(int(os.environ["MARLBENCH_LIFELINE"]), 1)
        pathlib.Path(rest[0]).unlink()
        sys.exit(7)
    raise RuntimeError("no such verb")

marlbench.cli.main = main
"""


@pytest.fixture
def verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that the server loads."""
    (tmp_path / "verbs_for_tests.py").write_text(VERBS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "verbs_for_tests"


@pytest.fixture
def engine(verbs: str) -> Iterator[LocalEngine]:
    engine = LocalEngine((verbs, "torch"))
    yield engine
    engine.close()


def start(engine: LocalEngine, folder: Path, *words: str, **environment: str) -> ForkedProcess:
    process = engine.start([*COMMAND, *words], {**os.environ, **environment}, folder)
    assert isinstance(process, ForkedProcess)
    return process


def test_a_job_is_forked_with_torch_loaded(engine: LocalEngine, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    process = start(engine, folder, "say", WORD="$HOME; x")
    assert exit_code(process) == 0
    assert process.output() == f"$HOME; x {folder} True True\n"
    process.close()


def test_ends_are_told_one_by_one(engine: LocalEngine, tmp_path: Path) -> None:
    several = {code: start(engine, tmp_path, "leave", str(code)) for code in (0, 75, 10, 3)}
    assert {code: exit_code(process) for code, process in several.items()} == {code: code for code in several}
    failed = start(engine, tmp_path, "nothing")
    assert exit_code(failed) == 1
    assert "RuntimeError: no such verb" in failed.output()


def test_it_is_listed_by_its_own_words(engine: LocalEngine, tmp_path: Path) -> None:
    process = start(engine, tmp_path, "sleep", str(tmp_path / "child"))
    wait_for((tmp_path / "child").exists)
    assert psutil.Process(process.pid).cmdline()[:2] == ["marlbench", "sleep"]
    assert process.memory() > 10 << 20
    process.kill()
    assert exit_code(process) == -signal.SIGKILL
    assert process.memory() == 0


def test_kill_ends_the_whole_group(engine: LocalEngine, tmp_path: Path) -> None:
    process = start(engine, tmp_path, "sleep", str(tmp_path / "child"))
    wait_for(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    child = psutil.Process(int((tmp_path / "child").read_text()))
    process.terminate()
    assert exit_code(process) == -signal.SIGTERM
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_job_dies_with_its_scheduler_and_so_does_the_server(verbs: str, tmp_path: Path) -> None:
    program = (
        "import os, pathlib, time\n"
        "from marlbench.engines.forking import COMMAND\n"
        "from marlbench.engines.local import LocalEngine\n"
        f"engine = LocalEngine(({verbs!r},))\n"
        "job = engine.start([*COMMAND, 'wait', 'waiting'], os.environ, pathlib.Path('.'))\n"
        "print(job.pid, engine._server._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert parent.stdout is not None
    both = [psutil.Process(int(word)) for word in parent.stdout.readline().split()]
    wait_for((tmp_path / "waiting").exists)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in both))
    assert not (tmp_path / "waiting").exists()


def test_when_the_server_is_killed_jobs_go_on_and_others_start_anew(
    engine: LocalEngine, tmp_path: Path
) -> None:
    process = start(engine, tmp_path, "sleep", str(tmp_path / "child"))
    wait_for((tmp_path / "child").exists)
    assert engine._server is not None
    engine._server._process.kill()
    engine._server._process.wait()
    assert process.poll() is None
    plain = engine.start([*COMMAND, "--help"], os.environ, tmp_path)
    assert isinstance(plain, LocalProcess)
    assert exit_code(plain) == 0
    process.kill()
    assert exit_code(process) == -signal.SIGKILL


def test_a_server_with_threads_forks_nothing(verbs: str, tmp_path: Path) -> None:
    (tmp_path / "threads_for_tests.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    engine = LocalEngine((verbs, "threads_for_tests"))
    process = engine.start([*COMMAND, "--help"], os.environ, tmp_path)
    assert isinstance(process, LocalProcess)
    assert exit_code(process) == 0
    engine.close()


def test_other_programs_are_not_forked(engine: LocalEngine, tmp_path: Path) -> None:
    process = engine.start([sys.executable, "-c", ""], os.environ, tmp_path)
    assert isinstance(process, LocalProcess)
    assert exit_code(process) == 0
    assert engine._server is None
