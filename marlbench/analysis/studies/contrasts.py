"""Contrasts of groups of runs with intervals for few runs: Welch's, carried to any smooth function of group means.

A contrast is T = f(m_1, ..., m_K) of the statistics m of K groups of runs that were made independently of each other.
To first order (the delta method) its variance is

    Var T = sum_k g_k^2 v_k,    g_k = df / dm_k,    v_k the variance of m_k,

and T is compared with Student's t with the degrees of freedom after Welch 1947 and Satterthwaite 1946,

    nu = (sum_k g_k^2 v_k)^2 / sum_k (g_k^2 v_k)^2 / nu_k.

For a difference of two means that is Welch's interval exactly. A bootstrap of three or five runs per group would be too
narrow: it knows no value beyond those that were seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marlbench.analysis.resampling import Estimate
from marlbench.analysis.studies.spreads import Spread
from marlbench.catalog.study import Place, Spot, positions
from marlbench.catalog.study_types import Contrast, GapClosed, Level, Ratio, Trend

SpotKey = tuple[str, str]
Spreads = Mapping[SpotKey, Spread]


class UndefinedError(Exception):
    """The contrast has no value for these runs; the message says why."""


@dataclass(frozen=True)
class Linear:
    """A contrast at its data: its value, and what a small change of each group would do to it.

    `logarithmic`: value and slopes are those of the contrast's logarithm.
    """

    value: float
    slopes: Mapping[SpotKey, float]
    logarithmic: bool = False

    def scale(self, spreads: Spreads) -> tuple[float, float]:
        """Standard error and degrees of freedom."""
        parts = [
            (slope**2 * spreads[key].variance, spreads[key].freedom) for key, slope in self.slopes.items()
        ]
        total = sum(part for part, _ in parts)
        if not total:
            return total, math.inf
        return math.sqrt(total), total**2 / sum(part**2 / freedom for part, freedom in parts if part)

    def estimate(self, spreads: Spreads, error: float) -> Estimate:
        """The contrast with its two-sided interval, which misses the truth with probability `error`.

        There is no interval where a group has a single run.
        """
        from scipy.special import stdtrit

        if any(spreads[key].n < 2 for key in self.slopes):
            return Estimate(math.exp(self.value) if self.logarithmic else self.value, None, None)
        deviation, freedom = self.scale(spreads)
        half = float(stdtrit(freedom, 1 - error / 2)) * deviation if deviation else 0.0
        ends = (self.value, self.value - half, self.value + half)
        return Estimate(*(math.exp(end) if self.logarithmic else end for end in ends))


def key_of(spot: Spot) -> SpotKey:
    """What a spot's runs are found by."""
    return spot.task, spot.label


def linear(contrast: Contrast, places: Sequence[Place], spreads: Spreads, candidate: str = "") -> Linear:
    """The contrast over all places, each weighing the same.

    Args:
        candidate: of a side that is the best of several, the one that is taken for it.

    Raises:
        UndefinedError: there is no place, or no value.
    """
    if not places:
        raise UndefinedError("there is no place to judge it at")
    slopes: dict[SpotKey, float] = {}
    value = 0.0
    for place in places:
        here, of_here = _at(contrast, place, spreads, candidate)
        value += here / len(places)
        for key, slope in of_here:
            slopes[key] = slopes.get(key, 0.0) + slope / len(places)
    return Linear(value, slopes, isinstance(contrast, Ratio))


def members(place: Place, role: str, candidate: str) -> Spot:
    """The spot of a side at a place; of the best of several the candidate."""
    of = place.members[role]
    return of[candidate] if candidate in of else next(iter(of.values()))


def _at(
    contrast: Contrast, place: Place, spreads: Spreads, candidate: str
) -> tuple[float, list[tuple[SpotKey, float]]]:
    """Value and slopes at one place."""
    if isinstance(contrast, Trend):
        return _slope(contrast, place, spreads)
    keys = {role: key_of(members(place, role, candidate)) for role in contrast.sides}
    value = {role: spreads[key].value for role, key in keys.items()}
    if isinstance(contrast, Level):
        return value["of"], [(keys["of"], 1.0)]
    a, b = value["a"], value["b"]
    if isinstance(contrast, Ratio):
        if a <= 0 or b <= 0:
            raise UndefinedError(f"a ratio takes positive values, and here are {a:.4g} and {b:.4g}")
        return math.log(a) - math.log(b), [(keys["a"], 1 / a), (keys["b"], -1 / b)]
    if isinstance(contrast, GapClosed):
        gap = value["oracle"] - b
        if gap == 0:
            raise UndefinedError("the oracle is no better than b, so there is no gap to close")
        share = (a - b) / gap
        return share, [(keys["a"], 1 / gap), (keys["b"], (share - 1) / gap), (keys["oracle"], -share / gap)]
    return a - b, [(keys["a"], 1.0), (keys["b"], -1.0)]


def _slope(contrast: Trend, place: Place, spreads: Spreads) -> tuple[float, list[tuple[SpotKey, float]]]:
    levels = place.members["of"]
    at = positions(contrast, list(levels))
    if len(at) < 2:
        raise UndefinedError(f"a trend takes two levels of {contrast.over}, and here is {len(at)}")
    middle = sum(at.values()) / len(at)
    square = sum((x - middle) ** 2 for x in at.values())
    width = max(at.values()) - min(at.values()) if contrast.per == "range" else 1.0
    slopes = [(key_of(levels[level]), width * (x - middle) / square) for level, x in at.items()]
    return sum(slope * spreads[key].value for key, slope in slopes), slopes


def gap(place: Place, spreads: Spreads, candidate: str) -> Linear:
    """oracle - b at one place."""
    oracle, b = (key_of(members(place, role, candidate)) for role in ("oracle", "b"))
    return Linear(spreads[oracle].value - spreads[b].value, {oracle: 1.0, b: -1.0})
