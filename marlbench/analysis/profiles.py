"""Performance profiles: which share of runs, or of tasks, lies above a score (Agarwal et al. 2021, section 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from marlbench.analysis.resampling import CONFIDENCE, SEED, Floats, Sample, alike, draws, interval, samples

# A band is read off a figure: its ends need not be as exact as those of a table.
RESAMPLES = 2_000

Kind = Literal["runs", "tasks"]


@dataclass(frozen=True)
class Profile:
    """The profile of one algorithm.

    Attributes:
        thresholds: float [threshold].
        points: float [threshold], the share above each threshold.
        low, high: float [threshold], the pointwise band; None where a task has a single run.
    """

    thresholds: Floats
    points: Floats
    low: Floats | None
    high: Floats | None


def performance_profiles(
    scores: Mapping[str, ArrayLike],
    thresholds: ArrayLike | None = None,
    *,
    kind: Kind = "runs",
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> dict[str, Profile]:
    """The profile of every algorithm with a pointwise stratified bootstrap band.

        runs    F(tau) = mean over tasks of the share of the task's runs with score > tau  (run-score distribution)
        tasks   F(tau) = share of the tasks whose mean over runs is > tau  (average-score distribution)

    The profile of runs is unbiased whatever the number of runs, which the other is not (section 4.3 there); it is
    the one to show. A band holds at each threshold by itself, not for the whole curve at once.

    Args:
        scores: of each algorithm, float [run, task], NaN where a task has fewer runs; the same tasks for all.
        thresholds: float [threshold]; `thresholds_of(scores)` where not given.

    Raises:
        ValueError: the algorithms do not have the same number of tasks, a task has no run, or a score is
        infinite.
    """
    found = samples(scores)
    levels = thresholds_of(scores) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    profiles: dict[str, Profile] = {}
    for group in alike(found):
        first = found[group[0]]
        profile_of = {name: _Above(found[name], levels, kind) for name in group}
        resampled: dict[str, list[Floats]] = {name: [] for name in group}
        if first.spreads:
            for drawn in draws(first.counts, resamples, np.random.default_rng(seed)):
                for name, above in profile_of.items():
                    resampled[name].append(above(drawn))
        for name, above in profile_of.items():
            points = above(np.ones((1, len(first.values))))[0]
            low, high = (None, None)
            if first.spreads:
                low, high = interval(np.concatenate(resampled[name]).T, confidence)
            profiles[name] = Profile(levels, points, low, high)
    return {name: profiles[name] for name in scores}


def thresholds_of(scores: Mapping[str, ArrayLike], count: int = 101) -> Floats:
    """Evenly spaced thresholds from the least to the greatest score of all algorithms, float [count].

    Raises:
        ValueError: there is no score, or one is infinite.
    """
    values = np.concatenate([[], *(np.asarray(of, dtype=np.float64).ravel() for of in scores.values())])
    values = values[~np.isnan(values)]
    if not len(values) or np.isinf(values).any():
        raise ValueError("there is no score" if not len(values) else "a score is infinite")
    return np.linspace(values.min(), values.max(), count)


class _Above:
    """The share above each threshold, [resample, threshold], of resamples told by how often they hold each run."""

    def __init__(self, sample: Sample, thresholds: Floats, kind: Kind) -> None:
        self.sample, self.thresholds, self.kind = sample, thresholds, kind
        share = (sample.mass / len(sample.values))[:, None]
        self.weights = share * (sample.values[:, None] > thresholds)

    def __call__(self, drawn: Floats) -> Floats:
        if self.kind == "runs":
            return drawn @ self.weights
        means = [
            drawn[:, of] @ self.sample.values[of] / count
            for of, count in zip(self.sample.strata, self.sample.counts, strict=True)
        ]
        return np.mean([mean[:, None] > self.thresholds for mean in means], axis=0)
