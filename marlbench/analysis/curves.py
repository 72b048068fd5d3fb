"""Sample-efficiency curves: an aggregate of scores over environment steps, with a pointwise bootstrap band.

After Agarwal et al. 2021, section 4.3 and figure 7. Runs need not be evaluated at the same steps: between two of its
evaluations a run has the score of the earlier one, which is what its training had brought by then. Nothing is
carried beyond a run's last evaluation, nor told of before its first, so a curve spans the steps that all runs have.
A run that diverged is the exception: from then on it has the score that its suite gives to such runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marlbench.analysis.resampling import (
    CONFIDENCE,
    SEED,
    Floats,
    Integers,
    table,
)
from marlbench.analysis.statistics import AggregateName, estimate

RESAMPLES = 2_000
# Where runs were evaluated at steps of their own, a curve is told at no more than so many of them.
POINTS = 200


@dataclass(frozen=True)
class Trace:
    """The evaluations of one run.

    Attributes:
        steps: int [evaluation], environment steps, ascending.
        scores: float [evaluation], finite.
        after: the score at all steps after the last evaluation; None where nothing is known of them.
    """

    steps: NDArray[np.int64]
    scores: Floats
    after: float | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where the evaluations are not a trace."""
        if len(self.steps) != len(self.scores) or (not len(self.steps) and self.after is None):
            raise ValueError(f"a trace has {len(self.steps)} steps and {len(self.scores)} scores")
        if (np.diff(self.steps) <= 0).any():
            raise ValueError("the steps of a trace do not ascend")
        if not np.isfinite(self.scores).all() or not np.isfinite(0.0 if self.after is None else self.after):
            raise ValueError("a score of a trace is not finite")

    def at(self, steps: Integers) -> Floats:
        """The score at each of the steps, float [step]; NaN where nothing is known."""
        known = np.concatenate([[np.nan], self.scores, [np.nan if self.after is None else self.after]])
        place = np.searchsorted(self.steps, steps, side="right")
        last = self.steps[-1] if len(self.steps) else -1
        return known[np.where(steps > last, len(known) - 1, place)]


@dataclass(frozen=True)
class Curve:
    """The curve of one algorithm.

    Attributes:
        steps: int [step].
        points: float [step].
        low, high: float [step], the pointwise band; None where a task has a single run.
        runs: how many runs there are, of all tasks.
    """

    steps: Integers
    points: Floats
    low: Floats | None
    high: Floats | None
    runs: int


def common_steps(tasks: Sequence[Sequence[Trace]], most: int = POINTS) -> Integers:
    """The steps at which any run was evaluated and all runs have a score, int [step], at most `most` of them.

    Where there are more, those are taken that lie closest to an even spacing; the first and the last stay. Empty
    where the runs have no step in common.

    Args:
        tasks: the traces of each task.
    """
    traces = [trace for task in tasks for trace in task]
    evaluated = [trace.steps for trace in traces if len(trace.steps)]
    if not evaluated:
        return np.array([], dtype=np.int64)
    steps = np.unique(np.concatenate(evaluated)).astype(np.int64)
    known = ~np.isnan(np.stack([trace.at(steps) for trace in traces])).any(axis=0)
    steps = steps[known]
    if len(steps) > most:
        wanted = np.linspace(steps[0], steps[-1], most)
        after = np.clip(np.searchsorted(steps, wanted), 1, len(steps) - 1)
        nearer = np.where(wanted - steps[after - 1] <= steps[after] - wanted, after - 1, after)
        steps = steps[np.unique(nearer)]
    return steps


def sample_efficiency(
    tasks: Sequence[Sequence[Trace]],
    steps: ArrayLike | None = None,
    *,
    aggregate: AggregateName = "iqm",
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> Curve:
    """The aggregate over tasks and runs at each step, with a pointwise stratified bootstrap band.

    The same resamples are used at every step, so a band does not jitter. Every task weighs the same, whatever the
    number of its runs.

    Args:
        tasks: the traces of one algorithm on each task.
        steps: int [step]; `common_steps(tasks)` where not given.

    Raises:
        ValueError: a task has no run, or a run has no score at one of the steps.
    """
    if not tasks or not all(tasks):
        raise ValueError("a task has no run")
    grid = common_steps(tasks) if steps is None else np.asarray(steps, dtype=np.int64)
    columns = [np.stack([trace.at(grid) for trace in task]) for task in tasks]
    if any(np.isnan(column).any() for column in columns):
        raise ValueError("a run has no score at one of the steps")
    found = [
        estimate(
            table([column[:, place].tolist() for column in columns]),
            aggregate=aggregate,
            resamples=resamples,
            confidence=confidence,
            seed=seed,
        )
        for place in range(len(grid))
    ]
    spreads = all(one.low is not None for one in found)
    return Curve(
        steps=grid,
        points=np.array([one.point for one in found]),
        low=np.array([one.low for one in found], dtype=np.float64) if spreads else None,
        high=np.array([one.high for one in found], dtype=np.float64) if spreads else None,
        runs=sum(map(len, tasks)),
    )
