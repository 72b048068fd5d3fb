"""Two hundred short cells while jobs, schedulers, fork servers, projectors and the MLflow server are killed at random.

CHAOS_SECONDS says for how long, CHAOS_CELLS how many cells, CHAOS_SEED which sequence of deaths.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .conftest import Start, suite
from .daemons import wait_for
from .looking import assert_all_done_once, finish, results
from .mlflow_server import Team, why_not
from .test_server import runs

CELLS = int(os.environ.get("CHAOS_CELLS", "200"))
STEPS = 2000
SECONDS = float(os.environ.get("CHAOS_SECONDS", "300"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
RUN = ("run", "small.yaml", "--seeds-per-job", "2", "--jobs", "2")
AGAIN = 10


@pytest.fixture
def team() -> Iterator[Team]:
    if reason := why_not():
        pytest.skip(reason)
    one = Team()
    try:
        one.start()
        yield one
    finally:
        one.stop()


MARKS = {"job": "run-job", "fork server": "marlbench.engines.fork_server", "projector": "--follow"}


def victims(kind: str, commands: list[subprocess.Popen[str]]) -> list[psutil.Process]:
    """The processes of this kind that the commands have started."""
    if kind == "command":
        return [psutil.Process(commands[0].pid)]
    below = [child for command in commands for child in psutil.Process(command.pid).children(recursive=True)]
    return [process for process in below if MARKS[kind] in process.cmdline()]


def left(folder: Path) -> list[list[str]]:
    """Command lines of processes that work in the store."""
    root = str(folder / "results")
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if root in line]


def test_chaos(team: Team, folder: Path, start: Start) -> None:
    suite(folder, seeds=CELLS, steps=STEPS)
    dice = random.Random(SEED)
    deaths: Counter[str] = Counter()
    commands: list[subprocess.Popen[str]] = []
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and len(results(folder)) < CELLS:
        commands = [command for command in commands if command.poll() is None]
        while len(commands) < 2:
            commands.append(start(*RUN, env=team.environment()))
        time.sleep(dice.uniform(0.5, 4.0))
        kind = dice.choices(("job", "command", "fork server", "projector", "server"), (8, 2, 1, 1, 1))[0]
        if kind == "server":
            team.server.stop(9)
            team.server.start()
            deaths[kind] += 1
            continue
        try:
            if found := victims(kind, commands):
                dice.choice(found).kill()
                deaths[kind] += 1
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    print(f"\ndeaths: {dict(deaths)}; cells done meanwhile: {len(results(folder))}")
    assert deaths["job"]
    for command in commands:
        command.kill()
    wait_for(team.answers, 240)
    for _ in range(AGAIN):
        command = start(*RUN, env=team.environment())
        command.communicate(timeout=3600)
        if command.returncode == 0:
            break
    assert_all_done_once(folder, CELLS, "local")
    finish(start("sync", env=team.environment()))
    wait_for(lambda: not left(folder), what="the end of every process")
    shown = Counter(
        run["tags"]["marlbench.cell_id"]
        for run in runs(team, "small")
        if "marlbench.superseded" not in run["tags"]
    )
    assert shown == Counter(results(folder).keys())

    finish(start(*RUN, "--results", "calm", "--json"))
    calm = {
        path.parent.name: json.loads(path.read_text())["outcome"]
        for path in folder.glob("calm/cells/*/result.json")
    }
    assert {cell: result["outcome"] for cell, result in results(folder).items()} == calm
