"""The one table of a comparison, as text in places: what every format for people prints.

A table has a block for each task and backend and one for each aggregate, and a block has a line for each algorithm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marlbench.analysis.comparison import Aggregate, Comparison, Row
from marlbench.analysis.marks import BEST, TIED, Mark
from marlbench.analysis.significance import LEVEL

if TYPE_CHECKING:
    from marlbench.analysis.published import PublishedRow
    from marlbench.analysis.runs import Cost
    from marlbench.analysis.statistics import AggregateName, Estimate

NOTHING = "-"
UP, DOWN = "↑", "↓"
NAMES: Mapping[str, str] = {
    "iqm": "IQM",
    "median": "median",
    "mean": "mean",
    "optimality_gap": "optimality gap",
}
_SPELT_OUT: Mapping[str, str] = {
    "iqm": "Interquartile mean",
    "median": "Median",
    "mean": "Mean",
    "optimality_gap": "Optimality gap of the score (what is missing to 1)",
}


@dataclass(frozen=True)
class Entry:
    """What one algorithm has to say in one block, as text.

    Attributes:
        label, revision: the algorithm as the suite calls it; the revision is "" where there is none.
        published: it is a number of a paper, not an estimate.
    """

    label: str
    revision: str
    value: str
    interval: str
    score: str
    runs: str
    mark: str
    speed: str
    hours: str
    memory: str
    published: bool = False

    @property
    def best(self) -> bool:
        """Whether the value is the block's best."""
        return self.mark == BEST


@dataclass(frozen=True)
class Block:
    """A task on one backend, or an aggregate over the tasks of one.

    Attributes:
        revision: of the task; "" where there is none.
        statistic: what the values are.
    """

    name: str
    revision: str
    metric: str
    arrow: str
    backend: str
    statistic: str
    entries: tuple[Entry, ...]


def heading(comparison: Comparison) -> str:
    """One line: suite, preset and its label, how many cells are done."""
    preset = "" if comparison.preset == "full" else f", preset {comparison.preset}"
    label = f" ({comparison.label})" if comparison.label else ""
    rest = ", ".join(f"{count} {state}" for state, count in comparison.unfinished.items())
    rest = f" ({rest})" if rest else ""
    cells = "runs of other programs" if comparison.protocol.get("kind") == "foreign" else "cells"
    of = f"{comparison.expected} {cells}" if cells != "cells" else f"{comparison.expected} cells done"
    done = "" if cells != "cells" else f"{comparison.done} of "
    return f"{comparison.suite}{preset}{label}: {done}{of}{rest}"


def protocol_line(comparison: Comparison) -> str:
    """The fields of the protocol that all tasks share, and the steps of training where they are the same."""
    told = [f"{name} {value}" for name, value in comparison.protocol.items() if value is not None]
    steps = {row.cell.steps for row in comparison.rows if row.cell.steps}
    if len(steps) == 1:
        told.append(f"{steps.pop():,} steps of training")
    elif steps:
        told.append(f"{min(steps):,} to {max(steps):,} steps of training")
    return f"Protocol: {', '.join(told)}."


def legend(comparison: Comparison) -> str:
    """What the numbers of the table are, in a few sentences."""
    several = len({row.cell.label for row in comparison.rows}) > 1
    marks = (
        f" {BEST} is the best, {TIED} is not significantly different from it (permutation tests of all pairs, "
        f"Holm-corrected, {LEVEL:.0%})."
        if several
        else ""
    )
    return (
        f"{_SPELT_OUT[comparison.shown[0]]} over seeds and its 95 % stratified bootstrap interval, "
        f"of {_evaluation(comparison.protocol)}. Scores are 0 and 1 at the task's bounds. "
        f"n/N: runs counted of runs planned.{marks} Cost is of one run: steps/s of its job, hours, peak memory."
    )


def _evaluation(protocol: Mapping[str, object]) -> str:
    policy = protocol.get("policy", "actions as the task says")
    if protocol.get("kind") == "foreign":
        return "what each run was recorded with"
    if protocol.get("kind") == "online":
        window = protocol.get("window")
        return f"the last {window:,} steps of training" if isinstance(window, int) else "the end of training"
    episodes = protocol.get("absolute_episodes")
    about = ["best policy", policy, *([f"{episodes} fresh episodes"] if episodes else [])]
    return f"the absolute evaluation ({', '.join(map(str, about))})"


def blocks(comparison: Comparison) -> list[Block]:
    """Tasks in their order, each with its backends, then the aggregates of each backend."""
    by_task: dict[tuple[str, str], list[Row]] = {}
    for task in dict.fromkeys(row.cell.task for row in comparison.rows):
        for row in comparison.rows:
            if row.cell.task == task:
                by_task.setdefault((task, row.cell.backend), []).append(row)
    found = []
    unit = unit_of_hours(row.cost for row in comparison.rows)
    waiting = list(comparison.published)
    for (task, _), rows in by_task.items():
        published = [row for row in waiting if row.task == task]
        waiting = [row for row in waiting if row.task != task]
        found.append(_task_block(rows, comparison.shown[0], published, unit))
    by_backend: dict[str, list[Aggregate]] = {}
    for one in comparison.aggregate:
        by_backend.setdefault(one.backend, []).append(one)
    for backend, of in by_backend.items():
        tasks = {row.cell.task for row in comparison.rows if row.cell.backend == backend}
        # Over a single task the aggregate says nothing that the task's own scores do not.
        if of[0].tasks and len(tasks) > 1:
            found += [_aggregate_block(of, len(tasks), name, unit) for name in comparison.shown]
    return found


def unit_of_hours(costs: Iterable[Cost]) -> str:
    """The heading of the hours: of processors, of GPUs, or of both."""
    on_gpu = {
        cost.gpu_hours is not None
        for cost in costs
        if cost.cpu_hours is not None or cost.gpu_hours is not None
    }
    return {frozenset({True}): "GPU-h", frozenset({True, False}): "CPU|GPU-h"}.get(frozenset(on_gpu), "CPU-h")


def _task_block(
    rows: Sequence[Row], name: AggregateName, published: Sequence[PublishedRow], unit: str
) -> Block:
    cell = rows[0].cell
    gap = name == "optimality_gap"
    estimates = [(row.score_estimates if gap else row.raw_estimates).get(name) for row in rows]
    digits = _digits(estimates)
    lower = cell.score["low"] > cell.score["high"]
    return Block(
        cell.task,
        str(cell.task_revision or ""),
        "score" if gap else cell.score["metric"],
        DOWN if gap or lower else UP,
        cell.backend,
        NAMES[name],
        (
            *(
                Entry(
                    row.cell.label,
                    str(row.cell.algorithm_revision or ""),
                    _number(found, digits),
                    _interval(found, digits),
                    _number(row.score_estimates.get("iqm" if gap else name), 3),
                    f"{row.n}/{row.expected}",
                    row.marks.get(name, Mark()).sign,
                    *_cost(row.cost, unit),
                )
                for row, found in zip(rows, estimates, strict=True)
            ),
            *(_published(row, digits) for row in published),
        ),
    )


def _published(row: PublishedRow, digits: int) -> Entry:
    score = NOTHING if row.score is None else _format(row.score, 3)
    return Entry(
        f"{row.algorithm} [{row.label}]",
        "",
        _format(row.value, digits),
        "published",
        score,
        NOTHING,
        "",
        NOTHING,
        NOTHING,
        NOTHING,
        published=True,
    )


def _aggregate_block(found: Sequence[Aggregate], tasks: int, name: AggregateName, unit: str) -> Block:
    counted = len(found[0].tasks)
    return Block(
        f"all {tasks} tasks" if counted == tasks else f"{counted} of {tasks} tasks",
        "",
        f"{NAMES[name]} of scores",
        DOWN if name == "optimality_gap" else UP,
        found[0].backend,
        NAMES[name],
        tuple(
            Entry(
                one.algorithm,
                "",
                _number(one.estimates.get(name), 3),
                _interval(one.estimates.get(name), 3),
                "",
                f"{one.n}/{one.expected}",
                one.marks.get(name, Mark()).sign,
                *_cost(one.cost, unit),
            )
            for one in found
        ),
    )


def _cost(cost: Cost, unit: str) -> tuple[str, str, str]:
    """Steps per second, hours and memory of one run, for people."""
    on_gpu = cost.gpu_hours is not None
    hours = cost.gpu_hours if on_gpu else cost.cpu_hours
    told = NOTHING if hours is None else _significant(hours)
    if unit == "CPU|GPU-h" and hours is not None:
        told += " GPU" if on_gpu else " CPU"
    memory = cost.peak_memory_bytes
    return (
        NOTHING if cost.steps_per_second is None else _thousands(cost.steps_per_second),
        told,
        NOTHING
        if memory is None
        else f"{memory / 2**30:.1f}G"
        if memory < 100 * 2**30
        else f"{memory / 2**30:.0f}G",
    )


def _thousands(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            return f"{_three(number / size)}{letter}"
    return _three(number)


def _three(number: float) -> str:
    """Three significant digits without an exponent: 1.23, 12.3, 123."""
    return f"{number:.{max(0, 2 - math.floor(math.log10(max(number, 1))))}f}"


def _significant(hours: float) -> str:
    if hours < 0.0001:
        return "<.0001" if hours > 0 else "0"
    digits = max(0, 1 - math.floor(math.log10(hours)))
    return f"{hours:.{digits}f}".removeprefix("0") if hours < 1 else f"{hours:.{digits}f}"


def _digits(estimates: Sequence[Estimate | None]) -> int:
    """Decimals that leave about four significant digits of the largest number."""
    numbers = [
        abs(number)
        for found in estimates
        if found is not None
        for number in (found.point, found.low, found.high)
        if number
    ]
    return min(max(3 - math.floor(math.log10(max(numbers))), 0), 6) if numbers else 3


def _number(found: Estimate | None, digits: int) -> str:
    return NOTHING if found is None else _format(found.point, digits)


def _interval(found: Estimate | None, digits: int) -> str:
    if found is None or found.low is None or found.high is None:
        return NOTHING
    return f"[{_format(found.low, digits)}, {_format(found.high, digits)}]"


def _format(number: float, digits: int) -> str:
    if abs(number) >= 1e9:
        return f"{number:.3e}"
    text = f"{number:.{digits}f}"
    # A negative number that rounds to nothing would read -0.00.
    return text.removeprefix("-") if float(text) == 0 else text
