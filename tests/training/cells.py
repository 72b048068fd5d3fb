"""Cells for trainers, made without a suite file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marlbench.catalog.cell import Cell
from marlbench.plugins import load


def make_cells(
    algorithm: str,
    environment: str,
    seeds: Sequence[int] = (0,),
    steps: int = 2_000,
    rows: int = 4,
    hyperparameters: dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
    protocol: dict[str, Any] | None = None,
    score: dict[str, Any] | None = None,
) -> list[Cell]:
    """One cell per seed, every setting resolved."""
    method, simulator = load("algorithms", algorithm), load("environments", environment.partition(":")[0])
    resolved = method.Hyperparameters(**(hyperparameters or {})).model_dump(mode="json")
    given = dict(parameters or {})
    if simulator.argument is not None and ":" in environment:
        given[simulator.argument] = environment.partition(":")[2]
    episodic = {
        "kind": "episodic",
        "policy": "greedy",
        "evaluations": 3,
        "episodes": 5,
        "absolute_episodes": 12,
    }
    return [
        Cell(
            suite="tests",
            task="task",
            task_revision=1,
            environment=environment,
            parameters=simulator.Parameters(**given).model_dump(mode="json"),
            backend=simulator.backend,
            simulator="",
            data={},
            algorithm=algorithm,
            algorithm_revision=method.revision,
            hyperparameters=resolved,
            label=algorithm,
            rows=rows,
            dtype="float32",
            protocol=protocol or episodic,
            steps=steps,
            seed=seed,
            score=score or {"metric": "return_mean", "low": 0.0, "high": 1.0, "source": "tests"},
        )
        for seed in seeds
    ]
