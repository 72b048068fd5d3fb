"""The summary of a report: what was compared, what came out, and how sure that is, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from marlbench.analysis.significance import LEVEL

if TYPE_CHECKING:
    from marlbench.analysis.comparison import Aggregate, Comparison, Row
    from marlbench.analysis.statistics import Estimate

_NAMED = 8


def compared(comparison: Comparison) -> str:
    """What was compared, and how much of it is there."""
    labels = list(dict.fromkeys(row.cell.label for row in comparison.rows))
    tasks = list(dict.fromkeys(row.cell.task for row in comparison.rows))
    seeds = sorted({row.expected for row in comparison.rows})
    each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    what = f"{_count(len(labels), 'algorithm')} ({_some(labels)}) on {_count(len(tasks), 'task')}"
    if comparison.done == comparison.expected:
        told = f"All {comparison.expected} cells have a result."
        if comparison.expected == 1:
            told = "The one cell has a result."
    else:
        rest = ", ".join(f"{count} {state}" for state, count in comparison.unfinished.items())
        told = f"{comparison.done} of {comparison.expected} cells have a result ({rest}); the others are not counted."
    return f"{what}, {each} {'seed' if each == '1' else 'seeds'} each. {told}"


def leaders(rows: Sequence[Row]) -> list[str]:
    """Who is best on which tasks, and on which of them significantly better than everyone else."""
    best: dict[str, list[str]] = {}
    alone: dict[str, list[str]] = {}
    for task in dict.fromkeys(row.cell.task for row in rows):
        marks = {
            row.cell.label: mark for row in rows if row.cell.task == task and (mark := row.marks.get("iqm"))
        }
        first = [label for label, mark in marks.items() if mark.best]
        for label in first:
            best.setdefault(label, []).append(task)
        if len(first) == 1 and not any(mark.tied for mark in marks.values()):
            alone.setdefault(first[0], []).append(task)
    if not best:
        return []
    order = sorted(best, key=lambda label: -len(best[label]))
    where = "; ".join(f"{label} on {_some(best[label])}" for label in order)
    tests = f"permutation tests of all pairs, {LEVEL:.0%} after Holm's correction"
    if alone:
        who = "; ".join(f"{label} on {_some(of)}" for label, of in alone.items())
        return [
            f"Highest interquartile mean: {where}.",
            f"Significantly better there than every other algorithm ({tests}): {who}.",
        ]
    return [
        f"Highest interquartile mean: {where}.",
        f"On no task is the best algorithm significantly better than all others ({tests}).",
    ]


def over_tasks(found: Sequence[Aggregate], where: str) -> str:
    """The best algorithm over several tasks, and those that cannot be told from it; "" for a single one."""
    scores = {one.algorithm: one.score for one in found if one.score is not None}
    marks = {one.algorithm: mark for one in found if (mark := one.marks.get("iqm"))}
    best = [label for label, mark in marks.items() if mark.best]
    if not best:
        return ""
    highest = _interval(scores[best[0]])
    told = f"Over {where}, {_some(best)} has the highest interquartile mean of the scores: {highest}."
    near = [f"{label} ({_interval(scores[label])})" for label, mark in marks.items() if mark.tied]
    apart = [label for label, mark in marks.items() if not mark.tied and not mark.best]
    if not near:
        return f"{told} Its difference to every other algorithm is significant."
    rest = f"; from {_some(apart)} it can" if apart else ""
    return f"{told} It cannot be told from {_some(near)} with confidence{rest}."


def diverged(rows: Iterable[Row]) -> str:
    """How many runs diverged, by algorithm; "" where none did."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.diverged:
            counts[row.cell.label] = counts.get(row.cell.label, 0) + row.diverged
    if not counts:
        return ""
    told = ", ".join(f"{label} {count}" for label, count in counts.items())
    return f"Runs whose parameters became NaN, counted with the suite's score for them: {told}."


def _interval(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.point:.3f}"
    return f"{found.point:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _some(words: Sequence[str]) -> str:
    rest = len(words) - _NAMED
    return ", ".join(words[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
