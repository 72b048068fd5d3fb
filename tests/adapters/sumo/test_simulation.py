"""One simulation per process, what SUMO counts and tells, and what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from marlbench.adapters.sumo import installation
from marlbench.adapters.sumo.signals.environment import Signals
from marlbench.adapters.sumo.signals.parameters import SignalsParameters
from marlbench.adapters.sumo.simulation import Simulation
from marlbench.adapters.workers import SimulatorFailure
from marlbench.environments.keys import row_keys
from marlbench.errors import ConfigurationError, MarlbenchError

from .conftest import CPU, Played


def test_a_process_has_room_for_one_simulation(play: Callable[..., Played]) -> None:
    played = play(network="cologne1", end=25_220)
    played.begin()
    with pytest.raises(MarlbenchError, match="already holds a SUMO simulation"):
        Simulation()
    # The first is not disturbed.
    assert not played.step([0])


@pytest.mark.parametrize("teleport_after", [-1, 20])
def test_vehicles_are_conserved(play: Callable[..., Played], own_network: Path, teleport_after: int) -> None:
    played = play(
        network_file=str(own_network / "net.net.xml"),
        route_file=str(own_network / "demand.rou.xml"),
        end=400,
        teleport_after=teleport_after,
    )
    played.begin()
    # Nobody ever leaves the first green phase: a queue that teleports relieve.
    while not played.step([0, 0]):
        pass
    told = dict(zip(played.row.description.metrics, played.arrays["metrics"].tolist(), strict=True))
    trips = played.row._trips
    assert told["departed"] == told["arrived"] + told["running"]
    assert told["departed"] == trips.departed.sum()
    assert told["not_departed"] == (~trips.departed).sum()
    # One flow each 3 s and one each 5 s, from second 0 on.
    assert told["departed"] + told["not_departed"] == 400 // 3 + 1 + 400 // 5
    assert (told["teleported"] > 0) == (teleport_after > 0)


def test_episodes_follow_from_their_seed(play: Callable[..., Played]) -> None:
    played = play(network="cologne1", end=25_500)
    first, other, again = (played.play([-1 - 1], seed) for seed in (3, 4, 3))
    assert first == again
    assert first != other


def test_an_episode_is_the_same_after_others_and_resumed() -> None:
    """Each is played in a fresh copy of the process: what went before leaves no trace."""
    parameters = SignalsParameters(network="cologne1", end=25_240)
    environment, other = Signals(parameters, 2, CPU), Signals(parameters, 1, CPU)
    try:
        environment.reset(row_keys([5], 0, 2, CPU))
        processes = environment.workers.process_ids
        assert len(set(processes)) == 2
        for action in (1, 2, 3, 0, 2):
            step = environment.step(torch.full((2, 1), action))
        # The second episode is one step old.
        state = environment.state_dict()
        seen = step.observation.clone()
        for row in range(2):
            of_row: dict[str, Any] = {
                name: value[row : row + 1] for name, value in state.items() if name != "actions"
            }
            resumed = other.load_state_dict({**of_row, "actions": [state["actions"][row]]})  # type: ignore[index]
            assert torch.equal(resumed.observation[0], seen[row])
        assert environment.workers.process_ids == processes
    finally:
        environment.close()
        other.close()


def test_a_lost_simulation_is_one_clear_error() -> None:
    environment = Signals(SignalsParameters(network="cologne1", end=25_260), 1, CPU)
    try:
        environment.reset(row_keys([0], 0, 1, CPU))
        os.kill(environment.workers.process_ids[0], signal.SIGKILL)
        with pytest.raises(SimulatorFailure, match=r"signals:cologne1.*ended by SIGKILL"):
            environment.step(torch.zeros(1, 1, dtype=torch.int64))
    finally:
        environment.close()


BROKEN = {
    "<routes><flow id='a' from='nowhere' to='left0A0' begin='0' end='9' number='5'/></routes>": "nowhere",
    "<routes><flow id='a' fr": "In file 'broken.rou.xml'",
    "<routes><flow id='a' from='left0A0' to='A0top0' end='9' period='-3'/></routes>": "Invalid repetition rate",
}


@pytest.mark.parametrize("demand", BROKEN)
def test_malformed_demand(
    play: Callable[..., Played],
    own_network: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    demand: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.rou.xml").write_text(demand)
    with pytest.raises(ConfigurationError, match=BROKEN[demand]) as caught:
        play(network_file=str(own_network / "net.net.xml"), route_file="broken.rou.xml")
    assert "SUMO refuses net.net.xml, broken.rou.xml" in str(caught.value)
    assert "\n" not in str(caught.value)
    # The process can play on.
    play(network="cologne1", end=25_220).begin()


def test_missing_files(tmp_path: Path) -> None:
    parameters: Any = {
        "network_file": str(tmp_path / "none.net.xml"),
        "route_file": str(tmp_path / "none.rou.xml"),
    }
    with pytest.raises(ConfigurationError, match=r"none\.net\.xml cannot be read: No such file") as caught:
        Signals.data_hashes(SignalsParameters(**parameters))
    assert "network_file" in caught.value.hint


def test_no_signals(play: Callable[..., Played], tmp_path: Path) -> None:
    plain = tmp_path / "plain.net.xml"
    subprocess.run(
        [installation.program("netgenerate"), "--grid", "--grid.number", "2", "-o", plain],
        check=True,
        capture_output=True,
    )
    (tmp_path / "empty.rou.xml").write_text("<routes/>")
    with pytest.raises(ConfigurationError, match="no signal of the network"):
        play(network_file=str(plain), route_file=str(tmp_path / "empty.rou.xml"))


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SUMO_HOME", raising=False)
    found = installation.home()
    assert (found / "data" / "xsd").is_dir()
    monkeypatch.setenv("SUMO_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"SUMO_HOME is .* where there is no data/xsd"):
        installation.home()
    monkeypatch.setenv("SUMO_HOME", str(found))
    assert installation.home() == found


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUMO_HOME", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for attempt in (installation.home, installation.version):
        with pytest.raises(ConfigurationError, match="installed") as caught:
            attempt()
        assert "marlbench[traffic]" in caught.value.hint


def test_refused_parameters() -> None:
    for wrong, said in (
        ({}, "give `network`"),
        ({"network": "cologne2"}, "Did you mean 'cologne"),
        ({"network": "cologne1", "network_file": "a.net.xml"}, "leave it out"),
        ({"network": "cologne1", "yellow": 10}, "shorter than"),
        ({"network": "cologne1", "end": 25_203}, "one `decision_interval` after"),
    ):
        with pytest.raises(ValueError, match=said):
            SignalsParameters(**wrong)
