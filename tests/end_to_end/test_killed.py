"""kill -9 at random moments, of the jobs, of the command, of both; then the same command again."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from .support import assert_same, family, kill

Command = Callable[..., "subprocess.Popen[str]"]


def jobs_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The job processes that a command has started and that are still there."""
    found = []
    for one in family(process):
        try:
            if "run-job" in one.cmdline():
                found.append(one)
        except psutil.Error:
            continue
    return found


def wait_for_a_job(process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not jobs_of(process) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_again_and_again_nothing_is_lost_doubled_or_different(
    kills: int, suite: Path, command: Command, tmp_path: Path
) -> None:
    calm, torn = tmp_path / "calm", tmp_path / "torn"
    arguments = ("run", str(suite), "--jobs", "2", "--seeds-per-job", "2", "--json", "--results")
    finished = command(*arguments, str(calm))
    output, talk = finished.communicate(timeout=300)
    assert finished.returncode == 0, talk
    assert json.loads(output)["done_now"] == 12

    draw = random.Random(1)
    for killed in range(kills):
        process = command(*arguments, str(torn))
        wait_for_a_job(process)
        time.sleep(draw.uniform(0.0, 9.0))
        everyone, jobs = family(process), jobs_of(process)
        for victim in (jobs[:1], everyone[:1], everyone)[killed % 3]:
            kill(victim)
        if killed % 3 == 0:
            # The command starts its job again by itself; it is killed too, so that the next round begins.
            time.sleep(draw.uniform(0.0, 3.0))
            for one in family(process):
                kill(one)
        process.wait(timeout=30)
    last = command(*arguments, str(torn))
    output, talk = last.communicate(timeout=300)
    assert last.returncode == 0, talk
    summary = json.loads(output)
    assert (summary["cells"], summary["done"], summary["failed"], summary["interrupted"]) == (12, 12, 0, 0)
    attempts = [len(list(path.glob("[0-9]*.json"))) for path in torn.glob("cells/*/attempts")]
    assert max(attempts) > 1, "no job was hit"
    assert_same(torn, calm)

    status = command("status", "--results", str(torn), "--json")
    output, _ = status.communicate(timeout=60)
    assert json.loads(output)["states"] == {"done": 12}
