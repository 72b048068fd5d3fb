"""How many fresh runs a gate needs: simulated with the decision that the gate itself takes.

The distribution of runs is known from N reference runs alone. Simulated runs, reference and fresh, are drawn from
them with replacement, their distance to the mean widened: N values show sqrt((N - 1) / N) of the spread on average,
and a sample can show less than there is. They are widened to the upper 80 % confidence limit of the spread under
normality, sqrt((N - 1) / chi2(0.2; N - 1)). That is a margin, not a guarantee: of a failure too rare to have happened
in N runs nothing is known. False alarms need no such assumption, see `permutation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marlbench.analysis.permutation import p_values, smallest

SIMULATIONS = 1000
# A first look with fewer: counts that fall short of the power by more than its error are passed over.
_FIRST_LOOK = 200
_SHORT = 0.1
SEED = 0
# The share of references whose true spread is at most the widened one, under normality.
CONFIDENCE = 0.8


@dataclass(frozen=True)
class Criterion:
    """When fresh runs count as worse, and what has to be noticed.

    Attributes:
        level: the p-value must be at most this.
        factor: the mean of the fresh runs must be below this times that of the reference runs.
        loss: the share of the mean whose loss has to be noticed; above 1 - factor.
        power: with this probability.
    """

    level: float
    factor: float
    loss: float
    power: float


@dataclass(frozen=True)
class Needed:
    """So many fresh runs notice the loss with this probability."""

    runs: int
    power: float


def is_worse(reference: ArrayLike, fresh: ArrayLike, level: float, factor: float) -> NDArray[np.bool_]:
    """The decision of the gate: a one-sided test, and an effect that matters.

    Args:
        reference: float [..., N], of positive mean.
        fresh: float [..., n].
        level, factor: see `Criterion`.

    Returns:
        bool [...].
    """
    before, after = np.asarray(reference, float), np.asarray(fresh, float)
    far = np.asarray(after.mean(-1) < factor * before.mean(-1))
    worse = np.zeros(far.shape, dtype=bool)
    if far.any():
        # The test is only worth its time where the effect is there.
        worse[far] = p_values(before[far], after[far]) <= level
    return worse


def needed(values: ArrayLike, criterion: Criterion, most: int) -> Needed | None:
    """The fewest fresh runs that notice the loss; None where `most` do not.

    Args:
        values: float [N], the reference runs, of positive mean.
    """
    runs = np.asarray(values, float)
    for count in range(1, most + 1):
        if smallest(len(runs), count) > criterion.level:
            continue
        if power_of(runs, count, criterion, _FIRST_LOOK) < criterion.power - _SHORT:
            continue
        found = power_of(runs, count, criterion)
        if found >= criterion.power:
            return Needed(count, found)
    return None


def power_of(
    values: NDArray[np.float64], fresh: int, criterion: Criterion, simulations: int = SIMULATIONS
) -> float:
    """The probability that the gate notices the loss with so many fresh runs."""
    generator = np.random.default_rng(SEED)
    mean = values.mean()
    widened = mean + (values - mean) * widening(len(values))
    before = generator.choice(widened, (simulations, len(values)))
    after = generator.choice(widened, (simulations, fresh)) - criterion.loss * mean
    return float(is_worse(before, after, criterion.level, criterion.factor).mean())


def widening(count: int) -> float:
    """By how much `count` values are drawn apart: for their own bias, and for what they may not show."""
    if count < 2:
        return 1.0
    from scipy.stats import chi2

    bias = math.sqrt(count / (count - 1))
    return bias * math.sqrt((count - 1) / float(chi2.ppf(1 - CONFIDENCE, count - 1)))
