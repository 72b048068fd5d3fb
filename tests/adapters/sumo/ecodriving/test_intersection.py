"""Networks of netgenerate and of IntersectionZoo, read and driven through."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("libsumo")

from marlbench.adapters.sumo.ecodriving import demand, generated, intersection
from marlbench.adapters.sumo.ecodriving.contexts import Context, Drawn
from marlbench.adapters.sumo.ecodriving.intersection import LEFT, RIGHT, STRAIGHT
from marlbench.adapters.sumo.ecodriving.parameters import EcoDrivingParameters
from marlbench.errors import ConfigurationError

from .driving import Driven

# IntersectionZoo's folder of a city, where somebody has it.
DATA = Path(os.environ.get("MARLBENCH_INTERSECTIONS", "/nowhere"))


def made(lanes: int = 2, length: float = 200.0) -> intersection.Intersection:
    handed = generated.Handed()
    try:
        handed.write(generated.network(Drawn(lanes, length, 16.0, 21.0, 24.0)))
        return intersection.read("a test", handed.path)
    finally:
        handed.close()


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_netgenerate_makes_four_arms_with_all_movements(lanes: int) -> None:
    found = made(lanes)
    assert len(found.approaches) == len(found.exits) == 4
    links = set()
    for approach in found.approaches:
        by_direction = {movement.direction: movement for movement in approach.movements.values()}
        assert set(by_direction) == {LEFT, STRAIGHT, RIGHT}
        assert sum(movement.share for movement in approach.movements.values()) == pytest.approx(1)
        assert by_direction[STRAIGHT].share == pytest.approx(0.8)
        assert by_direction[STRAIGHT].lanes == {approach.name: set(range(lanes))}
        assert by_direction[RIGHT].lanes == {approach.name: {0}}
        assert by_direction[LEFT].lanes == {approach.name: {lanes - 1}}
        assert approach.ahead == by_direction[STRAIGHT].exit
        assert approach.lanes == lanes
        assert 170 < approach.length < 200
        assert approach.speed_limit == 16
        links |= {movement.link for movement in approach.movements.values()}
        for movement in approach.movements.values():
            assert found.program.green_seconds(movement.link) in (21.0, 24.0)
    assert len(links) == 12


def test_traffic_has_the_flow_that_was_asked_for() -> None:
    found = made(lanes=2)
    parameters = EcoDrivingParameters(duration=3_600.0, controlled_share=0.25, approaches="all")
    drawn = demand.draw(
        Context("a test", Path("unread"), (300.0,) * 4), found, parameters.settings, np.random.default_rng(0)
    )
    vehicles = list(drawn.vehicles.values())
    # 300 vehicles an hour on each of two lanes of four approaches, for an hour; three deviations.
    assert len(vehicles) == pytest.approx(2_400, abs=3 * 2_400**0.5)
    controlled = [vehicle for vehicle in vehicles if vehicle.controlled]
    assert len(controlled) == pytest.approx(len(vehicles) / 4, abs=3 * (len(vehicles) * 3 / 16) ** 0.5)
    straight = sum(vehicle.movement.direction == STRAIGHT for vehicle in vehicles)
    assert straight == pytest.approx(0.8 * len(vehicles), abs=3 * (0.16 * len(vehicles)) ** 0.5)
    assert [vehicle.depart for vehicle in vehicles] == sorted(vehicle.depart for vehicle in vehicles)


def test_flows_for_fewer_approaches_than_there_are_are_told() -> None:
    parameters = EcoDrivingParameters()
    with pytest.raises(ConfigurationError, match="4 approaches and flows of 2 only"):
        demand.draw(
            Context("a test", Path("unread"), (1.0, 2.0)),
            made(),
            parameters.settings,
            np.random.default_rng(0),
        )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<net><edge", "cannot be read"),
        (b"no network", "cannot be read"),
        (b'<net version="1.20"></net>', "has 0 signals"),
    ],
)
def test_what_is_no_network_is_told(content: bytes, said: str) -> None:
    handed = generated.Handed()
    try:
        handed.write(content)
        with pytest.raises(ConfigurationError, match=said):
            intersection.read("intersection 7", handed.path)
    finally:
        handed.close()


def test_a_signal_that_is_not_static_is_told() -> None:
    handed = generated.Handed()
    try:
        handed.write(generated.network(Drawn(1, 100.0, 15.0, 20.0, 20.0)).replace(b'"static"', b'"actuated"'))
        with pytest.raises(ConfigurationError, match="not static"):
            intersection.read("intersection 7", handed.path)
    finally:
        handed.close()


def test_a_folder_of_intersections_is_driven(tmp_path: Path) -> None:
    """Made by netgenerate, told as IntersectionZoo's folders are."""
    for number, lanes in enumerate((1, 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "net.net.xml").write_bytes(generated.network(Drawn(lanes, 120.0, 13.0, 25.0, 20.0)))
        (folder / "inflows.txt").write_text("9000\n8000\n10000\n9000\n7\n")
    with Driven(data=str(tmp_path), approaches="all", slots=24) as row:
        told = row.episode(1)
    assert told["departed"] > 20
    assert told["served_plain"] == told["served"] > 2
    assert told["departed"] == told["arrived"] + told["running"]


@pytest.mark.skipif(not DATA.is_dir(), reason="MARLBENCH_INTERSECTIONS names no folder of intersections")
def test_published_intersections_are_read_and_driven() -> None:
    for split in ("train", "held_out"):
        parameters = {"data": str(DATA), "split": split, "duration": 225.0, "slots": 24}
        with Driven(**parameters) as row:
            for number in range(len(row.row.contexts)):
                row.row._choose(number)
                found = row.row.intersection
                assert len(found.approaches) >= 3
                for approach in found.approaches:
                    # Nine of ten come from straight ahead of the signal upstream.
                    assert sorted(approach.entries.values()) == [0.1, 0.9]
                    assert sum(m.share for m in approach.movements.values()) == pytest.approx(1)
                    # A road in two pieces has one lane more at its end, for those who turn left.
                    for movement in approach.movements.values():
                        assert set(movement.lanes) == set(approach.edges)
                        for edge, lanes in movement.lanes.items():
                            assert set() < lanes <= set(range(found.lane_counts[edge]))
            told = row.episode(3)
            assert told["departed"] == told["arrived"] + told["running"]
            assert told["emission"] == told["emission_plain"] > 0
