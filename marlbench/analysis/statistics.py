"""Interquartile means with stratified bootstrap intervals, as pure functions of runs x tasks.

The estimator and its interval follow Agarwal et al. 2021 ("Deep Reinforcement Learning at the Edge of the
Statistical Precipice", NeurIPS, arXiv 2108.13264) and agree with their library where every task has the same
number of runs. Where the counts differ, every task weighs the same: each run 1 / (tasks x runs of its task).

Scores come as float [run, task]. A task with fewer runs than the longest has NaN in the places that are left
over: NaN says that there is no run, never that a run has no value; its place in the column does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 5_000
CONFIDENCE = 0.95
SEED = 0

# Elements of one block of resamples: enough for numpy to be fast, little enough for any machine's memory.
_BLOCK = 1 << 20

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A point with its interval; both ends are None where the runs cannot carry one."""

    point: float
    low: float | None
    high: float | None

    def map(self, low: float, high: float) -> Estimate:
        """The estimate of (value - low) / (high - low); exact, for the interquartile mean is equivariant."""
        point = (self.point - low) / (high - low)
        if self.low is None or self.high is None:
            return Estimate(point, None, None)
        ends = sorted(((self.low - low) / (high - low), (self.high - low) / (high - low)))
        return Estimate(point, ends[0], ends[1])


def table(columns: Sequence[Sequence[float]]) -> Floats:
    """The scores of each task as one table: float [run, task], NaN where a task has fewer runs."""
    scores = np.full((max(map(len, columns), default=0), len(columns)), np.nan)
    for task, column in enumerate(columns):
        scores[: len(column), task] = column
    return scores


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
    values, counts = _checked(scores)
    pool = _Pool(values, counts)
    return float(_middle(pool.mass, pool.cut, pool.total) @ pool.values)


def estimate(
    scores: ArrayLike, *, resamples: int = RESAMPLES, confidence: float = CONFIDENCE, seed: int = SEED
) -> Estimate:
    """The interquartile mean over all tasks with its stratified percentile-bootstrap interval.

    Runs are drawn with replacement within their task. There is no interval where a task has a single run:
    resampling it shows no spread, and the interval would look narrower than it is.

    Args:
        scores: float [run, task], NaN where a task has fewer runs.

    Raises:
        ValueError: a task has no run, or a score is infinite.
    """
    values, counts = _checked(scores)
    pool = _Pool(values, counts)
    point = float(_middle(pool.mass, pool.cut, pool.total) @ pool.values)
    if counts.min() < 2:
        return Estimate(point, None, None)
    resampled = np.concatenate(
        [
            _middle(drawn * pool.mass, pool.cut, pool.total) @ pool.values
            for drawn in _draw(counts, pool.rank, resamples, seed)
        ]
    )
    low, high = _ends(resampled, confidence)
    return Estimate(point, float(low), float(high))


def estimate_each(
    scores: ArrayLike, *, resamples: int = RESAMPLES, confidence: float = CONFIDENCE, seed: int = SEED
) -> list[Estimate]:
    """The interquartile mean of every task by itself, each as `estimate` of its column alone would give it.

    A column of k runs is resampled with the same draws as every other column of k runs, so a task's interval
    does not depend on what else is asked for, and a thousand columns cost little more than one.

    Args:
        scores: float [run, task], NaN where a task has fewer runs.

    Returns:
        One estimate for each task, in order.

    Raises:
        ValueError: a task has no run, or a score is infinite.
    """
    values, counts = _checked(scores)
    estimates: dict[int, Estimate] = {}
    for count in np.unique(counts):
        columns = np.flatnonzero(counts == count)
        ordered = values[:count, columns]
        rank = np.arange(count)
        points = _middle(np.ones(count), count // 4, count) @ ordered
        if count < 2:
            estimates |= {
                int(c): Estimate(float(p), None, None) for c, p in zip(columns, points, strict=True)
            }
            continue
        weights = np.concatenate(
            [_middle(drawn, count // 4, count) for drawn in _draw(np.array([count]), rank, resamples, seed)]
        )
        width = max(1, _BLOCK // resamples)
        for start in range(0, len(columns), width):
            low, high = _ends((weights @ ordered[:, start : start + width]).T, confidence)
            for place, column in enumerate(columns[start : start + width]):
                point = float(points[start + place])
                estimates[int(column)] = Estimate(point, float(low[place]), float(high[place]))
    return [estimates[column] for column in range(len(counts))]


class _Pool:
    """All runs of all tasks in ascending order.

    Attributes:
        values: float [N].
        mass: float [N], the weight of each run in units of the mean run: exactly 1 where counts are equal.
        rank: int [N], the place in `values` of each run, for runs counted task by task.
        cut, total: the mass cut from either end, and the mass in all.
    """

    def __init__(self, values: Floats, counts: NDArray[np.int64]) -> None:
        flat = np.concatenate([values[:count, task] for task, count in enumerate(counts)])
        order = np.argsort(flat, kind="stable")
        self.total = len(flat)
        self.cut = self.total // 4
        self.values = flat[order]
        self.mass = np.repeat(self.total / (len(counts) * counts), counts)[order]
        self.rank = np.empty(self.total, dtype=np.int64)
        self.rank[order] = np.arange(self.total)


def _checked(scores: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Every column in ascending order with its NaNs last, [run, task], and the runs of each, [task]."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"scores are [run, task] with at least one task, not of shape {list(values.shape)}")
    if np.isinf(values).any():
        raise ValueError("a score is infinite")
    counts = np.count_nonzero(~np.isnan(values), axis=0)
    if values.shape[0] == 0 or counts.min() == 0:
        raise ValueError("a task has no run")
    return np.sort(values, axis=0), counts


def _middle(mass: Floats, cut: int, total: int) -> Floats:
    """The weight of each run, [..., N] in ascending order, with `cut` taken from either end of the mass."""
    kept = np.clip(np.cumsum(mass, axis=-1), cut, total - cut)
    weights = np.empty_like(kept)
    weights[..., 0] = kept[..., 0] - cut
    np.subtract(kept[..., 1:], kept[..., :-1], out=weights[..., 1:])
    weights /= total - 2 * cut
    return weights


def _draw(counts: NDArray[np.int64], rank: NDArray[np.int64], resamples: int, seed: int) -> Iterator[Floats]:
    """How often each run is drawn, [resample, N] by rank, in blocks of resamples; strata lie side by side."""
    generator = np.random.default_rng(seed)
    total = int(counts.sum())
    of_run = np.repeat(counts, counts).astype(np.float32)
    first = np.repeat(np.cumsum(counts) - counts, counts).astype(np.int32)
    block = max(1, _BLOCK // total)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        uniform = generator.random((size, total), dtype=np.float32)
        drawn = rank[first + (uniform * of_run).astype(np.int32)]
        drawn += np.arange(size)[:, None] * total
        yield np.bincount(drawn.ravel(), minlength=size * total).reshape(size, total).astype(np.float64)


def _ends(resampled: Floats, confidence: float) -> Floats:
    """The percentile interval along the last axis, [2, ...]."""
    return np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2], axis=-1)
