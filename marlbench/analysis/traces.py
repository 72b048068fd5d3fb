"""Learning curves: the evaluations of single runs, and their aggregate over steps, as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic_core import from_json

from marlbench.analysis.curves import Trace, sample_efficiency
from marlbench.store import validity
from marlbench.store.numbers import decode
from marlbench.store.states import State

if TYPE_CHECKING:
    from marlbench.analysis.comparison import Group
    from marlbench.analysis.foreign import ForeignResults
    from marlbench.analysis.statistics import AggregateName
    from marlbench.catalog.cell import Cell
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.store import Store

COLUMNS = (
    "kind",
    "suite",
    "task",
    "backend",
    "algorithm",
    "seed",
    "step",
    "value",
    "score",
    "ci_low",
    "ci_high",
    "runs",
)


def trace_of(cell: Cell, outcome: Mapping[str, Any]) -> Trace | None:
    """The scores of a finished cell's evaluations; None where none of them is finite and the run did not diverge.

    After it diverged a run has the score that the suite gives to such runs.
    """
    low, high, metric = float(cell.score["low"]), float(cell.score["high"]), cell.score["metric"]
    # By step, and of two at one step the later, whatever order a file may have them in.
    found = {
        int(one["step"]): (float(value) - low) / (high - low)
        for one in outcome["evaluations"]
        if (value := one["values"].get(metric)) is not None and math.isfinite(value)
    }
    after = float(cell.protocol["diverged_score"]) if outcome["status"] == "diverged" else None
    if not found and after is None:
        return None
    steps = sorted(found)
    scores = [found[step] for step in steps]
    return Trace(np.array(steps, dtype=np.int64), np.array(scores, dtype=np.float64), after)


def read_traces(store: Store, cells: Iterable[Cell]) -> dict[str, Trace]:
    """The traces of those cells that are done, by id.

    Raises:
        StoreError: the store cannot be read.
    """
    wanted = {cell.id: cell for cell in cells}
    found = {}
    for cell_id, state in store.states(wanted).items():
        if state.state is State.DONE:
            # `done` is a verification's verdict that still holds.
            content = (store.cell_directory(cell_id) / validity.NAME).read_bytes()
            outcome = decode(from_json(content, allow_inf_nan=False)["outcome"])
            if (trace := trace_of(wanted[cell_id], outcome)) is not None:
                found[cell_id] = trace
    return found


def curves_csv(
    suite: str,
    aggregate: AggregateName,
    store: Store | None,
    matrix: Matrix | None,
    foreign: ForeignResults | None,
) -> str:
    """A line of kind `run` for each evaluation of each run, and of kind `aggregate` for each step of each algorithm.

    An aggregate is over the runs of one task; where the algorithm has several tasks on a backend, one more, with an
    empty task, is over all of them. Its `score` has the 95 % interval `ci_low` to `ci_high`.
    """
    groups: list[Group] = [*(matrix.groups if matrix else ()), *(foreign.groups if foreign else ())]
    traces: dict[str, Trace] = dict(foreign.traces) if foreign else {}
    if store is not None and matrix is not None:
        traces |= read_traces(store, matrix.cells)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    over_tasks: dict[tuple[str, str], list[list[Trace]]] = {}
    for group in groups:
        cell = group.cell
        about = {"suite": suite, "task": cell.task, "backend": cell.backend, "algorithm": cell.label}
        found = [(one.seed, traces[one.id]) for one in group.cells if one.id in traces]
        low, high = float(cell.score["low"]), float(cell.score["high"])
        for seed, trace in found:
            for step, score in zip(trace.steps.tolist(), trace.scores.tolist(), strict=True):
                told = {"seed": seed, "step": step, "value": low + score * (high - low), "score": score}
                writer.writerow({"kind": "run", **about, **told})
        if found:
            of_task = [trace for _, trace in found]
            over_tasks.setdefault((cell.backend, cell.label), []).append(of_task)
            writer.writerows(about | line for line in _aggregate([of_task], aggregate, (low, high)))
    for (backend, label), tasks in over_tasks.items():
        if len(tasks) > 1:
            about = {"suite": suite, "backend": backend, "algorithm": label}
            writer.writerows(about | line for line in _aggregate(tasks, aggregate, None))
    return stream.getvalue()


def _aggregate(
    tasks: list[list[Trace]], aggregate: AggregateName, bounds: tuple[float, float] | None
) -> Iterator[dict[str, Any]]:
    curve = sample_efficiency(tasks, aggregate=aggregate)
    for place, step in enumerate(curve.steps.tolist()):
        score = float(curve.points[place])
        line: dict[str, Any] = {"kind": "aggregate", "step": step, "score": score, "runs": curve.runs}
        if bounds is not None and aggregate != "optimality_gap":
            line["value"] = bounds[0] + score * (bounds[1] - bounds[0])
        if curve.low is not None and curve.high is not None:
            line |= {"ci_low": float(curve.low[place]), "ci_high": float(curve.high[place])}
        yield line
