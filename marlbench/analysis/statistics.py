"""The four aggregates of a comparison with stratified bootstrap intervals, as pure functions of runs x tasks.

After Agarwal et al. 2021 ("Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS, arXiv
2108.13264, section 4), in agreement with their library where every task has the same number of runs:

    iqm             mean of the middle half of all runs of all tasks
    median          median over tasks of the mean over runs
    mean            mean over tasks of the mean over runs
    optimality_gap  target - mean of min(score, target): what is missing to the target; lower is better

Where the counts differ, every task weighs the same: each run 1 / (tasks x runs of its task).

Scores come as float [run, task]. A task with fewer runs than the longest has NaN in the places that are left
over: NaN says that there is no run, never that a run has no value; its place in the column does not matter.
There is no interval where a task has a single run: resampling it shows no spread, and the interval would look
narrower than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from marlbench.analysis.resampling import (
    BLOCK,
    CONFIDENCE,
    RESAMPLES,
    SEED,
    Estimate,
    Floats,
    Sample,
    alike,
    draws,
    interval,
    samples,
    table,
)

__all__ = [
    "AGGREGATES",
    "TARGET",
    "AggregateName",
    "Estimate",
    "aggregates",
    "estimate",
    "estimate_each",
    "interquartile_mean",
    "mean",
    "median",
    "optimality_gap",
    "table",
]

AggregateName = Literal["iqm", "median", "mean", "optimality_gap"]
AGGREGATES: tuple[AggregateName, ...] = get_args(AggregateName)
# Score 1 is the upper bound that the suite gives to each task.
TARGET = 1.0


def interquartile_mean(scores: ArrayLike) -> float:
    """The mean of the middle half of all runs of all tasks, every task weighing the same.

    With N runs in all, the mass of floor(N / 4) runs is cut from either end of the weighted distribution. For
    equal counts that is the mean without the floor(N / 4) lowest and highest runs; for unequal ones the runs
    at the cut count in part, so the result is continuous in every score.

    Args:
        scores: float [run, task], NaN where a task has fewer runs.

    Raises:
        ValueError: a task has no run, or a score is infinite.
    """
    return _Middle(Sample(scores)).point


def median(scores: ArrayLike) -> float:
    """The median over tasks of the mean over runs; of an even number of tasks the mean of the middle two.

    Args:
        scores: float [run, task], NaN where a task has fewer runs.

    Raises:
        ValueError: a task has no run, or a score is infinite.
    """
    return float(np.median(_task_means(Sample(scores))))


def mean(scores: ArrayLike) -> float:
    """The mean over tasks of the mean over runs.

    Args:
        scores: float [run, task], NaN where a task has fewer runs.

    Raises:
        ValueError: a task has no run, or a score is infinite.
    """
    return float(_task_means(Sample(scores)).mean())


def optimality_gap(scores: ArrayLike, target: float = TARGET) -> float:
    """How far scores fall short of the target: target - mean over tasks of the mean of min(score, target).

    Args:
        scores: float [run, task], NaN where a task has fewer runs.

    Raises:
        ValueError: a task has no run, or a score is infinite.
    """
    # In rows, NaN stays NaN under numpy's minimum.
    return target - mean(np.minimum(np.asarray(scores, dtype=np.float64), target))


def aggregates(
    scores: Mapping[str, ArrayLike],
    *,
    names: Sequence[AggregateName] = AGGREGATES,
    target: float = TARGET,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> dict[str, dict[AggregateName, Estimate]]:
    """The aggregates over all tasks with their stratified percentile-bootstrap intervals.

    All aggregates are taken of the same resamples, and so are all algorithms that have as many runs on each task:
    an interval is the same whatever else is asked for, and a second aggregate costs little.

    Args:
        scores: of each algorithm, float [run, task], NaN where a task has fewer runs; the same tasks for all.
        names: which aggregates.
        target: of the optimality gap.

    Returns:
        algorithm -> aggregate -> estimate, in the order given.

    Raises:
        ValueError: the algorithms do not have the same number of tasks, a task has no run, or a score is
        infinite.
    """
    found = samples(scores)
    estimates: dict[str, dict[AggregateName, Estimate]] = {}
    for group in alike(found):
        estimates |= _aggregates(
            {name: found[name] for name in group}, names, target, resamples, confidence, seed
        )
    return {name: estimates[name] for name in scores}


def estimate(
    scores: ArrayLike,
    *,
    aggregate: AggregateName = "iqm",
    target: float = TARGET,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> Estimate:
    """One aggregate of one algorithm: what `aggregates` gives it.

    Args:
        scores: float [run, task], NaN where a task has fewer runs.

    Raises:
        ValueError: a task has no run, or a score is infinite.
    """
    found = aggregates(
        {"": scores}, names=(aggregate,), target=target, resamples=resamples, confidence=confidence, seed=seed
    )
    return found[""][aggregate]


def estimate_each(
    scores: ArrayLike,
    *,
    aggregate: AggregateName = "iqm",
    target: float = TARGET,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> list[Estimate]:
    """An estimate of every task by itself, over its runs: their middle half, median, mean, or gap to the target.

    Of one task the median is that of its runs: over tasks there would be nothing to take it of. A column of k
    runs is resampled with the same draws as every other column of k runs, so a task's interval does not depend
    on what else is asked for, and a thousand columns cost little more than one.

    Args:
        scores: float [run, task], NaN where a task has fewer runs.

    Returns:
        One estimate for each task, in order.

    Raises:
        ValueError: a task has no run, or a score is infinite.
    """
    values = np.asarray(scores, dtype=np.float64)
    if aggregate == "optimality_gap":
        values = np.minimum(values, target)
    sample = Sample(values)
    estimates: dict[int, Estimate] = {}
    for count in np.unique(sample.counts):
        columns = np.flatnonzero(sample.counts == count)
        ordered = np.stack([sample.values[sample.strata[column]] for column in columns], axis=1)
        cut = {"iqm": count // 4, "median": (count - 1) // 2}.get(aggregate, 0)
        points = _middle(np.ones(count), cut, count) @ ordered
        low = high = np.full(len(columns), np.nan)
        if count >= 2:
            generator = np.random.default_rng(seed)
            weights = np.concatenate(
                [_middle(drawn, cut, count) for drawn in draws(np.array([count]), resamples, generator)]
            )
            width = max(1, BLOCK // resamples)
            parts = [ordered[:, start : start + width] for start in range(0, len(columns), width)]
            low, high = np.concatenate([interval((weights @ part).T, confidence) for part in parts], axis=1)
        if aggregate == "optimality_gap":
            points, low, high = target - points, target - high, target - low
        for column, *numbers in zip(columns, points, low, high, strict=True):
            point, *ends = map(float, numbers)
            estimates[int(column)] = Estimate(point, *(ends if count >= 2 else (None, None)))
    return [estimates[column] for column in range(sample.tasks)]


def _aggregates(
    found: Mapping[str, Sample],
    names: Sequence[AggregateName],
    target: float,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, dict[AggregateName, Estimate]]:
    """The aggregates of algorithms that have as many runs on each task."""
    first = next(iter(found.values()))
    middles = {name: _Middle(sample) for name, sample in found.items()} if "iqm" in names else {}
    raw = np.stack([sample.values for sample in found.values()], axis=1)
    # The gap is a mean too, of scores cut off at the target: one product gives the means of both.
    values = np.concatenate([raw, np.minimum(raw, target)], axis=1)
    resampled: dict[AggregateName, list[Floats]] = {name: [] for name in names}

    def means(drawn: Floats) -> None:
        by_task = np.stack(
            [drawn[:, of] @ values[of] / count for of, count in zip(first.strata, first.counts, strict=True)]
        )
        plain, clipped = np.split(by_task, 2, axis=2)
        for name in names:
            if name == "median":
                resampled[name].append(np.median(plain, axis=0))
            elif name == "mean":
                resampled[name].append(plain.mean(axis=0))
            elif name == "optimality_gap":
                resampled[name].append(target - clipped.mean(axis=0))

    if first.spreads:
        for drawn in draws(first.counts, resamples, np.random.default_rng(seed)):
            if set(names) - {"iqm"}:
                means(drawn)
            if middles:
                resampled["iqm"].append(np.stack([of.resampled(drawn) for of in middles.values()], axis=1))
    estimates: dict[str, dict[AggregateName, Estimate]] = {name: {} for name in found}
    for aggregate in names:
        points = [_point(sample, aggregate, target) for sample in found.values()]
        if not first.spreads:
            ends = [(None, None)] * len(points)
        else:
            ends = interval(np.concatenate(resampled[aggregate]).T, confidence).T.tolist()
        for name, point, (low, high) in zip(found, points, ends, strict=True):
            estimates[name][aggregate] = Estimate(point, low, high)
    return estimates


def _point(sample: Sample, aggregate: AggregateName, target: float) -> float:
    if aggregate == "iqm":
        return _Middle(sample).point
    if aggregate == "median":
        return float(np.median(_task_means(sample)))
    if aggregate == "mean":
        return float(_task_means(sample).mean())
    return target - float(_task_means(sample, target).mean())


def _task_means(sample: Sample, most: float = np.inf) -> Floats:
    """The mean of each task's runs, float [task], none of them counted with more than `most`."""
    return np.array([np.minimum(sample.values[of], most).mean() for of in sample.strata])


class _Middle:
    """The weighted mean of the middle half of a sample, and of its resamples."""

    def __init__(self, sample: Sample) -> None:
        self.total = len(sample.values)
        self.cut = self.total // 4
        self.order = np.argsort(sample.values, kind="stable")
        self.values = sample.values[self.order]
        self.mass = sample.mass[self.order]
        self.equal = bool((self.mass == 1).all())
        # Summation by parts: the sum of (kept[i] - kept[i - 1]) value[i] without a difference for each resample.
        self.falls = np.append(self.values[:-1] - self.values[1:], self.values[-1])

    @property
    def point(self) -> float:
        return float(_middle(self.mass, self.cut, self.total) @ self.values)

    def resampled(self, drawn: Floats) -> Floats:
        """The mean of each resample, float [resample]; `drawn` is [resample, N] in the sample's order."""
        held = drawn[:, self.order]
        if not self.equal:
            held *= self.mass
        np.cumsum(held, axis=1, out=held)
        np.clip(held, self.cut, self.total - self.cut, out=held)
        return (held @ self.falls - self.cut * self.values[0]) / (self.total - 2 * self.cut)


def _middle(mass: Floats, cut: int, total: int) -> Floats:
    """The weight of each run, [..., N] in ascending order, with `cut` taken from either end of the mass."""
    kept = np.clip(np.cumsum(mass, axis=-1), cut, total - cut)
    weights = np.empty_like(kept)
    weights[..., 0] = kept[..., 0] - cut
    np.subtract(kept[..., 1:], kept[..., :-1], out=weights[..., 1:])
    weights /= total - 2 * cut
    return weights
