"""An exact test of whether fresh runs are worse than reference runs.

Under the null hypothesis that nothing changed, all runs come from one distribution, whatever its shape, and every
choice of n of the N + n runs is as likely to be the fresh ones. The p-value is the share of choices whose sum is as
low as the one seen or lower (Fisher 1935; Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses",
section 3.2). So P(p <= level) <= level for every distribution: skewed, of two humps, or without any spread. A level
below 1 / C(N + n, n) can never be reached.

`significance` tests pairs of algorithms with Welch's statistic. Here the difference of means itself is the statistic:
it is the effect that a gate judges, runs that are all lower always have the smallest p-value, and thousands of
simulated gates are tested in one product.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marlbench.analysis.deals import all_deals, random_deals

# Choices that are all looked at; of more, as many are drawn.
EXACT = 10_000
SEED = 0

# Elements of one block of sums.
_BLOCK = 1 << 22


def smallest(reference: int, fresh: int) -> float:
    """The smallest p-value that this many runs of each kind can give."""
    choices = math.comb(reference + fresh, fresh)
    return 1 / choices if choices <= EXACT else 1 / (EXACT + 1)


def p_values(reference: ArrayLike, fresh: ArrayLike) -> NDArray[np.float64]:
    """One-sided p-values of the hypothesis that the fresh runs have no lower mean than the reference runs.

    Of more than 10,000 choices, 10,000 are drawn, always the same, and the one seen is counted in, which keeps the
    test exact (Phipson and Smyth 2010, arXiv 1603.05766).

    Args:
        reference: float [..., N].
        fresh: float [..., n], with the same leading axes.

    Returns:
        float [...].
    """
    before, after = np.asarray(reference, float), np.asarray(fresh, float)
    # Relative to the reference's mean sums lose no digits to a large common value.
    centre = before.mean(-1, keepdims=True)
    pooled = np.concatenate([after - centre, before - centre], axis=-1)
    shape, pooled = pooled.shape[:-1], pooled.reshape(-1, pooled.shape[-1])
    seen = pooled[:, : after.shape[-1]].sum(-1)
    # Equal runs must tie although their sums are added in another order.
    slack = 1e-9 * np.abs(pooled).max(-1, initial=0.0) + 1e-300
    dealt, complete = _choices(before.shape[-1], after.shape[-1])
    masks = dealt.astype(float)
    found = np.empty(len(pooled))
    block = max(1, _BLOCK // len(masks))
    for start in range(0, len(pooled), block):
        part = slice(start, start + block)
        sums = pooled[part] @ masks.T
        found[part] = np.count_nonzero(sums <= (seen + slack)[part, None], axis=-1)
    found = found / len(masks) if complete else (found + 1) / (len(masks) + 1)
    return found.reshape(shape)


def _choices(reference: int, fresh: int) -> tuple[NDArray[np.bool_], bool]:
    """Which runs are the fresh ones, bool [choice, n + N], and whether these are all choices."""
    if math.comb(reference + fresh, fresh) <= EXACT:
        return all_deals(fresh, reference), True
    return random_deals(fresh, reference, EXACT, SEED, 0), False
