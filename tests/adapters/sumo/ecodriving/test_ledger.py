"""Measures against plain driving, by hand: raw, replaced, and the published count of what got worse."""

from __future__ import annotations

import pytest

from marlbench.adapters.sumo.ecodriving.ledger import COMPARED, Drive, OfApproach, compared


def drive(*approaches: tuple[int, float]) -> Drive:
    return Drive(tuple(OfApproach(*approach) for approach in approaches), 1000.0, 5.0, 600.0, 60.0)


PLAIN = drive((10, 100.0), (10, 100.0), (10, 100.0), (10, 100.0))
# Better with more vehicles, worse with as many, better with fewer, worse with fewer.
TOLD = compared(drive((11, 80.0), (10, 120.0), (9, 60.0), (5, 200.0)), PLAIN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("emission", 115.0),
        ("emission_replaced", 100.0),
        ("emission_benefit", (0.2 - 0.2 + 0.4 - 1.0) / 4),
        ("emission_benefit_replaced", 0.0),
        ("throughput_success", 0.5),
        ("emission_better", 0.5),
        ("emission_worse", 0.5),
        ("emission_better_replaced", 0.25),
        # What the authors print as `emission success`.
        ("emission_worse_replaced", 0.25),
        ("throughput_change", (0.1 + 0.0 - 0.1 - 0.5) / 4),
        ("throughput_change_replaced", 0.1 / 4),
        ("served", 35 / 4),
        ("co2_per_km", 200.0),
        ("co2_per_km_benefit", 0.0),
        ("mean_speed", 1000 * 5.0 / 600.0),
        ("standing_share", 0.1),
    ],
)
def test_measures_are_what_one_finds_by_hand(name: str, value: float) -> None:
    assert TOLD[name] == pytest.approx(value)


def test_plain_driving_against_itself_is_neither_better_nor_worse() -> None:
    told = compared(PLAIN, PLAIN)
    assert tuple(told) == COMPARED
    assert told["throughput_success"] == 1
    assert all(told[name] == 0 for name in told if "benefit" in name or "worse" in name or "better" in name)


def test_an_approach_without_vehicles_divides_by_nothing() -> None:
    told = compared(drive((0, 0.0)), drive((0, 0.0)))
    assert told["emission_benefit"] == told["throughput_change"] == 0
    assert told["throughput_success"] == 1
