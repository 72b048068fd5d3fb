"""The tables of a report: of one task, and over tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from marlbench.analysis.report.page import Head, Row, Table
from marlbench.analysis.significance import Test, not_told_apart
from marlbench.analysis.statistics import AGGREGATES, aggregates

if TYPE_CHECKING:
    from marlbench.analysis import comparison
    from marlbench.analysis.statistics import Estimate, Floats

NOTHING = "-"


def about(title: str, rows: Sequence[comparison.Row]) -> str:
    """One line below the task's name: what it is, what is measured, which implementation."""
    cell = rows[0].cell
    low, high = float(cell.score["low"]), float(cell.score["high"])
    direction = ", lower is better" if low > high else ""
    revision = f", revision {cell.task_revision}" if cell.task_revision != 1 else ""
    words = [
        *([title] if title else []),
        f"{cell.score['metric']}{direction}: score 0 at {low:g}, 1 at {high:g}",
        f"{cell.backend}{f' ({cell.simulator})' if cell.simulator else ''}{revision}",
        f"{cell.steps:,} environment steps",
    ]
    return ". ".join(words) + "."


def of_task(rows: Sequence[comparison.Row], tests: Sequence[Test], colours: Mapping[str, str]) -> Table:
    """One line for each algorithm on a task."""
    scores = {row.cell.label: row.score.point for row in rows if row.score is not None}
    marks = _marks(scores, tests)
    lines = []
    for row in rows:
        label = row.cell.label
        lines.append(
            Row(
                (
                    label if row.cell.algorithm_revision == 1 else f"{label} r{row.cell.algorithm_revision}",
                    _point(row.raw),
                    _ends(row.raw),
                    _point(row.score),
                    f"{row.n}/{row.expected}",
                    str(row.diverged or ""),
                    marks.get(label, ""),
                ),
                best=marks.get(label) == BEST,
                colour=colours[label],
            )
        )
    heads = (
        Head("algorithm"),
        Head("IQM"),
        Head("95 % interval"),
        Head("score"),
        Head("runs"),
        Head("diverged"),
        Head("", text=True),
    )
    return Table(rows[0].cell.task, "", heads, tuple(lines))


def over_tasks(
    found: Sequence[comparison.Aggregate],
    scores: Mapping[str, Floats],
    tests: Sequence[Test],
    colours: Mapping[str, str],
) -> Table:
    """One line for each algorithm: its aggregates over tasks."""
    estimates = aggregates(scores)
    marks = _marks({label: of["iqm"].point for label, of in estimates.items()}, tests)
    lines = []
    for one in found:
        of = estimates.get(one.algorithm)
        numbers = [
            word
            for name in AGGREGATES
            for word in (_point(of[name]) if of else NOTHING, _ends(of[name]) if of else NOTHING)
        ]
        lines.append(
            Row(
                (one.algorithm, *numbers, f"{one.n}/{one.expected}", marks.get(one.algorithm, "")),
                best=marks.get(one.algorithm) == BEST,
                colour=colours[one.algorithm],
            )
        )
    heads = [Head("algorithm")]
    for name in ("IQM", "median", "mean", "optimality gap"):
        heads += [Head(name), Head("95 % interval")]
    return Table("", "", (*heads, Head("runs"), Head("", text=True)), tuple(lines))


BEST = "best"
NEAR = "not told apart from the best"


def _marks(scores: Mapping[str, float], tests: Sequence[Test]) -> dict[str, str]:
    if len(scores) < 2:
        return {}
    highest = max(scores.values())
    best = [label for label, score in scores.items() if score == highest]
    near = not_told_apart(best[0], tests)
    return {label: NEAR for label in scores if label in near} | dict.fromkeys(best, BEST)


def _point(found: Estimate | None) -> str:
    return NOTHING if found is None else _number(found.point)


def _ends(found: Estimate | None) -> str:
    if found is None or found.low is None or found.high is None:
        return NOTHING
    return f"[{_number(found.low)}, {_number(found.high)}]"


def _number(value: float) -> str:
    return f"{value:.4g}"
