"""Whatever ends a job, and wherever: the next run ends with the same bits as a run that nothing disturbed."""

from __future__ import annotations

import json
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from marlbench.store.states import State
from marlbench.store.store import Store

from .conftest import Server, check_tidy, content
from .fake_cells import make_cell

CELLS = [make_cell(seed, replay=5, diverge=2) for seed in range(3)]


@pytest.fixture(scope="module")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("undisturbed") / "results"
    assert server.run(root, CELLS) == 0
    return content(root, CELLS)


def test_the_undisturbed_run_is_what_the_trainer_says(undisturbed: dict[str, Any]) -> None:
    outcomes = [json.loads(outcome) for outcome, _, _, _ in undisturbed.values()]
    assert [outcome["status"] for outcome in outcomes] == ["completed", "completed", "diverged"]
    assert [len(outcome["evaluations"]) for outcome in outcomes] == [3, 3, 1]
    kinds = [[line["kind"] for line in json.loads(journal)] for _, _, _, journal in undisturbed.values()]
    assert kinds[0].count("train") == 12
    assert kinds[0].count("evaluation") == kinds[0].count("performance") == 3
    assert kinds[2].count("diverged") == 1


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_power_lost_at_any_operation(
    server: Server, machine: Path, undisturbed: dict[str, Any], stride: int
) -> None:
    """Stop before an operation on the disk; go on from what a loss of power leaves, and from what kill -9 leaves."""
    counted = machine / "counted"
    server.run(machine / "count" / "results", CELLS, power=True, operations=str(counted))
    operations = int(counted.read_text())
    assert operations > 150
    resumed = 0
    tried = range(1, operations + 1, stride)
    for stop_at in tried:
        kept, lost = machine / f"kept{stop_at}", machine / f"lost{stop_at}"
        code = server.run(kept / "results", CELLS, power=True, stop_at=stop_at, remains=str(lost))
        assert code == -signal.SIGKILL, f"operation {stop_at}"
        for world in (kept, lost):
            world.mkdir(exist_ok=True)
            resumed += any(world.glob("results/jobs/*/checkpoint.pt"))
            assert server.run(world / "results", CELLS) == 0, f"operation {stop_at}"
            assert content(world / "results", CELLS) == undisturbed, f"operation {stop_at}"
            check_tidy(world / "results", CELLS)
        shutil.rmtree(kept)
        shutil.rmtree(lost)
    assert resumed > len(tried) / 2


def test_power_lost_again_while_the_job_resumes(
    server: Server, machine: Path, undisturbed: dict[str, Any]
) -> None:
    chance = random.Random(7)
    for number in range(20):
        root = machine / f"world{number}"
        root.mkdir()
        ended = None
        for again in range(5):
            remains = machine / f"world{number}-{again}"
            stop_at = chance.randrange(20, 190)
            ended = server.run(root / "results", CELLS, power=True, stop_at=stop_at, remains=str(remains))
            if ended == 0:
                break
            assert ended == -signal.SIGKILL
            if chance.random() < 0.6:
                root = remains
        assert server.run(root / "results", CELLS) == 0
        assert content(root / "results", CELLS) == undisturbed
        check_tidy(root / "results", CELLS)


LONG = [make_cell(seed, steps=300, delay=0.01) for seed in range(2)]


def test_killed_at_random_moments(server: Server, machine: Path) -> None:
    assert server.run(machine / "undisturbed" / "results", LONG) == 0
    expected = content(machine / "undisturbed" / "results", LONG)
    chance = random.Random(3)
    root = machine / "disturbed" / "results"
    store = Store.open(root, create=True)
    for _ in range(6):
        moment = 0.05 + chance.random() * 0.4
        assert server.run(root, LONG, kill_after=moment, checkpoint_seconds=0.01) == -signal.SIGKILL
        for state in store.states(cell.id for cell in LONG).values():
            assert state.state in (State.PLANNED, State.FAILED)
            assert state.state is State.PLANNED or "killed" in state.detail
    assert server.run(root, LONG) == 0
    assert content(root, LONG) == expected
    check_tidy(root, LONG)
    assert list(root.glob("cells/*/attempts/*.tail.jsonl"))
    assert all(2 < store.states([cell.id])[cell.id].attempts <= 7 for cell in LONG)
