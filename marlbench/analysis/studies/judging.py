"""From a claim and its runs to its estimate: over places, at every place, and against the best of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marlbench.analysis.resampling import Estimate
from marlbench.analysis.studies.contrasts import (
    Linear,
    SpotKey,
    Spreads,
    UndefinedError,
    gap,
    key_of,
    linear,
    members,
)
from marlbench.catalog.study import Place
from marlbench.catalog.study_types import Claim, GapClosed, Level, Ratio, Trend


@dataclass(frozen=True)
class Judged:
    """The estimate of a claim.

    Attributes:
        estimate: the contrast with its interval.
        sides: role -> mean over places of its statistic, for differences, ratios and gaps.
        best: those of several that may be the best one, the best of these runs first.
        worst: with `places: every`, the place whose estimate it is.
    """

    estimate: Estimate
    sides: Mapping[str, float]
    best: tuple[str, ...] = ()
    worst: str = ""


def judge(claim: Claim, places: Sequence[Place], spreads: Spreads, error: float, higher: bool) -> Judged:
    """The estimate of a claim; its interval misses the truth with a probability of at most `error`.

    Args:
        higher: whether higher values are better, for the best of several.

    Raises:
        UndefinedError: there is none for these runs.
    """
    if claim.places == "mean" or len(places) == 1:
        return _together(claim, places, spreads, error, higher)
    return _every(claim, places, spreads, error, higher)


def _every(claim: Claim, places: Sequence[Place], spreads: Spreads, error: float, higher: bool) -> Judged:
    """The place that is worst for the claim, and bounds for the worst of the true values.

    With `above`, the smallest true value is above the smallest lower end, whichever place it is at (intersection of
    tests); and below the smallest of the upper ends, once each is widened for the number of places.
    """
    ends = [_together(claim, [place], spreads, error, higher) for place in places]
    wide = [_together(claim, [place], spreads, error / len(places), higher) for place in places]
    pick = min if claim.holds.above is not None else max
    at = pick(range(len(places)), key=lambda index: ends[index].estimate.point)
    near, far = ("low", "high") if claim.holds.above is not None else ("high", "low")

    def bound(of: Sequence[Judged], end: str) -> float | None:
        values = [getattr(one.estimate, end) for one in of]
        return None if None in values else float(pick(values))

    bounds = {near: bound(ends, near), far: bound(wide, far)}
    told = " ".join(f"{name} {value}" for name, value in places[at].coordinates.items())
    point = ends[at].estimate.point
    return Judged(Estimate(point, bounds["low"], bounds["high"]), ends[at].sides, ends[at].best, told)


def _together(claim: Claim, places: Sequence[Place], spreads: Spreads, error: float, higher: bool) -> Judged:
    contrast = claim.contrast
    role = next((role for role, side in contrast.sides.items() if side.best), None)
    if role is None:
        _refuse_narrow_gaps(claim, places, spreads, error, higher, "")
        estimate = linear(contrast, places, spreads).estimate(spreads, error)
        return Judged(estimate, _sides(claim, places, spreads, ""))
    # Half of the error for not taking the best for one of them, half for the interval.
    half = error / 2 if len(places[0].members[role]) > 1 else error
    plausible = plausible_best(role, places, spreads, half, higher, claim)
    found = []
    for name in plausible:
        _refuse_narrow_gaps(claim, places, spreads, half, higher, name)
        found.append(linear(contrast, places, spreads, name).estimate(spreads, half))
    lows, highs = ([getattr(one, end) for one in found] for end in ("low", "high"))
    low, high = (None if None in ends else pick(ends) for ends, pick in ((lows, min), (highs, max)))
    return Judged(
        Estimate(found[0].point, low, high), _sides(claim, places, spreads, plausible[0]), tuple(plausible)
    )


def plausible_best(
    role: str,
    places: Sequence[Place],
    spreads: Spreads,
    error: float,
    higher: bool,
    claim: Claim,
) -> list[str]:
    """Those of several entries that may be the best over these places, the best of these runs first.

    The truly best one is left out with a probability of at most `error`: an entry is left out where another one is
    better by a one-sided test at error / (entries - 1).
    """
    names = [name for name in places[0].members[role] if all(name in place.members[role] for place in places)]
    if not names:
        raise UndefinedError(f"no entry of side {role} is at all places")
    sign = 1.0 if higher else -1.0
    levels = {name: _mean(places, role, spreads, name, isinstance(claim.contrast, Ratio)) for name in names}
    names.sort(key=lambda name: -sign * levels[name].value)
    if len(names) == 1:
        return names
    each = 2 * error / (len(names) - 1)

    def may_be_best(name: str) -> bool:
        return not any(
            _is_worse(levels[name], levels[other], spreads, each, sign) for other in names if other != name
        )

    return [name for name in names if name == names[0] or may_be_best(name)]


def _is_worse(one: Linear, other: Linear, spreads: Spreads, error: float, sign: float) -> bool:
    slopes = {key: sign * slope for key, slope in one.slopes.items()}
    for key, slope in other.slopes.items():
        slopes[key] = slopes.get(key, 0.0) - sign * slope
    high = Linear(sign * (one.value - other.value), slopes).estimate(spreads, error).high
    return high is not None and high < 0


def _mean(places: Sequence[Place], role: str, spreads: Spreads, name: str, logarithmic: bool) -> Linear:
    """The mean of one entry over places; of logarithms for a ratio, so that every place weighs the same in it."""
    value, slopes = 0.0, dict[SpotKey, float]()
    for place in places:
        key = key_of(place.members[role][name])
        here = spreads[key].value
        if logarithmic and here <= 0:
            raise UndefinedError(f"a ratio takes positive values, and here is {here:.4g}")
        value += (math.log(here) if logarithmic else here) / len(places)
        slopes[key] = slopes.get(key, 0.0) + (1 / here if logarithmic else 1.0) / len(places)
    return Linear(value, slopes)


def _refuse_narrow_gaps(
    claim: Claim, places: Sequence[Place], spreads: Spreads, error: float, higher: bool, candidate: str
) -> None:
    """A share of a gap that may be nothing can be anything, and one of a gap to something worse has the wrong sign."""
    if not isinstance(claim.contrast, GapClosed):
        return
    for place in places:
        found = gap(place, spreads, candidate).estimate(spreads, error)
        least = found.low if higher else None if found.high is None else -found.high
        if least is not None and least <= 0:
            told = " ".join(f"{name} {value}" for name, value in place.coordinates.items())
            raise UndefinedError(f"the oracle is not told to be better than b{f' at {told}' if told else ''}")


def _sides(claim: Claim, places: Sequence[Place], spreads: Spreads, candidate: str) -> dict[str, float]:
    if isinstance(claim.contrast, Level | Trend):
        return {}
    return {
        role: sum(spreads[key_of(members(place, role, candidate))].value for place in places) / len(places)
        for role in claim.contrast.sides
    }
