"""What a report shows of each finished cell besides its one number: curve, episodes, circumstances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from marlbench.analysis.runs import Run, read_runs
from marlbench.analysis.traces import trace_of
from marlbench.store import journal, validity
from marlbench.store.numbers import decode
from marlbench.store.states import CellState, Damaged

if TYPE_CHECKING:
    from marlbench.analysis.curves import Trace
    from marlbench.catalog.cell import Cell
    from marlbench.store.store import Store

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """One finished cell.

    Attributes:
        trace: the scores of its evaluations, see `traces.trace_of`.
        episodes: float [episode], the metric in each episode of the absolute evaluation, or of the last one where
            there is no absolute one; empty where the protocol keeps none.
        execution: how the result came about.
    """

    run: Run
    trace: Trace | None
    episodes: Floats
    execution: Mapping[str, Any]


def read_material(store: Store, cells: Iterable[Cell]) -> tuple[dict[str, Material], dict[str, CellState]]:
    """The material of those cells that are done, and the states of all, by id.

    Raises:
        StoreError: the store cannot be read.
    """
    wanted = {cell.id: cell for cell in cells}
    runs, states = read_runs(store, wanted.values())
    return {cell_id: _material(store, wanted[cell_id], run) for cell_id, run in runs.items()}, states


def _material(store: Store, cell: Cell, run: Run) -> Material:
    directory = store.cell_directory(cell.id)
    # `done` is a verification's verdict that still holds: another would read every journal.
    document = from_json((directory / validity.NAME).read_bytes(), allow_inf_nan=False)
    outcome = decode(document["outcome"])
    return Material(
        run=run,
        trace=trace_of(cell, outcome),
        episodes=_episodes(directory / journal.NAME, cell.score["metric"], run.diverged),
        execution=document["execution"],
    )


def _episodes(path: Any, metric: str, diverged: bool) -> Floats:
    nothing = np.array([], dtype=np.float64)
    if diverged:
        # Its episodes before the parameters became NaN are not what it is counted with.
        return nothing
    try:
        record = journal.read_last(path, "absolute") or journal.read_last(path, "evaluation")
    except Damaged:
        return nothing
    values = np.array(((record or {}).get("episodes") or {}).get(metric, ()), dtype=np.float64)
    return values[np.isfinite(values)]
