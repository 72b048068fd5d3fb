"""The verdict on each claim of a study.

A claim holds when the whole interval of its contrast lies where it says, does not hold when the whole interval lies
elsewhere, and is undecided otherwise. With k claims each interval has the error (1 - confidence) / k (Bonferroni), so
that no verdict of the study is wrong with the study's confidence.

Two rules keep few runs from deciding: every group needs `least` runs, and where they are not known to be normal, the
runs must be so many that a test without assumptions (the runs of a place exchanged among its groups, or the signs of
the distances to a level) could reach that error at all. Runs that end in one of two modes, as in social dilemmas, are
all in one of them too often by chance, and then show no spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from marlbench.analysis.studies.contrasts import SpotKey, UndefinedError, key_of
from marlbench.analysis.studies.evidence import Evidence
from marlbench.analysis.studies.judging import judge
from marlbench.analysis.studies.readings import higher_is_better
from marlbench.analysis.studies.spreads import spread
from marlbench.catalog.study import Layout, Place, lay_out, selected
from marlbench.catalog.study_types import Claim, Contrast, Holds, Level, Study, Trend

if TYPE_CHECKING:
    from marlbench.analysis.resampling import Estimate

Word = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        estimate: the contrast with its simultaneous interval; None where there is none.
        sides: role -> mean over places, for a reader.
        n, expected: runs that count, and cells that the claim takes.
        places: how many places it was judged at, and how many it has in the whole study.
        reason: why it is undecided, where something other than the interval says so.
        best: of a side that is the best of several, those that may be it.
        worst: with `places: every`, the place that the estimate is of.
        notes: what else a reader has to know.
    """

    name: str
    claim: Claim
    verdict: Word
    estimate: Estimate | None
    n: int
    expected: int
    places: tuple[int, int]
    reason: str = ""
    sides: Mapping[str, float] = field(default_factory=dict)
    best: tuple[str, ...] = ()
    worst: str = ""
    notes: tuple[str, ...] = ()


def verdicts(study: Study, evidence: Evidence) -> list[Verdict]:
    """The verdict on every claim, in the order of the study."""
    error = (1 - study.confidence) / len(study.claims)
    return [_verdict(name, claim, study, evidence, error) for name, claim in study.claims.items()]


def _verdict(name: str, claim: Claim, study: Study, evidence: Evidence, error: float) -> Verdict:
    layout = lay_out(
        claim.contrast,
        {
            role: selected(side, evidence.whole, evidence.points)
            for role, side in claim.contrast.sides.items()
        },
    )
    places = _present(claim.contrast, layout.places, evidence)
    used = {key_of(one): one for place in places for of in place.members.values() for one in of.values()}
    values = {key: list(evidence.values(claim, one).values()) for key, one in used.items()}
    judged_at = [place for place in places if _full(place, values)]
    verdict = Verdict(
        name,
        claim,
        "undecided",
        None,
        n=sum(map(len, values.values())),
        expected=sum(len(evidence.group(one).cells) for one in used.values()),
        places=(len(judged_at), len(layout.places)),
        notes=_notes(layout, places, judged_at),
    )
    if not judged_at:
        why = "no place has runs on all sides" if used else "these cells have nothing of what it is about"
        return replace(verdict, reason=why)
    spreads = {key: spread(of, claim.statistic) for key, of in values.items() if of}
    first = evidence.group(next(iter(used.values()))).cell
    # Fewer steps to a value are better, and a negative factor turns everything round.
    higher = (claim.reading != "steps_to" and higher_is_better(claim, first)) == (claim.factor > 0)
    try:
        judged = judge(claim, judged_at, spreads, error, higher)
    except UndefinedError as undefined:
        return replace(verdict, reason=str(undefined))
    verdict = replace(
        verdict, estimate=judged.estimate, sides=judged.sides, best=judged.best, worst=judged.worst
    )
    if reason := _too_few(claim, places, values, claim.least or study.least, error, judged.best):
        return replace(verdict, reason=reason)
    return replace(verdict, verdict=rule(judged.estimate, claim.holds))


def _present(contrast: Contrast, places: Sequence[Place], evidence: Evidence) -> list[Place]:
    """What of the places the cells have: whole sides, but of a trend the levels that are there, two at least."""
    known = {role: {key_of(one) for one in evidence.spots(side)} for role, side in contrast.sides.items()}
    found = []
    for place in places:
        members = {
            role: {name: one for name, one in of.items() if key_of(one) in known[role]}
            for role, of in place.members.items()
        }
        least = 2 if isinstance(contrast, Trend) else 1
        if all(len(of) >= least for of in members.values()):
            found.append(Place(place.coordinates, members))
    return found


def rule(estimate: Estimate, holds: Holds) -> Word:
    """The verdict that an interval gives; without one it is undecided."""
    low, high = estimate.low, estimate.high
    if low is None or high is None:
        return "undecided"
    least = holds.above if holds.above is not None else holds.between[0] if holds.between else -math.inf
    most = holds.below if holds.below is not None else holds.between[1] if holds.between else math.inf
    if least < low and high < most:
        return "holds"
    return "does not hold" if high < least or low > most else "undecided"


def _full(place: Place, values: Mapping[SpotKey, Sequence[float]]) -> bool:
    return all(values[key_of(one)] for of in place.members.values() for one in of.values())


def _notes(layout: Layout, places: Sequence[Place], judged_at: Sequence[Place]) -> tuple[str, ...]:
    notes = []
    if layout.unmatched:
        notes.append(f"{layout.unmatched} places of one side have no counterpart")
    if missing := len(places) - len(judged_at):
        notes.append(f"{missing} of {len(places)} places lack runs")
    return tuple(notes)


def _too_few(
    claim: Claim,
    places: Sequence[Place],
    values: Mapping[SpotKey, Sequence[float]],
    least: int,
    error: float,
    best: Sequence[str],
) -> str:
    """Why there can be no verdict yet; empty where there can."""
    short = sum(len(of) < least for of in values.values())
    if short:
        return f"{short} of {len(values)} groups of cells have fewer than {least} runs"
    if claim.normal:
        return ""
    parts = [[place] for place in places] if claim.places == "every" else [list(places)]
    smallest = max(2 / _arrangements(claim, part, values, best) for part in parts)
    if smallest > error:
        return (
            f"too few runs: with so many no test without assumptions gets below p = {smallest:.2g}, "
            f"and the claim needs {error:.2g}"
        )
    return ""


def _arrangements(
    claim: Claim, places: Sequence[Place], values: Mapping[SpotKey, Sequence[float]], best: Sequence[str]
) -> float:
    """In how many ways the runs could be exchanged if the contrast meant nothing; a level is tested by signs."""
    count = 1
    seen: set[SpotKey] = set()
    for place in places:
        keys = [
            key_of(one)
            for of in place.members.values()
            for name, one in of.items()
            if len(of) == 1 or not best or name == best[0]
        ]
        if seen.isdisjoint(keys):
            seen.update(keys)
            sizes = [len(values[key]) for key in keys]
            if isinstance(claim.contrast, Level):
                count *= 2 ** sum(sizes)
            else:
                count *= math.factorial(sum(sizes))
                for size in sizes:
                    count //= math.factorial(size)
    return float(min(count, 10**300))
