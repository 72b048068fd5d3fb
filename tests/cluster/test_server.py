"""A team's MLflow with PostgreSQL and authentication may be away, refuse, restart or be full: training goes on."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from .conftest import Start, suite
from .daemons import wait_for
from .looking import finish, results, workers
from .mlflow_server import Team

EVALUATIONS = 4


def named(folder: Path, name: str, seeds: int, steps: int) -> None:
    """small.yaml under another name, so that tests do not see each other's runs."""
    suite(folder, seeds=seeds, steps=steps)
    path = folder / "small.yaml"
    path.write_text(path.read_text().replace("suite: small", f"suite: {name}"))


def assert_each_cell_once(team: Team, folder: Path, name: str) -> None:
    """One run for each result, finished, with every evaluation once and its files."""
    found = team.runs(name)
    assert Counter(run["tags"]["marlbench.cell_id"] for run in found) == Counter(results(folder).keys())
    for run in found:
        assert run["status"] == "FINISHED"
        steps = team.steps(run["id"])
        assert len(steps) == len(set(steps)) == EVALUATIONS
        assert "configuration.json" in team.files(run["id"])


def test_a_run_is_shown_as_it_ends(team: Team, folder: Path, start: Start) -> None:
    named(folder, "shown", seeds=2, steps=4000)
    finish(start("run", "small.yaml", env=team.environment()))
    finish(start("sync", env=team.environment()))
    assert_each_cell_once(team, folder, "shown")


def test_another_user_adds_to_what_the_first_began(team: Team, folder: Path, start: Start) -> None:
    """Permission EDIT suffices for experiments and runs that another user made."""
    anna = ("correct horse 7", "anna-of-the-team")
    team.ask("users/create", {"username": anna[1], "password": anna[0]})
    named(folder, "ours", seeds=2, steps=2000)
    finish(start("run", "small.yaml", "--seeds", "1", env=team.environment()))
    finish(start("sync", env=team.environment()))
    assert len(team.runs("ours")) == 1
    finish(start("run", "small.yaml", env=team.environment(*anna)))
    finish(start("sync", env=team.environment(*anna)))
    assert_each_cell_once(team, folder, "ours")
    finish(start("sync", "--verify", env=team.environment(*anna)))
    assert_each_cell_once(team, folder, "ours")
    kept = "".join(
        path.read_text(errors="replace") for path in (folder / "results").rglob("*") if path.is_file()
    )
    assert not [word for word in anna if word in kept]


def test_a_server_that_restarts_during_a_run(team: Team, folder: Path, start: Start) -> None:
    named(folder, "restarted", seeds=2, steps=20_000)
    process = start("run", "small.yaml", env=team.environment())
    wait_for(lambda: workers(folder), 300)
    team.server.stop(signal.SIGKILL)
    wait_for(lambda: len(results(folder)) == 2, 600, "the end of training")
    team.server.start()
    finish(process)
    team.wait()
    finish(start("sync", env=team.environment()))
    assert_each_cell_once(team, folder, "restarted")


def test_a_server_killed_again_and_again_while_it_is_written_to(
    team: Team, folder: Path, start: Start
) -> None:
    """Whichever call is cut off, the one before it, or its answer, the next pass finds what had arrived."""
    named(folder, "cut", seeds=6, steps=2000)
    finish(start("run", "small.yaml", "--seeds-per-job", "6"))
    syncs = 0
    for runs_there in (1, 4):
        process = start("sync", env=team.environment())
        wait_for(lambda there=runs_there: len(team.runs("cut")) >= there, 300)
        team.server.stop(signal.SIGKILL)
        process.communicate(timeout=300)
        syncs += process.returncode != 0
        team.server.start()
        team.wait()
    assert syncs, "no sync was cut off"
    finish(start("sync", env=team.environment()))
    assert_each_cell_once(team, folder, "cut")


def test_a_database_that_dies_during_a_run(team: Team, folder: Path, start: Start) -> None:
    named(folder, "database", seeds=2, steps=12_000)
    process = start("run", "small.yaml", env=team.environment())
    wait_for(lambda: workers(folder), 300)
    team.stop_database(signal.SIGQUIT)
    wait_for(lambda: len(results(folder)) == 2, 600, "the end of training")
    team.start_database()
    finish(process)
    finish(start("sync", env=team.environment()))
    assert_each_cell_once(team, folder, "database")


def test_a_server_that_refuses(team: Team, folder: Path, start: Start) -> None:
    named(folder, "refused", seeds=1, steps=4000)
    said = finish(start("run", "small.yaml", env=team.environment("wrong")))
    assert len(results(folder)) == 1
    assert "refuses" in said
    assert "marlbench sync" in said
    refused = finish(start("sync", env=team.environment("wrong")), 1)
    assert "MLFLOW_TRACKING_PASSWORD" in refused
    assert "Traceback" not in said + refused
    assert team.runs("refused") == []
    finish(start("sync", env=team.environment()))
    assert_each_cell_once(team, folder, "refused")


def test_a_server_whose_disk_is_full(team: Team, folder: Path, start: Start) -> None:
    """Neither PostgreSQL nor the artifacts have a byte left while cells train; with room again, sync completes it."""
    if not team.has_disk:
        pytest.skip("mounting a small disk is not allowed here")
    named(folder, "full", seeds=2, steps=12_000)
    process = start("run", "small.yaml", env=team.environment())
    wait_for(lambda: workers(folder), 300)
    team.fill_disk()
    try:
        said = finish(process)
        assert len(results(folder)) == 2
        assert "MLflow is not up to date" in said
        refused = start("sync", env=team.environment())
        assert refused.wait(300) != 0
        assert "Traceback" not in refused.communicate()[1]
    finally:
        team.free_disk()
    # Without room for its log PostgreSQL ends, and is for an administrator to start.
    team.stop_database()
    team.start_database()
    finish(start("sync", env=team.environment()))
    assert_each_cell_once(team, folder, "full")


def test_eight_writers_at_once(team: Team, folder: Path, start: Start) -> None:
    """Eight stores with two cells each, of one suite that none of them has shown before; then one with all of them."""
    named(folder, "eight", seeds=16, steps=2000)
    finish(start("run", "small.yaml", "--seeds-per-job", "16"))
    for number in range(8):
        names = [f"eight/spread/ippo/s{seed}" for seed in (2 * number, 2 * number + 1)]
        finish(start("cells", "export", f"{number}.tar", *names))
        finish(start("cells", "import", f"{number}.tar", "--results", f"store-{number}"))
    writers = [start("sync", "--results", f"store-{number}", env=team.environment()) for number in range(8)]
    for writer in writers:
        finish(writer)
    assert_each_cell_once(team, folder, "eight")
    finish(start("sync", env=team.environment()))
    assert_each_cell_once(team, folder, "eight")


def test_eight_runs_at_once_in_stores_of_their_own(team: Team, folder: Path, start: Start) -> None:
    """Eight schedulers, each with jobs and a projector, write to one server while they train."""
    named(folder, "many", seeds=8, steps=4000)
    running = [
        start(
            *("run", "small.yaml", "--seeds", f"{seed}-{seed}", "--results", f"store-{seed}"),
            env=team.environment(),
        )
        for seed in range(8)
    ]
    for seed, process in enumerate(running):
        if "MLflow is not up to date" in finish(process):
            finish(start("sync", "--results", f"store-{seed}", env=team.environment()))
    found = team.runs("many")
    assert sorted(run["tags"]["marlbench.seed"] for run in found) == [str(seed) for seed in range(8)]
    assert all(len(team.steps(run["id"])) == EVALUATIONS for run in found)
