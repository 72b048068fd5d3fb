"""Drawing runs again: the stratified bootstrap that every estimate of a comparison shares.

Runs are drawn with replacement within their task (Agarwal et al. 2021, arXiv 2108.13264, section 4.1), and an
interval is the percentile interval of what the resamples give. A resample is told by how often it holds each
run, so that an estimate over thousands of them is a few matrix products.

The draws depend on the seed and on how many runs each task has, and on nothing else: two algorithms with the
same counts are given the same resamples, and so are two estimates of one algorithm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 5_000
CONFIDENCE = 0.95
SEED = 0

# Elements of one block of resamples: few enough to stay in a core's cache, enough for numpy to be fast.
BLOCK = 1 << 17

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A point with its interval; both ends are None where the runs cannot carry one."""

    point: float
    low: float | None
    high: float | None

    def map(self, low: float, high: float) -> Estimate:
        """The estimate of (value - low) / (high - low); exact for every estimate that follows its data so."""
        point = (self.point - low) / (high - low)
        if self.low is None or self.high is None:
            return Estimate(point, None, None)
        ends = sorted(((self.low - low) / (high - low), (self.high - low) / (high - low)))
        return Estimate(point, ends[0], ends[1])


class Sample:
    """The runs of one algorithm, task by task and in ascending order within each: N in all.

    Attributes:
        counts: int [task], the runs of each task.
        values: float [N].
        mass: float [N], the weight of each run in units of the mean run: exactly 1 where counts are equal.
    """

    def __init__(self, scores: ArrayLike) -> None:
        """Check scores: float [run, task], NaN where a task has fewer runs.

        Raises:
            ValueError: a task has no run, or a score is infinite.
        """
        table = np.asarray(scores, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] == 0:
            raise ValueError(
                f"scores are [run, task] with at least one task, not of shape {list(table.shape)}"
            )
        if np.isinf(table).any():
            raise ValueError("a score is infinite")
        self.counts = np.count_nonzero(~np.isnan(table), axis=0)
        if table.shape[0] == 0 or self.counts.min() == 0:
            raise ValueError("a task has no run")
        ordered = np.sort(table, axis=0)
        self.values = np.concatenate([ordered[:count, task] for task, count in enumerate(self.counts)])
        self.mass = np.repeat(len(self.values) / (self.tasks * self.counts), self.counts)

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return len(self.counts)

    @property
    def strata(self) -> list[slice]:
        """Where the runs of each task lie in `values`."""
        ends = np.cumsum(self.counts)
        return [slice(int(end - count), int(end)) for end, count in zip(ends, self.counts, strict=True)]

    @property
    def spreads(self) -> bool:
        """Whether resampling can show a spread: no task has a single run."""
        return bool(self.counts.min() >= 2)


def table(columns: Sequence[Sequence[float]]) -> Floats:
    """The scores of each task as one table: float [run, task], NaN where a task has fewer runs."""
    scores = np.full((max(map(len, columns), default=0), len(columns)), np.nan)
    for task, column in enumerate(columns):
        scores[: len(column), task] = column
    return scores


def samples(scores: Mapping[str, ArrayLike]) -> dict[str, Sample]:
    """The checked runs of every algorithm.

    Raises:
        ValueError: as `Sample` does, or the algorithms do not have the same number of tasks.
    """
    found = {name: Sample(of) for name, of in scores.items()}
    if len({sample.tasks for sample in found.values()}) > 1:
        told = ", ".join(f"{name} {sample.tasks}" for name, sample in found.items())
        raise ValueError(f"algorithms are compared on the same tasks, but they have: {told}")
    return found


def alike(found: Mapping[str, Sample]) -> list[list[str]]:
    """The names of those that share their resamples, having as many runs on each task."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, sample in found.items():
        groups.setdefault(tuple(sample.counts.tolist()), []).append(name)
    return list(groups.values())


def draws(counts: Integers, resamples: int, generator: np.random.Generator) -> Iterator[Floats]:
    """How often each resample holds each run, float [resample, N], in blocks of resamples."""
    total = int(counts.sum())
    of_run = np.repeat(counts, counts).astype(np.float32)
    first = np.repeat(np.cumsum(counts) - counts, counts).astype(np.int32)
    block = max(1, BLOCK // total)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        uniform = generator.random((size, total), dtype=np.float32)
        drawn = first + (uniform * of_run).astype(np.int32)
        drawn += (np.arange(size, dtype=np.int32) * total)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * total).reshape(size, total).astype(np.float64)


def interval(resampled: Floats, confidence: float) -> Floats:
    """The percentile interval along the last axis, [2, ...]."""
    return np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2], axis=-1)
