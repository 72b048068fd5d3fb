"""Runs in the layout of marl-eval's raw data (Gorsane et al. 2022, arXiv 2209.10485; package id-marl-eval).

    environment -> task -> algorithm -> seed_3 -> step_1 {step_count, metric: [values]}, ..., absolute_metrics

A list holds one value for each episode where these were kept, else the mean alone. marl-eval reads every run's last
key as its absolute metrics, and wants the same metrics, runs and steps everywhere in an environment. So there is the
metric `score` on the scale of each task, and the raw metric beside it where all tasks have the same one; runs and steps
that are missing here are missing there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
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

    What a diverged run counts with is its absolute metric.
    """
    raw = len({row.cell.score["metric"] for row in comparison.rows}) == 1
    tasks: dict[str, dict[str, dict[str, Any]]] = {}
    if store is not None and matrix is not None:
        states = store.states(cell.id for cell in matrix.cells)
        for group in matrix.groups:
            found = {
                f"seed_{cell.seed}": _run(store, cell, raw)
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
            f"seed_{one.seed}": _foreign_run(one, foreign, raw) for one in of_file.cells
        }
    return json.dumps({comparison.suite: tasks}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _run(store: Store, cell: Cell, raw: bool) -> dict[str, Any]:
    metric = cell.score["metric"]
    outcome = store.result(cell.id)["outcome"]
    evaluations = []
    absolute: list[float] = []
    for record in journal.read_lines(store.cell_directory(cell.id) / journal.NAME):
        values = _finite(record, metric)
        if record.get("kind") == "evaluation" and values:
            evaluations.append((record["step"], values))
        elif record.get("kind") == "absolute" and values:
            absolute = values
    if outcome["status"] == "diverged":
        low, high = float(cell.score["low"]), float(cell.score["high"])
        absolute = [low + float(cell.protocol["diverged_score"]) * (high - low)]
    elif not absolute and evaluations:
        absolute = evaluations[-1][1]
    return _told(cell, evaluations, absolute, raw)


def _finite(record: Mapping[str, Any], metric: str) -> list[float]:
    """The metric in every episode of an evaluation, else its mean; empty where one is not finite."""
    values = (record.get("episodes") or {}).get(metric) or [(record.get("values") or {}).get(metric)]
    return list(values) if all(value is not None and math.isfinite(value) for value in values) else []


def _foreign_run(cell: Cell, foreign: ForeignResults, raw: bool) -> dict[str, Any]:
    low, high = float(cell.score["low"]), float(cell.score["high"])
    trace, value = foreign.traces.get(cell.id), foreign.runs[cell.id].value
    found = [] if trace is None else zip(trace.steps.tolist(), trace.scores.tolist(), strict=True)
    evaluations = [(step, [low + score * (high - low)]) for step, score in found]
    return _told(cell, evaluations, [] if value is None else [value], raw)


def _told(
    cell: Cell, evaluations: Sequence[tuple[int, list[float]]], absolute: list[float], raw: bool
) -> dict[str, Any]:
    low, high = float(cell.score["low"]), float(cell.score["high"])

    def metrics(values: list[float]) -> dict[str, list[float]]:
        scores = {"score": [(value - low) / (high - low) for value in values]}
        return {cell.score["metric"]: values, **scores} if raw else scores

    logged = {
        f"step_{place}": {"step_count": step, **metrics(values)}
        for place, (step, values) in enumerate(evaluations, start=1)
    }
    return {**logged, ABSOLUTE: metrics(absolute)}
