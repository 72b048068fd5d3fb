"""Runs in the layout of marl-eval's raw data (Gorsane et al. 2022, arXiv 2209.10485; package id-marl-eval).

    environment -> task -> algorithm -> seed_3 -> step_1 {step_count, metric: [values]}, ..., absolute_metrics

A list holds one value for each episode where these were kept, else the mean alone. marl-eval reads every run's last
key as its absolute metrics, and wants the same runs and steps everywhere; what is missing here is missing there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from marlbench.store import journal
from marlbench.store.states import State

if TYPE_CHECKING:
    from marlbench.analysis.comparison import Comparison
    from marlbench.analysis.foreign import ForeignResults
    from marlbench.catalog.cell import Cell
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.store import Store

ABSOLUTE = "absolute_metrics"


def marl_eval_text(
    comparison: Comparison, store: Store | None, matrix: Matrix | None, foreign: ForeignResults | None
) -> str:
    """The raw data of every run that is done, and of foreign runs, whose algorithms get the suffix ` (foreign)`.

    Only the metric that is compared is written, and what a diverged run counts with is its absolute metric.
    """
    tasks: dict[str, dict[str, dict[str, Any]]] = {}
    if store is not None and matrix is not None:
        states = store.states(cell.id for cell in matrix.cells)
        for group in matrix.groups:
            found = {
                f"seed_{cell.seed}": _run(store, cell)
                for cell in group.cells
                if states[cell.id].state is State.DONE
            }
            if found:
                tasks.setdefault(group.cell.task, {})[group.cell.label] = found
    for of_file in foreign.groups if foreign else ():
        cell = of_file.cell
        label = cell.label if matrix is None else f"{cell.label} (foreign)"
        assert foreign is not None
        tasks.setdefault(cell.task, {})[label] = {
            f"seed_{one.seed}": _foreign_run(one, foreign) for one in of_file.cells
        }
    return json.dumps({comparison.suite: tasks}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _run(store: Store, cell: Cell) -> dict[str, Any]:
    metric = cell.score["metric"]
    result = store.result(cell.id)
    outcome = result["outcome"]
    steps = []
    absolute: list[float] = []
    for record in journal.read_lines(store.cell_directory(cell.id) / journal.NAME):
        values = _finite(record, metric)
        if record.get("kind") == "evaluation" and values:
            steps.append({"step_count": record["step"], metric: values})
        elif record.get("kind") == "absolute" and values:
            absolute = values
    if outcome["status"] == "diverged":
        low, high = float(cell.score["low"]), float(cell.score["high"])
        absolute = [low + float(cell.protocol["diverged_score"]) * (high - low)]
    absolute = absolute or steps[-1][metric] if steps else absolute
    logged = {f"step_{place}": step for place, step in enumerate(steps, start=1)}
    return {**logged, ABSOLUTE: {metric: absolute}}


def _finite(record: Mapping[str, Any], metric: str) -> list[float]:
    """The metric in every episode of an evaluation, else its mean; empty where one is not finite."""
    values = (record.get("episodes") or {}).get(metric) or [(record.get("values") or {}).get(metric)]
    return list(values) if all(value is not None and math.isfinite(value) for value in values) else []


def _foreign_run(cell: Cell, foreign: ForeignResults) -> dict[str, Any]:
    metric = cell.score["metric"]
    low, high = float(cell.score["low"]), float(cell.score["high"])
    trace = foreign.traces.get(cell.id)
    found = [] if trace is None else zip(trace.steps.tolist(), trace.scores.tolist(), strict=True)
    logged = {
        f"step_{place}": {"step_count": step, metric: [low + score * (high - low)]}
        for place, (step, score) in enumerate(found, start=1)
    }
    return {**logged, ABSOLUTE: {metric: [foreign.runs[cell.id].value]}}
