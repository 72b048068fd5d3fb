"""The control loop against SUMO itself: counts, emissions, determinism, reward, what actions do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("libsumo")

from marlbench.adapters.sumo.ecodriving.aside import Aside
from marlbench.adapters.sumo.ecodriving.vehicles import BEFORE
from marlbench.errors import ConfigurationError

from .driving import Driven


@pytest.fixture
def driven() -> Iterator[Driven]:
    with Driven() as row:
        yield row


def test_vehicles_are_conserved(driven: Driven) -> None:
    """departed = arrived + running + teleported: SUMO's statistics, and arrivals counted step by step."""
    for seed in (1, 2):
        told = driven.episode(seed, acceleration=-5.0 if seed == 2 else np.nan)
        assert told["departed"] > 5
        assert told["departed"] == told["arrived"] + told["running"] + told["teleported"]
        assert told["served"] <= told["arrived"]


def test_plain_driving_is_its_own_measure(driven: Driven) -> None:
    """The comparison plays the same traffic again; left to SUMO, nothing may differ."""
    told = driven.episode(3)
    assert told["emission"] == told["emission_plain"] > 0
    assert told["served"] == told["served_plain"] > 0
    assert told["mean_speed"] == told["mean_speed_plain"]
    assert told["emission_benefit"] == told["throughput_change"] == 0
    assert told["throughput_success"] == 1


def test_an_episode_follows_from_its_seed(driven: Driven) -> None:
    def played(seed: int) -> tuple[bytes, dict[str, float]]:
        driven.begin(seed)
        seen = [driven.arrays["observation"].tobytes()]
        random = np.random.default_rng(0)
        for _ in range(driven.parameters.steps):
            driven.step(random.uniform(-20, 10, driven.parameters.slots))
            seen.append(driven.arrays["observation"].tobytes() + driven.arrays["reward"].tobytes())
        told = dict(zip(driven.row.description.metrics, driven.arrays["metrics"][0].tolist(), strict=True))
        # What is shown at the end is the next episode's.
        return b"".join(seen[:-1]), told

    # In processes that are alike, as workers' are: SUMO is not always the same after another simulation.
    one, two, three = Aside(played), Aside(played), Aside(played)
    first, again, other = one.ask(4), two.ask(4), three.ask(5)
    assert first == again
    assert first[0] != other[0]


def test_standing_vehicles_cost_throughput(driven: Driven) -> None:
    told = driven.episode(1, acceleration=-20.0)
    assert told["throughput_success"] == 0
    assert told["throughput_change"] < -0.3
    assert told["emission_benefit_replaced"] == 0
    assert told["emission_replaced"] == told["emission_plain"]
    assert told["standing_share"] > told["standing_share_plain"]


def test_sumo_keeps_reckless_drivers_safe(driven: Driven) -> None:
    """Full throttle all the way, and nobody runs into anybody or through a red light."""
    driven.begin(6)
    libsumo = driven.row.simulation.libsumo
    for _ in range(driven.parameters.steps - 1):
        before = {name: m.speed for name, m in driven.row._traffic.moving.items()}
        driven.step(10.0)
        assert libsumo.simulation.getCollidingVehiclesNumber() == 0
        for name, moving in driven.row._traffic.moving.items():
            if name in before and moving.vehicle.controlled:
                # 2.6 m/s2 over half a second.
                assert moving.speed - before[name] <= 1.3 + 1e-6


def test_the_reward_is_the_papers(driven: Driven) -> None:
    """From SUMO's own values, platoon by platoon."""
    driven.begin(7)
    compared = 0
    for _ in range(driven.parameters.steps - 1):
        acted = list(driven.row._slots.occupants)
        driven.step(1.0)
        told = driven.row.simulation.libsumo.vehicle
        traffic = driven.row._traffic

        def merit(name: str, told: Any = told) -> float:
            speed, grams = told.getSpeed(name), told.getCO2Emission(name) * 0.5 / 1000
            return float((speed - (35 * (1 - speed) if speed < 1 else 0) - 3 * grams) / 15)

        for slot, moving in enumerate(acted):
            if moving is None or moving.vehicle.name not in traffic.moving or moving.place != BEFORE:
                continue
            mine = (told.getRoute(moving.vehicle.name)[0], told.getLaneID(moving.vehicle.name))
            if told.getRoadID(moving.vehicle.name) != mine[0] or moving.vehicle.movement.direction != 1:
                continue
            behind = [
                name
                for name, other in traffic.moving.items()
                if (told.getLaneID(name) == mine[1])
                or (
                    other.place != BEFORE
                    and other.vehicle.movement.exit == moving.vehicle.movement.exit
                    and other.lane == moving.lane
                )
            ]
            expected = sum(map(merit, behind)) / len(behind)
            assert driven.arrays["reward"][0, slot] == pytest.approx(expected, abs=1e-5)
            compared += 1
    assert compared > 20


def test_slots_tell_who_comes_and_goes(driven: Driven) -> None:
    driven.begin(8)
    arrays, slots = driven.arrays, driven.row._slots
    before = list(slots.occupants)
    changed = 0
    for _ in range(driven.parameters.steps - 1):
        driven.step(np.nan)
        for slot, occupant in enumerate(slots.occupants):
            assert arrays["acting"][0, slot] == (occupant is not None)
            assert arrays["new_occupant"][0, slot] == (occupant is not None and occupant is not before[slot])
            if occupant is None:
                assert not arrays["observation"][0, slot].any()
            changed += int(arrays["new_occupant"][0, slot])
        assert not arrays["terminated"].any()
        assert not arrays["truncated"].any()
        before = list(slots.occupants)
    assert changed > 3


def test_more_vehicles_than_slots_drive_by_themselves() -> None:
    with Driven(slots=1, controlled_share=1.0) as row:
        told = row.episode(1, acceleration=10.0)
        assert told["left_without_slot"] > 0.2
        assert told["departed"] == told["arrived"] + told["running"]


@pytest.mark.parametrize("model", ["HBEFA4", "PHEMlight5"])
def test_emissions_are_those_of_sumos_own_file(tmp_path: Path, model: str) -> None:
    """All CO2 of all vehicles since the warm-up, against what --emission-output says of the same drive."""
    file = tmp_path / "emissions.xml"
    options = ["--emission-output", str(file), "--emission-output.precision", "6"]
    with Driven(options=options, emissions=model) as row:
        row.begin(9)
        for _ in range(row.parameters.steps - 1):
            row.step(2.0)
        until = row.row.simulation.time
        drive = row.row._ledger.close([])
        row.row.end_simulation()
        written = 0.0
        for step in ElementTree.parse(file).iter("timestep"):
            if row.parameters.warm_up <= float(step.attrib["time"]) < until:
                written += sum(float(vehicle.attrib["CO2"]) for vehicle in step)
    assert drive.co2 > 100
    assert drive.co2 == pytest.approx(written * row.parameters.step_length / 1000, rel=1e-6)


def test_electric_vehicles_emit_nothing() -> None:
    with Driven(controlled_share=1.0, electric_share=1.0) as row:
        assert row.episode(1)["emission"] == 0


def test_plain_driving_can_be_that_of_humans() -> None:
    with Driven(reference="human", controlled_share=1.0) as row:
        told = row.episode(1)
        assert told["emission"] != told["emission_plain"] > 0


def test_a_picture_shows_roads_and_vehicles(driven: Driven) -> None:
    driven.begin(10)
    for _ in range(30):
        driven.step(np.nan)
    picture = driven.row.render()
    assert picture.dtype == np.uint8
    assert picture.shape == (390, 900, 3)
    colours = {tuple(colour) for colour in picture.reshape(-1, 3)[::3].tolist()}
    assert {(31, 111, 235), (120, 120, 120)} <= colours


def test_the_second_row_of_a_process_is_refused(driven: Driven) -> None:
    from marlbench.errors import MarlbenchError

    with pytest.raises(MarlbenchError, match="already holds a SUMO simulation"):
        Driven()


def test_a_broken_network_is_one_message(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "net.net.xml").write_text("<net><edge")
        (folder / "inflows.txt").write_text("100\n")
    with (
        Driven(data=str(tmp_path)) as row,
        pytest.raises(ConfigurationError, match=r"intersection \d cannot be read"),
    ):
        row.begin(1)
