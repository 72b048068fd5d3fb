"""A finished job goes on in another: kept state, crashes at any point, and what stands in the way."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from marlbench.catalog.cell import Cell
from marlbench.errors import StoreError
from marlbench.store import kept
from marlbench.store.states import State
from marlbench.store.store import Store

from .conftest import Server, check_tidy, content
from .fake_cells import make_cell

SHORT = [make_cell(seed, replay=5, diverge=2) for seed in range(3)]
LONG = [replace(cell, steps=24).continuing(cell) for cell in SHORT]


@pytest.fixture(scope="module")
def finished(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the short cells are done."""
    root = tmp_path_factory.mktemp("finished") / "results"
    assert server.run(root, SHORT) == 0
    return root


@pytest.fixture
def root(finished: Path, machine: Path) -> Path:
    return Path(shutil.copytree(finished, machine / "results"))


def job_of(root: Path, cell: Cell) -> Path:
    store = Store.open(root)
    return store.job_directory(store.cell(cell.id).job)


def test_an_extension_is_the_uninterrupted_training_but_for_its_evaluations(
    server: Server, root: Path, machine: Path
) -> None:
    assert server.run(root, LONG) == 0
    whole = [make_cell(seed, steps=24, replay=5) for seed in range(2)]
    straight = machine / "straight" / "results"
    # The walk of a member depends on all of them, so they are trained in one job as well.
    assert server.run(straight, [*whole, make_cell(2, steps=24, replay=5)]) == 0
    outcomes = [Store.open(root).result(cell.id)["outcome"] for cell in LONG]
    expected = [Store.open(straight).result(cell.id)["outcome"] for cell in whole]
    for got, wanted in zip(outcomes, expected, strict=False):
        assert got["parameters_sha256"] == wanted["parameters_sha256"]
        assert [one["step"] for one in got["evaluations"]] == [4, 8, 12, 16, 24]
        assert [one["step"] for one in wanted["evaluations"]] == [8, 16, 24]
        assert got["evaluations"][1] == wanted["evaluations"][0]
        assert got["evaluations"][-2:] == wanted["evaluations"][1:]
    assert outcomes[0]["source"] == {"cell": SHORT[0].id, "steps": 12, "evaluations": 3}
    assert outcomes[2]["status"] == "diverged"
    check_tidy(root, LONG)


def test_the_journal_begins_with_that_of_the_source(server: Server, root: Path) -> None:
    assert server.run(root, LONG) == 0
    store = Store.open(root)
    lines = [
        [
            (line["kind"], line["step"], line["values"])
            for line in store.journal(cell.id)
            if line["kind"] != "header"
        ]
        for cell in (SHORT[0], LONG[0])
    ]
    source = [line for line in lines[0] if line[0] != "performance"]
    assert json.dumps(lines[1][: len(source)]) == json.dumps(source)
    assert [line[1] for line in lines[1] if line[0] == "evaluation"] == [4, 8, 12, 16, 24]


@pytest.mark.parametrize("stride", [23, pytest.param(1, marks=pytest.mark.slow)])
def test_power_lost_at_any_operation_of_an_extension(
    server: Server, finished: Path, machine: Path, stride: int
) -> None:
    def world(name: str) -> Path:
        return Path(shutil.copytree(finished, machine / name / "results"))

    counted = machine / "counted"
    undisturbed = world("undisturbed")
    assert server.run(undisturbed, LONG, power=True, operations=str(counted)) == 0
    expected = content(undisturbed, [*SHORT, *LONG])
    operations = int(counted.read_text())
    assert operations > 100
    for stop_at in range(1, operations + 1, stride):
        killed, lost = world(f"kept{stop_at}"), machine / f"lost{stop_at}"
        code = server.run(killed, LONG, power=True, stop_at=stop_at, remains=str(lost))
        assert code == -signal.SIGKILL, f"operation {stop_at}"
        for results in (killed, lost / "results"):
            assert server.run(results, LONG) == 0, f"operation {stop_at}"
            assert content(results, [*SHORT, *LONG]) == expected, f"operation {stop_at}"
            check_tidy(results, LONG)
        shutil.rmtree(killed.parent)
        shutil.rmtree(lost)


def test_all_that_trained_together_goes_on_together(server: Server, root: Path) -> None:
    assert server.run(root, LONG[1:2]) == 0
    store = Store.open(root)
    assert {state.state for state in store.states(cell.id for cell in LONG).values()} == {State.DONE}
    assert store.job(store.cell(LONG[1].id).job).cells == tuple(cell.id for cell in LONG)


def test_an_extension_of_an_extension(server: Server, root: Path) -> None:
    longer = [replace(cell, steps=36).continuing(cell) for cell in LONG]
    assert server.run(root, LONG) == 0
    assert server.run(root, longer) == 0
    outcome = Store.open(root).result(longer[0].id)["outcome"]
    assert [one["step"] for one in outcome["evaluations"]] == [4, 8, 12, 16, 24, 36]
    assert outcome["source"] == {"cell": LONG[0].id, "steps": 24, "evaluations": 5}
    assert longer[0].schedule_steps == 12


def test_without_the_state_of_its_source_it_fails_and_says_so(server: Server, root: Path) -> None:
    freed = kept.drop(job_of(root, SHORT[0]), "pruned")
    assert freed > 0
    assert kept.size(job_of(root, SHORT[0])) == 0
    assert server.run(root, LONG) == 12 or "pruned" in server.said()
    assert "cannot go on from" in server.said()
    assert "pruned" in server.said()
    assert Store.open(root).states([LONG[0].id])[LONG[0].id].state is State.FAILED


@pytest.mark.parametrize("name", ["state.pt", "state.json"])
def test_a_damaged_state_is_not_used(server: Server, root: Path, name: str) -> None:
    path = job_of(root, SHORT[0]) / name
    path.write_bytes(path.read_bytes()[:-40])
    assert server.run(root, LONG) != 0
    assert "cannot go on from" in server.said()


def test_a_state_larger_than_the_limit_is_not_kept(server: Server, machine: Path) -> None:
    for limit, reason in ((0, "--keep-states 0"), (100, "are more than --keep-states")):
        root = machine / str(limit) / "results"
        assert server.run(root, SHORT[:1], keep_states=limit) == 0
        directory = job_of(root, SHORT[0])
        found = kept.look(directory)
        assert found is not None
        assert not found.kept
        assert reason in found.reason
        assert {path.name for path in directory.iterdir()} == {"job.json", "lock", "log.txt", "state.json"}


def test_cells_whose_source_was_removed_cannot_be_claimed(root: Path) -> None:
    shutil.rmtree(root / "cells" / SHORT[0].id)
    with pytest.raises(StoreError, match="whose job is not in the store"):
        Store.open(root).claim(LONG[:1], 1)
