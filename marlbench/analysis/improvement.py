"""How likely one algorithm is to do better than another: P(X > Y), averaged over tasks.

After Agarwal et al. 2021, section 4.3: for every task the Mann-Whitney statistic over the pairs of runs, ties one
half, and the mean of that over tasks. It asks how often, not by how much.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from marlbench.analysis.resampling import (
    CONFIDENCE,
    SEED,
    Estimate,
    Floats,
    Sample,
    draws,
    interval,
    samples,
)

RESAMPLES = 2_000


def probability_of_improvement(
    x: ArrayLike,
    y: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> Estimate:
    """P(X > Y) averaged over tasks, with a stratified bootstrap interval.

        P(X > Y) = 1 / (n m) sum over runs i of X, j of Y of ([x_i > y_j] + [x_i = y_j] / 2)

    The runs of X and of Y are resampled independently of each other. There is no interval where a task has a
    single run of either.

    Args:
        x, y: float [run, task], NaN where a task has fewer runs; the same tasks, any number of runs.

    Raises:
        ValueError: they do not have the same number of tasks, a task has no run, or a score is infinite.
    """
    return improvement_matrix({"x": x, "y": y}, resamples=resamples, confidence=confidence, seed=seed)[
        "x", "y"
    ]


def improvement_matrix(
    scores: Mapping[str, ArrayLike],
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> dict[tuple[str, str], Estimate]:
    """The probability of improvement of every algorithm over every other: (X, Y) -> P(X > Y).

    P(Y > X) is 1 - P(X > Y), and so are the ends of its interval.

    Args:
        scores: of each algorithm, float [run, task], NaN where a task has fewer runs; the same tasks for all.

    Raises:
        ValueError: as `probability_of_improvement`.
    """
    found = samples(scores)
    # X and Y are drawn apart, so each algorithm has a stream of its own.
    held = {
        name: np.concatenate(list(draws(sample.counts, resamples, np.random.default_rng([seed, place]))))
        for place, (name, sample) in enumerate(found.items())
        if sample.spreads
    }
    matrix: dict[tuple[str, str], Estimate] = {}
    for x, y in combinations(found, 2):
        wins = _wins(found[x], found[y])
        point = float(
            _probability(np.ones((1, len(found[x].values))), np.ones((1, len(found[y].values))), wins)[0]
        )
        matrix[x, y] = Estimate(point, None, None)
        matrix[y, x] = Estimate(1 - point, None, None)
        if x in held and y in held:
            low, high = map(float, interval(_probability(held[x], held[y], wins), confidence))
            matrix[x, y] = Estimate(point, low, high)
            matrix[y, x] = Estimate(1 - point, 1 - high, 1 - low)
    return {(x, y): matrix[x, y] for x in found for y in found if x != y}


def _wins(x: Sample, y: Sample) -> Floats:
    """What each pair of runs of one task adds to the mean over tasks, float [N of x, N of y]; 0 between tasks."""
    wins = np.zeros((len(x.values), len(y.values)))
    for of_x, of_y in zip(x.strata, y.strata, strict=True):
        left, right = x.values[of_x, None], y.values[None, of_y]
        pairs = (left > right) + 0.5 * (left == right)
        wins[of_x, of_y] = pairs / pairs.size / x.tasks
    return wins


def _probability(x: Floats, y: Floats, wins: Floats) -> Floats:
    return ((x @ wins) * y).sum(axis=1)
