"""The mean, interquartile mean or median of a few runs, with the variance that belongs to it.

mean    s^2 / n, with n - 1 degrees of freedom (Student)
iqm     of a trimmed mean: Winsorised sum of squares / (h (h - 1)), h - 1 degrees of freedom, h = n - 2 floor(n / 4)
        runs being left (Tukey and McLaughlin 1963; Yuen 1974, Biometrika 61, 165-170)
median  the variance of the bootstrap's median in closed form (Maritz and Jarrett 1978, JASA 73, 194-196), with
        n - 1 degrees of freedom
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marlbench.catalog.study_types import Statistic


@dataclass(frozen=True)
class Spread:
    """A statistic of n runs; `variance` is that of the statistic, with so many degrees of `freedom`.

    Of a single run there is no variance: it is NaN.
    """

    n: int
    value: float
    variance: float
    freedom: float


def spread(values: Sequence[float], statistic: Statistic) -> Spread:
    """The statistic of at least one finite value.

    Raises:
        ValueError: there is no value.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    if n == 0:
        raise ValueError("no value")
    if n == 1:
        return Spread(1, float(ordered[0]), float("nan"), 0.0)
    if statistic == "mean":
        return Spread(n, float(ordered.mean()), float(ordered.var(ddof=1)) / n, n - 1)
    if statistic == "median":
        return Spread(n, float(np.median(ordered)), _variance_of_median(ordered), n - 1)
    cut = n // 4
    kept = n - 2 * cut
    winsorised = np.clip(ordered, ordered[cut], ordered[n - 1 - cut])
    squares = float(((winsorised - winsorised.mean()) ** 2).sum())
    return Spread(n, float(ordered[cut : n - cut].mean()), squares / (kept * (kept - 1)), kept - 1)


def _variance_of_median(ordered: NDArray[np.float64]) -> float:
    """That of the median of a resample, which is the i-th of n runs with probability I(i / n) - I((i - 1) / n).

    I is the distribution function of Beta((n + 1) / 2, (n + 1) / 2); exact for odd n.
    """
    from scipy.special import betainc

    half = (len(ordered) + 1) / 2
    weights = np.diff(betainc(half, half, np.linspace(0, 1, len(ordered) + 1)))
    return float(weights @ ordered**2 - (weights @ ordered) ** 2)
