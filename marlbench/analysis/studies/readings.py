"""The number that a claim reads of each finished cell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic_core import from_json

from marlbench.errors import ConfigurationError, did_you_mean
from marlbench.store import journal, validity
from marlbench.store.numbers import decode
from marlbench.store.states import Damaged, State

if TYPE_CHECKING:
    from pathlib import Path

    from marlbench.catalog.cell import Cell
    from marlbench.catalog.study_types import Measure
    from marlbench.store.store import Store

SCORE = "score"


@dataclass(frozen=True)
class Finished:
    """What claims may read of a finished cell.

    Attributes:
        outcome, execution: of its result.
        journal: where its training measures stand.
    """

    cell: Cell
    outcome: Mapping[str, Any]
    execution: Mapping[str, Any]
    journal: Path

    @property
    def diverged(self) -> bool:
        """Whether its parameters became NaN."""
        return bool(self.outcome["status"] == "diverged")


def read_finished(store: Store, cells: Iterable[Cell]) -> dict[str, Finished]:
    """Those of the cells that are done, by id.

    Raises:
        StoreError: the store cannot be read.
    """
    wanted = {cell.id: cell for cell in cells}
    found = {}
    for cell_id, state in store.states(wanted).items():
        if state.state is State.DONE:
            directory = store.cell_directory(cell_id)
            # `done` is a verification's verdict that still holds.
            document = from_json((directory / validity.NAME).read_bytes(), allow_inf_nan=False)
            outcome, execution = decode(document["outcome"]), document["execution"]
            found[cell_id] = Finished(wanted[cell_id], outcome, execution, directory / journal.NAME)
    return found


def reading(measure: Measure, finished: Finished) -> float | None:
    """The number that a measure reads of a cell; None where there is none that is finite.

    What diverged has the score of its suite's rule from then on; of another metric it has no value.

    Raises:
        ConfigurationError: no such metric was recorded.
    """
    value = _raw(measure, finished)
    if value is None or not math.isfinite(value):
        return None
    return measure.factor * value + measure.offset


def _raw(measure: Measure, finished: Finished) -> float | None:
    if measure.reading == "train":
        return _trained(measure, finished)
    if measure.reading in ("final", "last"):
        if finished.diverged:
            return _ruled(measure, finished.cell)
        absolute = [finished.outcome["absolute"]] if measure.reading == "final" else []
        for values in (*absolute, finished.outcome["final"]):
            if values:
                return _value(measure, finished.cell, values)
        return None
    steps, values = _evaluations(measure, finished)
    if not values:
        return None
    if measure.reading == "maximum":
        return max(values)
    if measure.reading == "area":
        return _area(steps, values)
    assert measure.reach is not None
    sign = 1.0 if higher_is_better(measure, finished.cell) else -1.0
    reached = (
        step for step, value in zip(steps, values, strict=True) if sign * value >= sign * measure.reach
    )
    return float(next(reached, finished.cell.steps))


def higher_is_better(measure: Measure, cell: Cell) -> bool:
    """Which end of the metric is better: as the measure says, else as the bounds of the score do, else the higher."""
    if measure.better is not None:
        return measure.better == "higher"
    own = measure.metric in (None, cell.score["metric"])
    return bool(cell.score["high"] > cell.score["low"]) if own else True


def _value(measure: Measure, cell: Cell, values: Mapping[str, Any]) -> float:
    """The metric among the values of an evaluation."""
    name = cell.score["metric"] if measure.metric in (None, SCORE) else measure.metric
    if name not in values:
        raise ConfigurationError(
            f"the cells of the task '{cell.task}' have no metric '{name}'.", did_you_mean(str(name), values)
        )
    value = float(values[name]) if values[name] is not None else math.nan
    low, high = float(cell.score["low"]), float(cell.score["high"])
    return (value - low) / (high - low) if measure.metric == SCORE else value


def _ruled(measure: Measure, cell: Cell) -> float | None:
    """What counts after a run diverged, in the unit of the measure."""
    if measure.metric not in (None, SCORE, cell.score["metric"]):
        return None
    score = float(cell.protocol["diverged_score"])
    low, high = float(cell.score["low"]), float(cell.score["high"])
    return score if measure.metric == SCORE else low + score * (high - low)


def _evaluations(measure: Measure, finished: Finished) -> tuple[list[int], list[float]]:
    """Steps and values of the evaluations in order, those that are finite; what diverged goes on by the rule."""
    cell = finished.cell
    found = {
        int(one["step"]): value
        for one in finished.outcome["evaluations"]
        if math.isfinite(value := _value(measure, cell, one["values"]))
    }
    if finished.diverged:
        ruled = _ruled(measure, cell)
        if ruled is None:
            return [], []
        found[int(finished.outcome["steps"])] = ruled
        found[cell.steps] = ruled
    steps = sorted(found)
    return steps, [found[step] for step in steps]


def _area(steps: Sequence[int], values: Sequence[float]) -> float:
    """The mean over the evaluated part of the training, by the trapezoidal rule."""
    if len(steps) == 1:
        return values[0]
    return float(np.trapezoid(values, steps)) / (steps[-1] - steps[0])


def _trained(measure: Measure, finished: Finished) -> float | None:
    if finished.diverged:
        return None
    try:
        record = journal.read_last(finished.journal, "train")
    except Damaged:
        return None
    values = (record or {}).get("values") or {}
    name = str(measure.metric)
    if name not in values:
        raise ConfigurationError(
            f"the cells of '{finished.cell.label}' have no training measure '{name}'.",
            did_you_mean(name, values),
        )
    value = values[name]
    return None if value is None else float(value)
