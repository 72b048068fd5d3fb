"""The one number of each finished cell, and the circumstances under which it came about."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from marlbench.store import validity
from marlbench.store.numbers import decode
from marlbench.store.states import CellState, State

if TYPE_CHECKING:
    from marlbench.catalog.cell import Cell
    from marlbench.store.store import Store


@dataclass(frozen=True)
class Run:
    """A cell that is done.

    Attributes:
        value: its raw metric: of the absolute evaluation, or of the last one where the protocol has no
            absolute evaluation; by the suite's rule where the run diverged; None where it is not finite.
        circumstances: what may differ between runs of one table without being part of a cell's identity.
        versions: of Python and the packages that the run had imported.
    """

    value: float | None
    diverged: bool
    circumstances: Mapping[str, str]
    versions: Mapping[str, str]


def read_runs(store: Store, cells: Iterable[Cell]) -> tuple[dict[str, Run], dict[str, CellState]]:
    """The runs of those cells that are done, and the states of all, by id.

    Raises:
        StoreError: the store cannot be read.
    """
    wanted = {cell.id: cell for cell in cells}
    states = store.states(wanted)
    runs = {}
    for cell_id, cell in wanted.items():
        if states[cell_id].state == State.DONE:
            # `done` is a verification's verdict that still holds: another would read every journal.
            content = (store.cell_directory(cell_id) / validity.NAME).read_bytes()
            document = from_json(content, allow_inf_nan=False)
            runs[cell_id] = run_of(cell, decode(document["outcome"]), document["execution"])
    return runs, states


def run_of(cell: Cell, outcome: Mapping[str, Any], execution: Mapping[str, Any]) -> Run:
    """The run that the outcome and the execution of a result describe."""
    low, high, metric = float(cell.score["low"]), float(cell.score["high"]), cell.score["metric"]
    diverged = outcome["status"] == "diverged"
    value: float | None
    if diverged:
        value = low + float(cell.protocol["diverged_score"]) * (high - low)
    else:
        value = outcome["absolute"].get(metric, outcome["final"].get(metric))
        value = float(value) if value is not None and math.isfinite(value) else None
    return Run(value, diverged, _circumstances(execution), execution.get("versions") or {})


def _circumstances(execution: Mapping[str, Any]) -> dict[str, str]:
    device = str(execution.get("device") or "").partition(":")[0]
    name = execution.get("device_name")
    commit, dash, dirty = str(execution.get("git_sha") or "").partition("-")
    found = {
        "device": f"{device} ({name})" if name and device != "cpu" else device,
        "engine": execution.get("engine"),
        "threads": execution.get("threads"),
        "commit": f"{commit[:10]}{dash}{dirty}",
    }
    return {key: str(value) for key, value in found.items() if value not in (None, "")}
