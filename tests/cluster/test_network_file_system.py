"""Stores on a network file system whose flock other machines do not see: leases decide who writes what."""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import psutil
import pytest

from .conftest import Start, suite
from .daemons import wait_for
from .looking import assert_all_done_once, finish, results
from .network import ELSEWHERE, Machine, why_not

LEASES = {"MARLBENCH_LOCKS": "leases"}
RUN = ("run", "small.yaml", "--jobs", "1", "--seeds-per-job", "1", "--results")


@pytest.fixture
def machines(folder: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two machines that share the directory `results`."""
    if reason := why_not():
        pytest.skip(reason)
    shared = folder / "results"
    shared.mkdir()
    made: list[Machine] = []
    try:
        made.append(Machine("first", shared, folder))
        made.append(Machine("second", shared, folder))
        yield made[0], made[1]
    finally:
        for machine in made:
            machine.stop()


def run(start: Start, machine: Machine) -> subprocess.Popen[str]:
    cache = {"XDG_CACHE_HOME": f"{machine.mount}-cache", "MPLCONFIGDIR": matplotlib.get_cachedir()}
    return start(*RUN, str(machine.mount), env={**LEASES, **cache}, prefix=ELSEWHERE)


def jobs(machine: Machine) -> list[psutil.Process]:
    """The processes of jobs whose store is this mount."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "run-job" in words and str(machine.mount) in words:
            found.append(process)
    return found


def outcomes(folder: Path, calm: Path) -> tuple[dict[str, object], dict[str, object]]:
    expected = {path.parent.name: json.loads(path.read_text()) for path in calm.glob("cells/*/result.json")}
    return (
        {cell: result["outcome"] for cell, result in results(folder).items()},
        {cell: result["outcome"] for cell, result in expected.items()},
    )


def test_two_machines_share_the_work(machines: tuple[Machine, Machine], folder: Path, start: Start) -> None:
    first, second = machines
    with (first.mount / "probe").open("w") as one, (second.mount / "probe").open("r+") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        # What leases are for: no error, and both have it.
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    suite(folder, seeds=6, steps=16_000)
    both = [run(start, machine) for machine in machines]
    said = [finish(process) for process in both]
    assert all("is done, by another run" in text for text in said), "one of them did everything"
    assert_all_done_once(folder, 6, "local")
    attempts = [path.name for path in folder.glob("results/cells/*/attempts/*.json")]
    assert attempts == ["1.json"] * 6
    assert not list(folder.glob("results/*.sqlite")), "databases do not belong on a network file system"
    assert not list(folder.glob("results/mlflow.db"))


def test_what_a_dead_machine_had_begun_goes_on_elsewhere(
    machines: tuple[Machine, Machine], folder: Path, start: Start
) -> None:
    first, second = machines
    suite(folder, seeds=2, steps=40_000)
    run(start, first)
    wait_for(lambda: list(folder.glob("results/jobs/*/checkpoint.pt")), 300, "a checkpoint")
    (job,) = jobs(first)
    first.die()
    job.kill()
    said = finish(run(start, second))
    assert "another run has it" in said, "the lease of the dead was not respected"
    assert_all_done_once(folder, 2, "local")
    begun = [len(list(cell.glob("attempts/[0-9]*.json"))) for cell in folder.glob("results/cells/*")]
    assert sorted(begun) == [1, 2]
    finish(start(*RUN, "calm"))
    found, expected = outcomes(folder, folder / "calm")
    assert found == expected


def test_a_machine_that_stood_still_writes_no_more_when_it_wakes(
    machines: tuple[Machine, Machine], folder: Path, start: Start
) -> None:
    first, second = machines
    suite(folder, seeds=1, steps=40_000)
    sleeper = run(start, first)
    wait_for(lambda: list(folder.glob("results/jobs/*/checkpoint.pt")), 300, "a checkpoint")
    (job,) = jobs(first)
    everyone = [*psutil.Process(sleeper.pid).children(recursive=True), psutil.Process(sleeper.pid)]
    for process in everyone:
        process.suspend()
    finish(run(start, second))
    (done,) = results(folder).values()
    for process in everyone:
        process.resume()
    assert "1 of 1 cells done" in finish(sleeper)
    assert not job.is_running()
    assert list(results(folder).values()) == [done]
    log = next(folder.glob("results/jobs/*/log.txt")).read_text()
    assert "was stopped for too long" in log
    finish(start(*RUN, "calm"))
    found, expected = outcomes(folder, folder / "calm")
    assert found == expected
