"""Results that nobody trained, with a calibration, in a store that fresh runs may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from marlbench.catalog.cell import Cell
from marlbench.catalog.matrix import Matrix
from marlbench.cli.fresh import claim
from marlbench.store.store import Store

# Environment steps per calibration loop of a run that is neither fast nor slow.
PACE = 50.0
SPREAD = (0.98, 1.0, 1.02, 0.99, 1.01, 1.0, 0.97, 1.03, 1.0, 1.0)


def measured(
    store: Store,
    matrix: Matrix,
    finish: Callable[..., None],
    value: Callable[[Cell, float], float | None],
    *,
    pace: float = PACE,
    version: int = 1,
    labels: Sequence[str] = (),
    **execution: Any,
) -> None:
    """Finish the cells of a matrix, each alone in its process.

    Args:
        value: of a cell, from the cell and a factor near 1 that differs from seed to seed.
        labels: only these; all without.
    """
    claim(store, matrix)
    for group in matrix.groups:
        if labels and group.cell.label not in labels:
            continue
        for cell in group.cells:
            factor = SPREAD[cell.seed % len(SPREAD)]
            calibration = {"version": version, "loops": cell.steps / (pace * factor), "cpu_seconds": 1.0}
            finish(
                [cell],
                [value(cell, factor)],
                **{"calibration": calibration, "members": ["itself"], "cpu_seconds": 2.0, **execution},
            )


def good(cell: Cell, factor: float) -> float:
    """The metric of a run whose score is half of what is possible, times the factor."""
    low, high = float(cell.score["low"]), float(cell.score["high"])
    return low + 0.5 * factor * (high - low)
