"""Two hundred short cells while jobs, schedulers, fork servers, projectors and the MLflow server are killed at random.

CHAOS_SECONDS says for how long, CHAOS_CELLS how many cells, CHAOS_SEED which sequence of deaths.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil

from .conftest import Start, suite
from .daemons import wait_for
from .looking import assert_all_done_once, results
from .mlflow_server import Team

CELLS = int(os.environ.get("CHAOS_CELLS", "200"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "300"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
EVALUATIONS = 4
RUN = ("run", "small.yaml", "--seeds-per-job", "2", "--jobs", "2")
# How often which kind of process dies, and the word of its command line that tells it.
KINDS = {"job": 8, "command": 2, "fork server": 1, "projector": 1, "server": 1}
WORDS = {"job": "run-job", "fork server": "marlbench.engines.fork_server", "projector": "--follow"}
# For a machine that does other things too.
PATIENCE = 3600.0


class Family:
    """The commands, and every process that they have started so far."""

    def __init__(self) -> None:
        self.commands: list[subprocess.Popen[str]] = []
        self.seen: set[psutil.Process] = set()

    def look(self) -> dict[str, list[psutil.Process]]:
        """Who is there now, by kind."""
        self.commands = [command for command in self.commands if command.poll() is None]
        found: dict[str, list[psutil.Process]] = {"command": []}
        for command in self.commands:
            process = psutil.Process(command.pid)
            found["command"].append(process)
            for child in process.children(recursive=True):
                self.seen.add(child)
                try:
                    words = child.cmdline()
                except psutil.Error:
                    continue
                for kind in (kind for kind, word in WORDS.items() if word in words):
                    found.setdefault(kind, []).append(child)
        self.seen |= set(found["command"])
        return found

    def left(self) -> list[psutil.Process]:
        """Who is there still."""
        return [one for one in self.seen if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def unleash(team: Team, folder: Path, start: Start, family: Family) -> Counter[str]:
    """Keep two commands at work on one store and kill, until the time is over; returns who died how often."""
    dice = random.Random(SEED)
    deaths: Counter[str] = Counter()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and len(results(folder)) < CELLS:
        there = family.look()
        while len(family.commands) < 2:
            family.commands.append(start(*RUN, env=team.environment()))
        time.sleep(dice.uniform(0.5, 3.0))
        (kind,) = dice.choices(list(KINDS), list(KINDS.values()))
        if kind == "server":
            if team.answers():
                team.server.stop(signal.SIGKILL)
                team.server.start()
                deaths[kind] += 1
        elif there.get(kind):
            victim = dice.choice(there[kind])
            if victim.is_running():
                victim.kill()
                deaths[kind] += 1
    family.look()
    for command in family.commands:
        command.kill()
    return deaths


def test_chaos(team: Team, folder: Path, start: Start) -> None:
    suite(folder, seeds=CELLS, steps=2000)
    family = Family()
    deaths = unleash(team, folder, start, family)
    print(f"\ndeaths: {dict(deaths)}; {len(results(folder))} of {CELLS} cells done meanwhile")
    assert deaths["job"]
    assert deaths["command"]
    team.wait()

    # The same command once more, and nothing is left to do.
    last = start(*RUN, "--json", env=team.environment())
    out, said = last.communicate(timeout=PATIENCE)
    assert last.returncode == 0, said
    outcome = json.loads(out)
    assert (outcome["done"], outcome["failed"], outcome["interrupted"]) == (CELLS, 0, 0)
    assert_all_done_once(folder, CELLS, "local")
    wait_for(lambda: not family.left(), what="the end of every process")

    sent = start("sync", env=team.environment())
    _, said = sent.communicate(timeout=PATIENCE)
    assert sent.returncode == 0, said
    shown = team.runs("small")
    assert Counter(run["tags"]["marlbench.cell_id"] for run in shown) == Counter(results(folder).keys())
    for run in shown:
        assert run["status"] == "FINISHED"
        steps = team.steps(run["id"])
        assert len(steps) == len(set(steps)) == EVALUATIONS

    calm = start(*RUN, "--results", "calm")
    _, said = calm.communicate(timeout=PATIENCE)
    assert calm.returncode == 0, said
    expected = {
        path.parent.name: json.loads(path.read_text())["outcome"]
        for path in folder.glob("calm/cells/*/result.json")
    }
    assert {cell: result["outcome"] for cell, result in results(folder).items()} == expected
