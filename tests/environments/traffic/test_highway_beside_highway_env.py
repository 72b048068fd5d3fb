"""The highway beside highway-env 1.12: vehicle by vehicle, observations, rewards; and statistics of whole episodes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from marlbench.environments.keys import row_keys
from marlbench.environments.traffic.highway import drivers, layout
from marlbench.environments.traffic.highway.environment import Highway, HighwayParameters

pytest.importorskip("highway_env")
from highway_env.vehicle.behavior import IDMVehicle

from marlbench.adapters.highway.scene import Scene


def _beside() -> Any:
    spec = importlib.util.spec_from_file_location("beside", Path(__file__).parent / "beside_highway_env.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


beside = _beside()
# Careful enough that for 20 seconds nobody crashes in the scenes below.
CAREFUL = (0.04, 0.2, 0.04, 0.02, 0.7)


class Aggressive(IDMVehicle):  # type: ignore[misc]
    """The column of the table."""

    ACC_MAX = 9.0
    COMFORT_ACC_MAX = 6.0
    COMFORT_ACC_MIN = -9.0
    DISTANCE_WANTED = 0.5 + 2.5 + 2.5
    TIME_WANTED = 1.2
    DELTA_RANGE = (4.0, 4.0)
    POLITENESS = 0.0
    LANE_CHANGE_MIN_ACC_GAIN = 0.1
    LANE_CHANGE_MAX_BRAKING_IMPOSED = 9.0
    LANE_CHANGE_DELAY = 0.5

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.target_speed = self.speed + 15

    def acceleration(self, ego_vehicle: Any, front_vehicle: Any = None, rear_vehicle: Any = None) -> Any:
        """The same without the speed limit."""
        if not ego_vehicle:
            return 0
        free = (max(ego_vehicle.speed, 0) / ego_vehicle.target_speed) ** self.DELTA
        share = 0.0
        if front_vehicle:
            gap = front_vehicle.position[0] - ego_vehicle.position[0]
            share = self.desired_gap(ego_vehicle, front_vehicle) / (gap if abs(gap) > 0.01 else 0.01)
        return self.COMFORT_ACC_MAX * (1 - free - share**2)


class Defensive(Aggressive):
    """The column of the table."""

    ACC_MAX = 5.0
    COMFORT_ACC_MAX = 2.0
    COMFORT_ACC_MIN = -4.0
    DISTANCE_WANTED = 8.0 + 5.0
    TIME_WANTED = 1.8
    DELTA_RANGE = (3.5, 3.5)
    POLITENESS = 0.5
    LANE_CHANGE_MIN_ACC_GAIN = 0.3
    LANE_CHANGE_MAX_BRAKING_IMPOSED = 2.0
    LANE_CHANGE_DELAY = 1.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.target_speed = self.speed - 5


class Normal(IDMVehicle):  # type: ignore[misc]
    """The column of the table: only the politeness is not highway-env's own."""

    POLITENESS = 0.2


OWN = HighwayParameters(aggressive=0.0, defensive=0.0, politeness=0.0)
TABLE = HighwayParameters(aggressive=0.3, defensive=0.3)
# Fewer vehicles, for the sake of time.
CODE = HighwayParameters(aggressive=0.3, defensive=0.3, behaviour="code", others=20, lanes=5)
KINDS: dict[str, tuple[HighwayParameters, tuple[Any, ...] | None, int]] = {
    "highway-env's own drivers": (OWN, (IDMVehicle, IDMVehicle), 0),
    "the drivers of the table": (TABLE, (IDMVehicle, Normal, Aggressive, Defensive), 3),
    "the drivers of the authors' code": (CODE, None, 4),
}


@pytest.mark.parametrize("name", KINDS)
def test_all_vehicles_go_where_highway_env_lets_them_go(name: str) -> None:
    """For 20 decisions without a collision, to 1e-3 (they agree to rounding); so do observations and rewards."""
    parameters, kinds, seed = KINDS[name]
    scene = Scene(parameters.model_dump())
    scene.kinds = list(kinds) if kinds else scene.kinds
    scene.reset(seed=seed)
    ours = beside.taken_over(scene, parameters, lambda vehicle: 1 + scene.kinds[1:].index(type(vehicle)))
    random = np.random.default_rng(seed)
    changed, reward, done = 0, np.empty((1, 5), np.float32), np.empty((1, 5), bool)
    for decision in range(beside.DECISIONS):
        before = ours.whole[0, layout.LANE].copy()
        action = random.choice(5, 5, p=CAREFUL)
        scene.decide({agent: layout.ACTIONS[one] for agent, one in enumerate(action)})
        ours.advance(action[None], reward, done)
        ours.elapsed += 1
        changed += int((ours.whole[0, layout.LANE] != before).sum())
        assert not beside.crashed(scene).any()
        assert np.abs(beside.our_places(ours) - beside.places(scene)).max() < beside.LARGEST_DIFFERENCE
        if decision % 10 == 9:
            seen = np.stack([one.ravel() for one in scene.observation_type.observe()])
            np.testing.assert_allclose(ours.show().observation[0].numpy(), seen, atol=1e-5)
            shown = ours.show().identity
            assert shown is not None
            assert [row[row >= 0].tolist() for row in shown[0]] == [
                scene.shown_to(agent) for agent in range(5)
            ]
        paid = [scene.reward_of(agent) for agent in range(5)]
        np.testing.assert_allclose(reward[0], paid, atol=1e-6)
    assert changed >= 5


def test_collisions_are_highway_envs() -> None:
    """Through a pile-up: who has crashed, and where everybody comes to rest."""
    parameters = HighwayParameters(agents=3, others=9, lanes=2, aggressive=0.3, defensive=0.3)
    scene = Scene(parameters.model_dump())
    crashes = 0
    for seed in range(3):
        scene.reset(seed=seed)
        ours = beside.taken_over(scene, parameters, lambda vehicle: 1 + scene.kinds[1:].index(type(vehicle)))
        random = np.random.default_rng(seed)
        reward, done = np.empty((1, 3), np.float32), np.empty((1, 3), bool)
        for _ in range(12):
            out = ours.tally[0, layout.OUT] > 0
            action = random.integers(0, 5, 3)
            scene.decide({a: layout.ACTIONS[one] for a, one in enumerate(action) if not out[a]})
            ours.advance(action[None], reward, done)
            ours.elapsed += 1
            crashed = beside.crashed(scene)
            np.testing.assert_array_equal(ours.whole[0, layout.CRASHED] > 0, crashed)
            assert np.abs(beside.our_places(ours) - beside.places(scene)).max() < beside.LARGEST_DIFFERENCE
            paid = [scene.reward_of(agent) for agent in range(3)]
            np.testing.assert_allclose(reward[0][~out], np.array(paid)[~out], atol=1e-6)
        crashes += int(crashed.sum())
    assert crashes >= 6


SMALL = HighwayParameters(agents=2, others=8, lanes=2, aggressive=0.3, defensive=0.3, length=30)
EPISODES = 200


def of_highway_env(policy: str, episodes: range = range(EPISODES)) -> dict[str, list[float]]:
    """Measures of the episodes of a policy, by name, and `returned`, the agents' mean sum of rewards."""
    scene = Scene(SMALL.model_dump())
    told: dict[str, list[float]] = {name: [] for name in (*layout.MEASURES, "returned")}
    for episode in episodes:
        random = np.random.default_rng(episode)
        scene.reset(seed=1000 + episode)
        if policy == "idm":
            for agent in range(SMALL.agents):
                scene.leave_to_idm(agent)
        out, survived, speeds, returned = np.zeros(SMALL.agents, bool), 0, 0.0, 0.0
        for _ in range(SMALL.length):
            chosen = {} if policy == "idm" else {agent: random.integers(5) for agent in np.flatnonzero(~out)}
            scene.decide({agent: layout.ACTIONS[action] for agent, action in chosen.items()})
            for agent, vehicle in enumerate(scene.controlled_vehicles):
                if out[agent]:
                    continue
                returned += scene.reward_of(agent) / SMALL.agents
                out[agent] = vehicle.crashed
                survived += not vehicle.crashed
                speeds += 0.0 if vehicle.crashed else vehicle.speed
            if out.all():
                break
        others = [vehicle for vehicle in scene.road.vehicles if vehicle not in scene.controlled_vehicles]
        values = (
            1 - out.mean(),
            survived / SMALL.agents,
            speeds / survived if survived else 0.0,
            np.mean([vehicle.crashed for vehicle in others]),
            returned,
        )
        for name, value in zip(told, values, strict=True):
            told[name].append(float(value))
    return told


def of_ours(policy: str) -> dict[str, list[float]]:
    rows = 10 * EPISODES
    ours = Highway(SMALL, rows, torch.device("cpu"))
    ours.reset(row_keys([0], 0, rows, torch.device("cpu")))
    generator = torch.Generator().manual_seed(0)
    told: dict[str, list[float]] = {name: [0.0] * rows for name in (*layout.MEASURES, "returned")}
    going, returned = torch.ones(rows, dtype=torch.bool), torch.zeros(rows)
    for _ in range(SMALL.length):
        action = torch.randint(0, 5, (rows, SMALL.agents), generator=generator)
        step = ours.step(torch.full_like(action, -1) if policy == "idm" else action)
        returned += step.reward.mean(1) * going
        for row in torch.nonzero(step.ended & going).flatten().tolist():
            for name, value in (*step.metrics.items(), ("returned", returned)):
                told[name][row] = float(value[row])
        going &= ~step.ended
    assert not bool(going.any())
    return told


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["idm", "random"])
def test_whole_episodes_have_highway_envs_statistics(policy: str) -> None:
    """200 episodes of highway-env and 2,000 of ours, each from its own starts: the means of every measure differ by no
    more than their joint interval of 99.9 %."""
    theirs, mine = of_highway_env(policy), of_ours(policy)
    for name in theirs:
        one, other = np.array(theirs[name]), np.array(mine[name])
        error = np.hypot(one.std(ddof=1) / np.sqrt(len(one)), other.std(ddof=1) / np.sqrt(len(other)))
        difference = one.mean() - other.mean()
        print(f"{policy} {name}: {one.mean():.4f} {other.mean():.4f} +- {stats.norm.ppf(0.9995) * error:.4f}")
        assert abs(difference) <= stats.norm.ppf(0.9995) * error + 1e-9, name


def test_a_driver_of_each_kind_is_there() -> None:
    """The kinds are drawn at their shares, in both."""
    scene = Scene(TABLE.model_dump())
    counts = np.zeros(4)
    for seed in range(3):
        scene.reset(seed=seed)
        for vehicle in scene.road.vehicles:
            if vehicle not in scene.controlled_vehicles:
                counts[1 + scene.kinds[1:].index(type(vehicle))] += 1
    ours = Highway(TABLE, 64, torch.device("cpu"))
    ours.reset(row_keys([3], 0, 64, torch.device("cpu")))
    shares = np.bincount(ours.whole[:, layout.DRIVER].ravel(), minlength=4) / 64
    assert shares[drivers.AGENT] == 5
    np.testing.assert_allclose(shares[1:] / 50, [0.4, 0.3, 0.3], atol=0.04)
    np.testing.assert_allclose(counts[1:] / 150, [0.4, 0.3, 0.3], atol=0.15)
