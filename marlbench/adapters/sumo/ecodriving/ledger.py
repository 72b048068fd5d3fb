"""Emissions and vehicles served by approach, and how a drive compares with plain driving.

Jayawardana et al. 2025 (arXiv 2410.15221), section 5 and their evaluation [code]. Of an approach let n be the vehicles
served (those that arrived and were not there already in the warm-up) and e the grams of CO2 that they emitted on the
approach, per vehicle. Against plain driving of the same vehicles, with n0 and e0:

    throughput success    n >= n0
    emission benefit      b = (e0 - e) / e0, negative where it is worse
    replaced              where throughput fails, the authors put e0 and n0 in the place of e and n

Their notebook counts `emission success` as b < 0 after the replacement: the share of approaches that got worse. Here
that is `emission_worse_replaced`, and both forms of `emission_better` stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from marlbench.adapters.sumo.ecodriving.vehicles import BEFORE, Moving

_STANDS_BELOW = 1.0


@dataclass(frozen=True)
class OfApproach:
    """served: vehicles; emission: grams per vehicle served, of all that were there where none was served."""

    served: int
    emission: float


@dataclass(frozen=True)
class Drive:
    """What an episode came to.

    Attributes:
        approaches: those with traffic.
        co2: grams of all vehicles everywhere.
        distance: kilometres of all vehicles.
        time: vehicle-seconds on the road.
        standing: of these, below 1 m/s.
    """

    approaches: tuple[OfApproach, ...]
    co2: float
    distance: float
    time: float
    standing: float

    @property
    def co2_per_km(self) -> float:
        return self.co2 / self.distance if self.distance else 0.0

    @property
    def mean_speed(self) -> float:
        """Metres per second."""
        return 1000.0 * self.distance / self.time if self.time else 0.0

    @property
    def standing_share(self) -> float:
        return self.standing / self.time if self.time else 0.0


class Ledger:
    """Sums of one drive, from the end of its warm-up.

    Args:
        approaches: numbers of those with traffic.
        step_length: seconds.
    """

    def __init__(self, approaches: Sequence[int], step_length: float) -> None:
        self._step_length = step_length
        self._served = dict.fromkeys(approaches, 0)
        self._emitted = dict.fromkeys(approaches, 0.0)
        self._co2 = self._distance = 0.0
        self._vehicles = self._standing = 0

    def add(self, moving: Iterable[Moving], arrived: Iterable[Moving]) -> None:
        """A step: the vehicles on the road after it, and those that arrived in it."""
        for vehicle in moving:
            self._co2 += vehicle.co2
            self._distance += vehicle.speed
            self._vehicles += 1
            if vehicle.speed < _STANDS_BELOW:
                self._standing += 1
            if vehicle.place == BEFORE:
                vehicle.approach_co2 += vehicle.co2
        for vehicle in arrived:
            if not vehicle.warmed_up:
                self._served[vehicle.vehicle.approach] += 1
                self._emitted[vehicle.vehicle.approach] += vehicle.approach_co2

    def close(self, left: Iterable[Moving]) -> Drive:
        """The whole drive, with the vehicles that are still on the road."""
        seconds, grams = self._step_length, self._step_length / 1000.0
        there: dict[int, list[float]] = {}
        for moving in left:
            there.setdefault(moving.vehicle.approach, []).append(moving.approach_co2)
        found = []
        for approach, served in self._served.items():
            emitted = self._emitted[approach]
            if not served:
                unserved = there.get(approach, [])
                emitted, count = sum(unserved), max(len(unserved), 1)
            else:
                count = served
            found.append(OfApproach(served, grams * emitted / count))
        return Drive(
            tuple(found),
            co2=grams * self._co2,
            distance=seconds * self._distance / 1000.0,
            time=seconds * self._vehicles,
            standing=seconds * self._standing,
        )


def compared(drive: Drive, plain: Drive) -> dict[str, float]:
    """The measures of a drive against plain driving of the same traffic; means over the approaches."""
    rows = [_compared(one, other) for one, other in zip(drive.approaches, plain.approaches, strict=True)]
    means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    return {
        **means,
        "co2_per_km": drive.co2_per_km,
        "co2_per_km_benefit": _share(plain.co2_per_km - drive.co2_per_km, plain.co2_per_km),
        "mean_speed": drive.mean_speed,
        "mean_speed_plain": plain.mean_speed,
        "standing_share": drive.standing_share,
        "standing_share_plain": plain.standing_share,
    }


def _compared(one: OfApproach, plain: OfApproach) -> dict[str, float]:
    benefit = _share(plain.emission - one.emission, plain.emission)
    change = _share(float(one.served - plain.served), float(plain.served))
    succeeds = one.served >= plain.served
    return {
        "emission": one.emission,
        "emission_plain": plain.emission,
        "emission_replaced": one.emission if succeeds else plain.emission,
        "emission_benefit": benefit,
        "emission_benefit_replaced": benefit if succeeds else 0.0,
        "emission_better": float(benefit > 0),
        "emission_better_replaced": float(succeeds and benefit > 0),
        "emission_worse": float(benefit < 0),
        "emission_worse_replaced": float(succeeds and benefit < 0),
        "throughput_success": float(succeeds),
        "throughput_change": change,
        "throughput_change_replaced": change if succeeds else 0.0,
        "served": float(one.served),
        "served_plain": float(plain.served),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


COMPARED = tuple(
    compared(
        Drive((OfApproach(1, 1.0),), 1.0, 1.0, 1.0, 0.0), Drive((OfApproach(1, 1.0),), 1.0, 1.0, 1.0, 0.0)
    )
)
"""Names of what `compared` tells."""
