"""Which values of a table are marked: the best, and those that cannot be told from it.

What is the best is decided by the aggregate that is shown; what can be told from it by the pairwise permutation tests
of `significance`, corrected after Holm over all pairs of the block (a task, or the aggregate of a backend).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marlbench.analysis.significance import LEVEL, Test, pairwise_tests
from marlbench.analysis.statistics import AGGREGATES, AggregateName, Estimate, table

BEST = "*"
TIED = "~"


@dataclass(frozen=True)
class Mark:
    """What one value of a block is beside the others.

    Attributes:
        best: no other value of the block is better.
        tied: it is not the best, but not significantly different from it, or there are too few runs to say.
        p: Holm-adjusted p-value of its difference to the best; None for the best itself and where a task has a
            single run.
    """

    best: bool = False
    tied: bool = False
    p: float | None = None

    @property
    def sign(self) -> str:
        """`*` for the best, `~` for what cannot be told from it, else nothing."""
        return BEST if self.best else TIED if self.tied else ""


Marks = Mapping[AggregateName, Mark]


def marked(
    estimates: Mapping[str, Mapping[AggregateName, Estimate]], scores: Mapping[str, Sequence[Sequence[float]]]
) -> tuple[dict[str, Marks], tuple[Test, ...]]:
    """The marks of each algorithm for every aggregate, and the tests behind them; none for fewer than two.

    Args:
        estimates: of the scores of each algorithm.
        scores: of each algorithm, the scores of the runs of each task.
    """
    if len(estimates) < 2:
        return {label: {} for label in estimates}, ()
    tests = pairwise_tests({label: table(scores[label]) for label in estimates})
    found: dict[str, dict[AggregateName, Mark]] = {label: {} for label in estimates}
    for name in AGGREGATES:
        sign = -1 if name == "optimality_gap" else 1
        points = {label: sign * of[name].point for label, of in estimates.items() if name in of}
        for label, mark in _of_aggregate(points, tests).items():
            found[label][name] = mark
    return dict(found), tests


def _of_aggregate(points: Mapping[str, float], tests: Sequence[Test]) -> dict[str, Mark]:
    highest = max(points.values(), default=0.0)
    best = {label for label, point in points.items() if point == highest}
    marks = {}
    for label in points:
        against = [test for test in tests if label in (test.x, test.y) and best & {test.x, test.y}]
        if label in best:
            marks[label] = Mark(best=True)
            continue
        adjusted = [test.adjusted for test in against]
        p = None if None in adjusted else max(one for one in adjusted if one is not None)
        marks[label] = Mark(tied=p is None or p > LEVEL, p=p)
    return marks
