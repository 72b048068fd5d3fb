"""What a gate takes from a store: of every run its score, its throughput, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marlbench.analysis.runs import run_of
from marlbench.store.numbers import decode
from marlbench.store.states import State

if TYPE_CHECKING:
    from marlbench.catalog.cell import Cell
    from marlbench.store.store import Store


@dataclass(frozen=True)
class Measurement:
    """One run.

    Attributes:
        score: None where the metric is not a finite number.
        throughput: environment steps per calibration loop; None where the run was not calibrated, or trained with
            others in one process.
        calibration: version of the calibration loop; None where there is no throughput.
        seconds: processor time, the start of the process included.
    """

    seed: int
    score: float | None
    diverged: bool
    throughput: float | None
    calibration: int | None
    seconds: float
    versions: dict[str, str]


def measurements(store: Store, cells: Iterable[Cell]) -> list[Measurement]:
    """Of those of the cells that are done, in their order.

    Raises:
        StoreError: the store cannot be read.
    """
    cells = list(cells)
    states = store.states(cell.id for cell in cells)
    return [_measurement(store, cell) for cell in cells if states[cell.id].state is State.DONE]


def _measurement(store: Store, cell: Cell) -> Measurement:
    result = store.result(cell.id)
    outcome, execution = decode(result["outcome"]), result["execution"]
    run = run_of(cell, outcome, execution)
    low, high = float(cell.score["low"]), float(cell.score["high"])
    throughput, version = _throughput(outcome, execution)
    return Measurement(
        seed=cell.seed,
        score=None if run.value is None else (run.value - low) / (high - low),
        diverged=run.diverged,
        throughput=throughput,
        calibration=version,
        seconds=float(execution.get("cpu_seconds") or 0.0),
        versions=dict(run.versions),
    )


def _throughput(outcome: dict[str, Any], execution: dict[str, Any]) -> tuple[float | None, int | None]:
    found = execution.get("calibration")
    alone = len(execution.get("members") or ()) == 1
    if not isinstance(found, dict) or not alone or not found.get("loops"):
        return None, None
    return outcome["steps"] / float(found["loops"]), int(found["version"])
