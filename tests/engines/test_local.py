from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from marlbench.engines.jobs import Handle
from marlbench.engines.local import LIFELINE, LocalEngine

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]

# A job as the store writes them: it leaves when its lifeline ends.
WATCHER = f"""
import os
os.read(int(os.environ["{LIFELINE}"]), 1)
raise SystemExit(7)
"""


def wait_for(question: Callable[[], object], seconds: float = 20.0) -> object:
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return answer


def exit_code(process: Handle) -> int:
    wait_for(lambda: process.poll() is not None)
    code = process.poll()
    assert code is not None
    return code


def test_the_exit_code_is_the_processs(engine: LocalEngine, tmp_path: Path) -> None:
    process = engine.start([sys.executable, "-c", "raise SystemExit(75)"], os.environ, tmp_path)
    assert exit_code(process) == 75
    assert process.poll() == 75


def test_a_signal_is_a_negative_exit_code(engine: LocalEngine, tmp_path: Path) -> None:
    process = engine.start(SLEEP, os.environ, tmp_path)
    assert process.poll() is None
    process.kill()
    assert exit_code(process) == -signal.SIGKILL


def test_terminate_passes_the_signal_on(engine: LocalEngine, tmp_path: Path) -> None:
    process = engine.start(SLEEP, os.environ, tmp_path)
    process.terminate(signal.SIGINT)
    assert exit_code(process) in (-signal.SIGINT, 1)


def test_signals_after_the_end_hit_nobody(engine: LocalEngine, tmp_path: Path) -> None:
    process = engine.start([sys.executable, "-c", ""], os.environ, tmp_path)
    assert exit_code(process) == 0
    process.terminate()
    process.kill()
    assert process.poll() == 0


def test_it_runs_in_a_session_of_its_own(engine: LocalEngine, tmp_path: Path) -> None:
    process = engine.start(SLEEP, os.environ, tmp_path)
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    process.kill()
    exit_code(process)


def test_it_runs_in_the_given_folder_with_the_given_environment(engine: LocalEngine, tmp_path: Path) -> None:
    program = "import os, pathlib; pathlib.Path('said').write_text(os.environ['WORD'])"
    folder = tmp_path / "a folder; with $characters"
    folder.mkdir()
    process = engine.start([sys.executable, "-c", program], {**os.environ, "WORD": "$HOME; x"}, folder)
    assert exit_code(process) == 0
    assert (folder / "said").read_text() == "$HOME; x"


def test_what_it_leaves_in_its_group_is_killed(engine: LocalEngine, tmp_path: Path) -> None:
    program = (
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
    )
    process = engine.start([sys.executable, "-c", program], os.environ, tmp_path)
    assert exit_code(process) == 0
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_terminate_spares_the_workers_and_kill_does_not(engine: LocalEngine, tmp_path: Path) -> None:
    program = (
        "import signal, subprocess, sys, pathlib, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: pathlib.Path('told').touch())\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "pathlib.Path('half').write_text(str(child.pid)); pathlib.Path('half').rename('child')\n"
        "time.sleep(60)\n"
    )
    process = engine.start([sys.executable, "-c", program], os.environ, tmp_path)
    wait_for((tmp_path / "child").exists)
    child = psutil.Process(int((tmp_path / "child").read_text()))
    process.terminate()
    wait_for((tmp_path / "told").exists)
    assert child.is_running()
    assert process.poll() is None
    process.kill()
    assert exit_code(process) == -signal.SIGKILL
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_closing_the_engine_ends_the_lifeline(tmp_path: Path) -> None:
    engine = LocalEngine()
    process = engine.start([sys.executable, "-c", WATCHER], os.environ, tmp_path)
    time.sleep(0.2)
    assert process.poll() is None
    engine.close()
    assert exit_code(process) == 7


def test_the_lifeline_ends_when_the_parent_is_killed(tmp_path: Path) -> None:
    """Two jobs: the first must not hold the write end open for the second, nor the other way round."""
    program = (
        "import os, sys, time, pathlib\n"
        "from marlbench.engines.local import LocalEngine\n"
        "engine = LocalEngine()\n"
        f"argv = [sys.executable, '-c', {WATCHER!r}]\n"
        "jobs = [engine.start(argv, os.environ, pathlib.Path('.')) for _ in 'ab']\n"
        "print(*(job.pid for job in jobs), flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert parent.stdout is not None
    jobs = [psutil.Process(int(word)) for word in parent.stdout.readline().split()]
    assert len(jobs) == 2
    assert all(job.is_running() for job in jobs)
    parent.kill()
    parent.wait(20)
    wait_for(lambda: not any(job.is_running() and job.status() != psutil.STATUS_ZOMBIE for job in jobs))
    parent.stdout.close()


def test_what_it_said_before_it_had_a_log_is_kept(engine: LocalEngine, tmp_path: Path) -> None:
    process = engine.start(
        [sys.executable, "-c", "print('x' * 9000); raise RuntimeError('no such luck')"], os.environ, tmp_path
    )
    assert exit_code(process) == 1
    assert process.output().rstrip().endswith("RuntimeError: no such luck")
    assert len(process.output()) <= 4096
    process.close()


def test_a_program_that_does_not_exist_is_an_oserror(engine: LocalEngine, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        engine.start([str(tmp_path / "nothing")], os.environ, tmp_path)


def test_only_named_descriptors_are_inherited(engine: LocalEngine, tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "def is_open(number):\n"
        "    try: os.fstat(number)\n"
        "    except OSError: return False\n"
        "    return True\n"
        "pathlib.Path('open').write_text(' '.join(str(is_open(int(word))) for word in sys.argv[1:]))\n"
    )
    with (tmp_path / "a").open("w") as passed, (tmp_path / "b").open("w") as kept:
        numbers = [passed.fileno(), kept.fileno()]
        process = engine.start(
            [sys.executable, "-c", program, *map(str, numbers)], os.environ, tmp_path, inherit=numbers[:1]
        )
        assert exit_code(process) == 0
    assert (tmp_path / "open").read_text() == "True False"
