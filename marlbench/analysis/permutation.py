"""An exact test of whether fresh runs are worse than reference runs.

Under the null hypothesis that nothing changed, all runs come from one distribution, whatever its shape, and every
choice of n of the N + n runs is as likely to be the fresh ones. The p-value is the share of choices whose sum is as
low as the one seen or lower (Fisher 1935; Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses",
section 3.2). So P(p <= level) <= level for every distribution: skewed, of two humps, or without any spread. A level
below 1 / C(N + n, n) can never be reached.
"""

from __future__ import annotations

import functools
import math
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    pooled = np.concatenate([before - centre, after - centre], axis=-1)
    shape, pooled = pooled.shape[:-1], pooled.reshape(-1, pooled.shape[-1])
    seen = pooled[:, before.shape[-1] :].sum(-1)
    # Equal runs must tie although their sums are added in another order.
    slack = 1e-9 * np.abs(pooled).max(-1, initial=0.0) + 1e-300
    masks, complete = _choices(before.shape[-1], after.shape[-1])
    found = np.empty(len(pooled))
    block = max(1, _BLOCK // len(masks))
    for start in range(0, len(pooled), block):
        part = slice(start, start + block)
        sums = pooled[part] @ masks.T
        found[part] = np.count_nonzero(sums <= (seen + slack)[part, None], axis=-1)
    found = found / len(masks) if complete else (found + 1) / (len(masks) + 1)
    return found.reshape(shape)


@functools.cache
def _choices(reference: int, fresh: int) -> tuple[NDArray[np.float64], bool]:
    """Which runs are the fresh ones, [choice, N + n] of 0 and 1, and whether these are all choices."""
    total = reference + fresh
    complete = math.comb(total, fresh) <= EXACT
    if complete:
        places = np.array(list(combinations(range(total), fresh)))
    else:
        generator = np.random.default_rng(SEED)
        places = generator.permuted(np.tile(np.arange(total), (EXACT, 1)), axis=1)[:, :fresh]
    masks = np.zeros((len(places), total))
    np.put_along_axis(masks, places, 1.0, axis=1)
    return masks, complete
