"""Cells for `FakeTrainer`. Apart from it, because claiming cells needs no torch."""

from __future__ import annotations

from typing import Any

from marlbench.catalog.cell import Cell

EVALUATIONS = 3
STEPS = 12


def make_cell(seed: int = 0, steps: int = STEPS, label: str = "fake", **parameters: Any) -> Cell:
    """A cell for `FakeTrainer`; the parameters say how it behaves."""
    return Cell(
        suite="tests",
        task="task",
        task_revision=1,
        environment="fake",
        parameters=parameters,
        backend="builtin",
        simulator="",
        data={},
        algorithm="fake",
        algorithm_revision=1,
        hyperparameters={"learning_rate": 0.1},
        label=label,
        rows=1,
        dtype="float32",
        protocol={"kind": "episodic", "policy": "greedy", "evaluations": EVALUATIONS, "episodes": 2},
        steps=steps,
        seed=seed,
        score={"metric": "return_mean", "low": 0.0, "high": 1.0, "source": "made up"},
    )
