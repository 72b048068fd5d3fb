"""The summary of a report: what was compared, what came out, and how sure that is, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import comb
from typing import TYPE_CHECKING

from marlbench.analysis.significance import LEVEL, Test, not_told_apart

if TYPE_CHECKING:
    from marlbench.analysis.comparison import Comparison, Row
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


def leaders(rows: Sequence[Row], tests: Mapping[str, Sequence[Test]]) -> list[str]:
    """Who is best on how many tasks, and on how many of them significantly better than everyone else.

    Args:
        tests: of each task, between its algorithms.
    """
    best: dict[str, list[str]] = {}
    alone: dict[str, list[str]] = {}
    contested = 0
    for task in dict.fromkeys(row.cell.task for row in rows):
        scores = {
            row.cell.label: row.score.point for row in rows if row.cell.task == task and row.score is not None
        }
        if len(scores) < 2:
            continue
        contested += 1
        highest = max(scores.values())
        first = [label for label, score in scores.items() if score == highest]
        for label in first:
            best.setdefault(label, []).append(task)
        if len(first) == 1 and not not_told_apart(first[0], tests.get(task, ())):
            alone.setdefault(first[0], []).append(task)
    if not contested:
        return []
    order = sorted(best, key=lambda label: -len(best[label]))
    told = [
        f"Highest interquartile mean: {'; '.join(f'{label} on {_some(best[label])}' for label in order)}."
    ]
    if alone:
        who = "; ".join(f"{label} on {_some(of)}" for label, of in alone.items())
        told.append(
            f"Significantly better than every other algorithm there (permutation tests, {LEVEL:.0%} after Holm's "
            f"correction): {who}."
        )
    else:
        told.append(
            f"On no task is the best algorithm significantly better than all others (permutation tests, {LEVEL:.0%} "
            "after Holm's correction)."
        )
    return told


def over_tasks(scores: Mapping[str, Estimate], tests: Sequence[Test], where: str) -> str:
    """The best algorithm over several tasks, and those that cannot be told from it."""
    best = max(scores, key=lambda label: scores[label].point)
    others = [label for label in scores if label != best]
    near = [label for label in others if label in not_told_apart(best, tests)]
    told = (
        f"Over {where}, {best} has the highest interquartile mean of the scores: {_interval(scores[best])}."
    )
    if not near:
        return f"{told} Its difference to every other algorithm is significant."
    apart = [label for label in others if label not in near]
    named = _some([f"{label} ({_interval(scores[label])})" for label in near])
    rest = f", from {_some(apart)} it can" if apart else ""
    return f"{told} It cannot be told from {named} with confidence{rest}."


def power(rows: Iterable[Row]) -> str:
    """A warning where so few runs cannot show any difference on a single task; "" otherwise."""
    by_task: dict[str, list[int]] = {}
    for row in rows:
        if row.n:
            by_task.setdefault(row.cell.task, []).append(row.n)
    hopeless = [
        task
        for task, counts in by_task.items()
        if len(counts) > 1 and _least_p(counts) * comb(len(counts), 2) > LEVEL
    ]
    if not hopeless:
        return ""
    fewest = min(min(by_task[task]) for task in hopeless)
    where = "any single task" if len(hopeless) == len(by_task) else _some(hopeless)
    return (
        f"With {_count(fewest, 'run')} of an algorithm, no difference on {where} could have come out significant: "
        "read the intervals, and add seeds before concluding."
    )


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


def _least_p(counts: Sequence[int]) -> float:
    """The smallest two-sided p-value that a permutation test of the two largest counts can give."""
    first, second = sorted(counts)[-2:]
    return (2 if first == second else 1) / comb(first + second, first)


def _interval(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.point:.3f}"
    return f"{found.point:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _some(words: Sequence[str]) -> str:
    rest = len(words) - _NAMED
    return ", ".join(words[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
