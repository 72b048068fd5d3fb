"""Longer budgets: a finished cell goes on as a new one, whatever interrupts it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from marlbench.catalog.cell import Cell
from marlbench.catalog.matrix import Matrix, resolve
from marlbench.cli.run_job import make_trainer
from marlbench.store import extensions, kept
from marlbench.store.job import run
from marlbench.store.job_training import Settings
from marlbench.store.process import Guard
from marlbench.store.states import State
from marlbench.store.store import Store

from .conftest import Typed, train

LONGER = 800


@pytest.fixture
def root(tiny: tuple[Path, Matrix], tmp_path: Path) -> Path:
    """A copy of the finished store, beside its suite."""
    shutil.copytree(tiny[0], tmp_path / "copy")
    return tmp_path / "copy"


def planned(root: Path, *labels: str, steps: int = LONGER, task: str = "spread") -> Matrix:
    return resolve([str(root / "tiny.yaml")], tasks=[task], algorithms=labels, steps=steps)


def extended(root: Path, *labels: str, steps: int = LONGER) -> list[Cell]:
    found = extensions.extend(Store.open(root / "results"), planned(root, *labels, steps=steps))
    assert not found.refused
    return [one.cell for one in found.continued]


def policy(store: Store, cell: Cell) -> dict[str, torch.Tensor]:
    document = torch.load(store.cell_directory(cell.id) / "policy.pt", weights_only=True)
    last: dict[str, torch.Tensor] = document["last"]
    return last


def test_ippo_goes_on_as_if_it_had_never_ended(root: Path) -> None:
    store = Store.open(root / "results")
    cells, whole = extended(root, "ippo"), planned(root, "ippo").cells
    train(store, cells)
    train(store, whole)
    for cell, straight in zip(cells, whole, strict=True):
        ours, theirs = policy(store, cell), policy(store, straight)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        outcome = store.result(cell.id)["outcome"]
        assert [one["step"] for one in outcome["evaluations"]] == [256, 512, 800]
        assert outcome["source"] == {"cell": cell.source, "steps": 512, "evaluations": 2}
        assert outcome["evaluations"][:2] == store.result(str(cell.source))["outcome"]["evaluations"]


def test_the_schedule_of_q_learning_stays_at_its_end(root: Path) -> None:
    (cell, _) = extended(root, "iql")
    assert cell.schedule_steps == 512
    trainer = make_trainer([cell], root / "unused", torch.device("cpu"))
    trainer.algorithm.begin(600)  # type: ignore[attr-defined]
    assert trainer.algorithm.policy.epsilon == pytest.approx(0.05)  # type: ignore[attr-defined]


@pytest.mark.parametrize("label", ["iql", "ippo"])
def test_killed_and_resumed_it_ends_with_the_same_bits(root: Path, label: str) -> None:
    store = Store.open(root / "results")
    cells = extended(root, label)
    shutil.copytree(root / "results", root / "calm")
    calm = Store.open(root / "calm")
    train(calm, cells)

    class Stopped(Exception):
        pass

    def dies_after(advances: int):  # type: ignore[no-untyped-def]
        def make(*arguments):  # type: ignore[no-untyped-def]
            trainer = make_trainer(*arguments)
            proceed = trainer.advance
            left = iter(range(advances))

            def advance():  # type: ignore[no-untyped-def]
                if next(left, None) is None:
                    raise Stopped
                return proceed()

            trainer.advance = advance  # type: ignore[method-assign]
            return trainer

        return make

    (job,) = store.claim(cells, 1)
    often = Settings(checkpoint_seconds=0.0)
    # Before the first step, within the training, and after the last evaluation began.
    for advances in (0, 13, 20, 35):
        make = dies_after(advances)
        assert run(store, job.id, list(job.cells), make, often, Guard(), lambda text: None) == 10
        assert store.job(job.id).resumes
    train(store, cells)
    for cell in cells:
        assert store.result(cell.id)["outcome"] == calm.result(cell.id)["outcome"]
        ours, theirs = policy(store, cell), policy(calm, cell)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_plan_says_what_goes_on_and_why_something_does_not(
    typed: Typed, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    store = Store.open(root / "results")
    (first, _) = resolve([str(root / "tiny.yaml")], tasks=["spread"], algorithms=["iql"]).cells
    kept.drop(store.job_directory(store.cell(first.id).job), "removed by hand")
    words = ["run", "./tiny.yaml", "--steps", "800", "--task", "spread", "--extend", "--dry-run"]
    code, _, said = typed(*words)
    assert code == 0
    assert "ippo/spread/s0 continues" in said
    assert "from 512 steps" in said
    assert "iql/spread/s1 starts at zero" in said
    assert "no final state is kept: removed by hand" in said
    assert "random/spread/s0 starts at zero" in said
    document = json.loads(typed(*words, "--json")[1])
    assert [one["from_steps"] for one in document["continued"]] == [512, 512]
    assert len(document["not_continued"]) == 4
    # 288 steps of two seeds of ippo, and all 800 of the rest.
    assert document["steps_left"] == 2 * 288 + 4 * 800
    _, _, said = typed("run", "./tiny.yaml", "--steps", "100", "--extend", "--dry-run")
    assert "nothing to go on from" in said


def test_annealing_to_nothing_is_an_obstacle(root: Path) -> None:
    from marlbench.catalog.selection import parse_overrides

    store = Store.open(root / "results")
    overrides = parse_overrides(["ippo.anneal_learning_rate=true"])
    suite = [str(root / "tiny.yaml")]
    short = resolve(suite, tasks=["stag"], algorithms=["ippo"], overrides=overrides)
    train(store, short.cells)
    longer = resolve(suite, tasks=["stag"], algorithms=["ippo"], overrides=overrides, steps=LONGER)
    found = extensions.extend(store, longer)
    assert [one.reason for one in found.refused] == [
        "anneal_learning_rate has taken it to nothing by the end"
    ] * 2
    assert found.matrix is longer


def test_a_longer_training_in_one_go_is_preferred(root: Path) -> None:
    store = Store.open(root / "results")
    cells = extended(root, "ippo")
    train(store, cells)
    matrix = planned(root, "ippo")
    standing = extensions.stand_ins(store, matrix)
    assert [cell.id for cell in standing.matrix.cells] == [cell.id for cell in cells]
    assert extensions.extend(store, matrix).matrix.id == standing.matrix.id
    train(store, matrix.cells)
    assert extensions.stand_ins(store, matrix).matrix is matrix
    assert store.states([matrix.cells[0].id])[matrix.cells[0].id].state is State.DONE
    # Of two cells of equal steps, the one in one go is gone on from.
    assert {one.source for one in extended(root, "ippo", steps=1200)} == {cell.id for cell in matrix.cells}
