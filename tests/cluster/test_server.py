"""A team's MLflow with PostgreSQL and authentication: it may be away, refuse or restart, and training goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Start, suite
from .daemons import wait_for
from .looking import finish, results, workers
from .mlflow_server import Team, why_not

# Asked in a process of its own, because a client keeps what its environment said first.
ASK = """
import json, sys
from mlflow.tracking import MlflowClient
client = MlflowClient()
found = []
for experiment in client.search_experiments():
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        points = {name: len(client.get_metric_history(run.info.run_id, name)) for name in run.data.metrics}
        files = [item.path for item in client.list_artifacts(run.info.run_id)]
        found.append({"experiment": experiment.name, "tags": run.data.tags, "points": points, "files": files})
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    if reason := why_not():
        pytest.skip(reason)
    one = Team()
    try:
        one.start()
        yield one
    finally:
        one.stop()


def runs(team: Team, suite: str) -> list[dict[str, Any]]:
    """What the server holds of a suite."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, **team.environment()},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return [run for run in json.loads(done.stdout) if run["tags"]["marlbench.suite"] == suite]


def named(folder: Path, name: str, seeds: int, steps: int) -> None:
    """small.yaml under another name, so that tests do not see each other's runs."""
    suite(folder, seeds=seeds, steps=steps)
    path = folder / "small.yaml"
    path.write_text(path.read_text().replace("suite: small", f"suite: {name}"))


def assert_each_cell_once(team: Team, folder: Path, name: str) -> None:
    found = runs(team, name)
    assert Counter(run["tags"]["marlbench.cell_id"] for run in found) == Counter(results(folder).keys())
    for run in found:
        assert run["points"]["eval/return_mean"] == 4
        assert "configuration.json" in run["files"]


def test_a_server_that_restarts_during_a_run(team: Team, folder: Path, start: Start) -> None:
    named(folder, "restarted", seeds=2, steps=20_000)
    process = start("run", "small.yaml", env=team.environment())
    wait_for(lambda: workers(folder), 300)
    team.server.stop(signal.SIGKILL)
    wait_for(lambda: len(results(folder)) == 2, 600, "the end of training")
    team.server.start()
    finish(process)
    wait_for(team.answers, 240)
    finish(start("sync", env=team.environment()))
    assert_each_cell_once(team, folder, "restarted")


def test_a_database_that_restarts_during_a_run(team: Team, folder: Path, start: Start) -> None:
    named(folder, "database", seeds=2, steps=12_000)
    process = start("run", "small.yaml", env=team.environment())
    wait_for(lambda: workers(folder), 300)
    team.database.stop(signal.SIGQUIT)
    team.database.start()
    finish(process)
    finish(start("sync", env=team.environment()))
    assert_each_cell_once(team, folder, "database")


def test_a_server_that_refuses(team: Team, folder: Path, start: Start) -> None:
    named(folder, "refused", seeds=1, steps=4000)
    said = finish(start("run", "small.yaml", env=team.environment("wrong")))
    assert len(results(folder)) == 1
    assert "refuses" in said
    assert "MLFLOW_TRACKING_PASSWORD" in said or "MLflow is not up to date" in said
    assert runs(team, "refused") == []
    finish(start("sync", env=team.environment()))
    assert_each_cell_once(team, folder, "refused")


def test_eight_writers_at_once(team: Team, folder: Path, start: Start) -> None:
    """Eight stores with a cell each, and a ninth that has all of them again."""
    named(folder, "eight", seeds=8, steps=2000)
    finish(start("run", "small.yaml", "--seeds-per-job", "1"))
    for seed in range(8):
        finish(start("cells", "export", f"{seed}.tar", f"eight/spread/ippo/s{seed}"))
        finish(start("cells", "import", f"{seed}.tar", "--results", f"store-{seed}"))
    writers = [start("sync", "--results", f"store-{seed}", env=team.environment()) for seed in range(8)]
    for writer in writers:
        finish(writer)
    assert_each_cell_once(team, folder, "eight")
    finish(start("sync", env=team.environment()))
    assert_each_cell_once(team, folder, "eight")
