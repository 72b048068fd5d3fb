"""The highway by closed forms and brute force: drivers, lanes, collisions, rewards, observations, beginnings, ends."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marlbench.environments.keys import row_keys
from marlbench.environments.traffic.highway import collisions, drivers, following, layout, motion
from marlbench.environments.traffic.highway.environment import Highway, HighwayParameters
from marlbench.errors import MarlbenchError

CPU = torch.device("cpu")
TABLE = drivers.drivers("table", 0.2)
# Inner loops have no way in from Python.
touch = numba.njit(lambda real, one, other: collisions.touch(real, one, other))
free = numba.njit(
    lambda real, constants, exponent, car: following.free_acceleration(real, constants, exponent, car)
)
braking = numba.njit(lambda real, constants, rear, front: following.braking_for(real, constants, rear, front))
gap = numba.njit(lambda real, constants, rear, front: following.desired_gap(real, constants, rear, front))
worth = numba.njit(
    lambda real, whole, constants, car, lane: following.worth_changing(real, whole, constants, car, lane)
)
lane_of = numba.njit(lambda y, lanes: motion.nearest_lane(y, lanes))
choose = numba.njit(lambda real, whole, car, action, lanes: motion.choose(real, whole, car, action, lanes))


def cars(*placed: tuple[float, float, float], wanted: float = 30.0) -> tuple[Any, Any]:
    """Vehicles at (x, lane, speed), straight ahead, all normal drivers that want a speed."""
    real, whole = np.zeros((layout.REALS, len(placed))), np.zeros((layout.WHOLES, len(placed)), np.int64)
    for number, (x, lane, speed) in enumerate(placed):
        real[layout.X, number], real[layout.Y, number] = x, 4 * lane
        real[layout.SPEED, number], real[layout.COSINE, number] = speed, 1.0
        whole[[layout.LANE, layout.TARGET_LANE], number] = lane
        whole[layout.DRIVER, number] = drivers.NORMAL
    real[layout.TARGET_SPEED] = wanted
    real[layout.EXPONENT] = 4.0
    order = np.argsort(real[layout.X], kind="stable")
    whole[layout.RANKED] = order
    whole[layout.RANK, order] = np.arange(len(order))
    return real, whole


@pytest.mark.parametrize("kind", [drivers.NORMAL, drivers.AGGRESSIVE, drivers.DEFENSIVE])
def test_a_driver_in_equilibrium_neither_brakes_nor_accelerates(kind: int) -> None:
    """At equal speeds the acceleration vanishes at s = (d0 + T v) / sqrt(1 - (v / v0)^delta) (Treiber et al. 2000)."""
    constants, speed = TABLE[kind], 18.0
    wait, headway = constants[drivers.JAM], constants[drivers.HEADWAY]
    distance = (wait + headway * speed) / math.sqrt(1 - (speed / 30.0) ** 4)
    real, _ = cars((0.0, 0, speed), (distance, 0, speed))
    assert free(real, constants, 4.0, 0) - braking(real, constants, 0, 1) == pytest.approx(0, abs=1e-12)
    nearer, _ = cars((0.0, 0, speed), (distance - 1, 0, speed))
    assert free(nearer, constants, 4.0, 0) - braking(nearer, constants, 0, 1) < -0.01


def test_the_model_by_numbers() -> None:
    """One braking and one free driver, worked out by hand from the constants of the table."""
    real, _ = cars((0.0, 0, 20.0), (40.0, 0, 15.0), wanted=25.0)
    # Normal: s* = 10 + 1.5 * 20 + 20 * 5 / (2 sqrt(15)), a = 3.
    wanted_gap = 10 + 30 + 100 / (2 * math.sqrt(15))
    assert gap(real, TABLE[drivers.NORMAL], 0, 1) == pytest.approx(wanted_gap)
    assert braking(real, TABLE[drivers.NORMAL], 0, 1) == pytest.approx(3 * (wanted_gap / 40) ** 2)
    assert free(real, TABLE[drivers.NORMAL], 4.0, 0) == pytest.approx(3 * (1 - 0.8**4))
    # Aggressive: d0 = 0.5 m and both half lengths, T = 1.2, a = 6, b = 9.
    assert gap(real, TABLE[drivers.AGGRESSIVE], 0, 1) == pytest.approx(5.5 + 24 + 100 / (2 * math.sqrt(54)))
    # Defensive: d0 = 13, T = 1.8, a = 2, b = 4.
    assert gap(real, TABLE[drivers.DEFENSIVE], 0, 1) == pytest.approx(13 + 36 + 100 / (2 * math.sqrt(8)))


def test_only_normal_drivers_keep_to_the_speed_limit() -> None:
    real, _ = cars((0.0, 0, 30.0), wanted=38.0)
    assert free(real, TABLE[drivers.NORMAL], 4.0, 0) == pytest.approx(0)
    assert free(real, TABLE[drivers.AGGRESSIVE], 4.0, 0) == pytest.approx(6 * (1 - (30 / 38) ** 4))


def test_lanes_are_changed_by_mobil() -> None:
    """A slow vehicle ahead, a free lane beside it; then a follower there who would have to brake too hard."""
    constants = TABLE[drivers.NORMAL]
    slow = [(0.0, 1, 25.0), (30.0, 1, 15.0)]
    assert worth(*cars(*slow), constants, 0, 0)
    # Someone equally slow in the other lane: no gain.
    assert not worth(*cars(*slow, (30.0, 0, 15.0)), constants, 0, 0)
    # The new follower: a (1 - 1) - a (s* / s)^2 < -2 where s < s* sqrt(a / 2).
    wanted_gap = 10 + 1.5 * 25
    limit = wanted_gap * math.sqrt(3 / 2 / (1 + 1.5 * (1 - (25 / 30) ** 4)))
    assert not worth(*cars(*slow, (-(limit - 0.1), 0, 25.0)), constants, 0, 0)
    selfish = constants.copy()
    selfish[drivers.POLITENESS] = 0.0
    assert worth(*cars(*slow, (-(limit + 0.1), 0, 25.0)), selfish, 0, 0)


def test_politeness_weighs_what_others_lose() -> None:
    """The change is refused from the p on at which own gain + p (gains of the others) is below the least gain."""
    constants = TABLE[drivers.NORMAL].copy()
    scene = cars((0.0, 1, 25.0), (80.0, 1, 22.0), (-60.0, 0, 26.0), (200.0, 0, 25.0), (-300.0, 1, 24.0))
    real, _ = scene

    def slowed(rear: int, front: int) -> float:
        return float(braking(real, constants, rear, front))

    own = slowed(0, 1) - slowed(0, 3)
    others = slowed(2, 3) - slowed(2, 0) + slowed(4, 0) - slowed(4, 1)
    assert others < 0
    edge = (own - constants[drivers.GAIN]) / -others
    assert 0.05 < edge < 0.95
    for politeness, accepted in ((edge - 0.01, True), (edge + 0.01, False)):
        constants[drivers.POLITENESS] = politeness
        assert worth(*scene, constants, 0, 0) == accepted


def corners(real: Any, car: int) -> NDArray[np.float64]:
    """The corners of a vehicle, [4, 2], in order."""
    cosine, sine = real[layout.COSINE, car], real[layout.SINE, car]
    turned = np.array([[cosine, -sine], [sine, cosine]])
    square = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * (2.5, 1.0)
    return real[[layout.X, layout.Y], car] + square @ turned.T


def inside(points: NDArray[np.float64], real: Any, car: int) -> NDArray[np.bool_]:
    """Which points lie in a vehicle."""
    away = points - real[[layout.X, layout.Y], car]
    cosine, sine = real[layout.COSINE, car], real[layout.SINE, car]
    along, across = away @ (cosine, sine), away @ (-sine, cosine)
    return (np.abs(along) <= 2.5) & (np.abs(across) <= 1.0)


def overlap_by_points(real: Any) -> tuple[bool, float]:
    """Whether any of a grid of points of vehicle 0 lies in vehicle 1, and how far the nearest is from it."""
    along, across = np.meshgrid(np.linspace(-2.5, 2.5, 121), np.linspace(-1, 1, 49))
    cosine, sine = real[layout.COSINE, 0], real[layout.SINE, 0]
    x = real[layout.X, 0] + cosine * along - sine * across
    y = real[layout.Y, 0] + sine * along + cosine * across
    points = np.stack([x.ravel(), y.ravel()], 1)
    away = points - real[[layout.X, layout.Y], 1]
    cosine, sine = real[layout.COSINE, 1], real[layout.SINE, 1]
    beyond_along = np.maximum(np.abs(away @ (cosine, sine)) - 2.5, 0)
    beyond_across = np.maximum(np.abs(away @ (-sine, cosine)) - 1.0, 0)
    return bool(inside(points, real, 1).any()), float(np.hypot(beyond_along, beyond_across).min())


def test_vehicles_touch_where_they_share_a_point() -> None:
    """Thousands of pairs against points on a grid; pairs too close to call on the grid are left out."""
    random = np.random.default_rng(0)
    real, _ = cars((0.0, 0, 0.0), (0.0, 0, 0.0))
    touching = apart = 0
    for _ in range(700):
        real[layout.X], real[layout.Y] = random.uniform(-3, 3, 2), random.uniform(-2, 2, 2)
        heading = random.uniform(-math.pi, math.pi, 2)
        real[layout.COSINE], real[layout.SINE] = np.cos(heading), np.sin(heading)
        now, _, _, _ = touch(real, 0, 1)
        shared, distance = overlap_by_points(real)
        if shared:
            assert now
            touching += 1
        elif distance > 0.07:
            assert not now
            apart += 1
    assert touching > 200
    assert apart > 50


@settings(max_examples=60, deadline=None)
@given(st.floats(-5, 5), st.floats(-3, 3), st.floats(-0.8, 0.8), st.floats(-0.8, 0.8))
def test_the_push_takes_standing_vehicles_apart(x: float, y: float, turn: float, other_turn: float) -> None:
    """Half of it each, and vehicles that overlapped only touch."""
    real, _ = cars((x, 0, 0.0), (0.0, 0, 0.0))
    real[layout.Y, 0] = y
    real[layout.COSINE], real[layout.SINE] = np.cos([turn, other_turn]), np.sin([turn, other_turn])
    now, soon, push_x, push_y = touch(real, 0, 1)
    assert now == soon
    length = math.hypot(push_x, push_y)
    if length < 1e-6:
        return
    normal = np.array([push_x, push_y]) / length
    nearest = (corners(real, 0) @ normal).min() + length
    assert nearest == pytest.approx((corners(real, 1) @ normal).max(), abs=1e-6)


def test_the_nearest_lane() -> None:
    for y in np.linspace(-6, 40, 400):
        nearest = int(np.argmin(np.abs(y - 4 * np.arange(8))))
        assert lane_of(float(y), 8) == nearest


def test_agents_choose_lanes_and_speeds() -> None:
    """Speeds go to the next of 20, 25 and 30 m/s from the nearest to the present one; lanes end at the edge."""
    nearest = {19.0: 0, 22.4: 0, 22.6: 1, 25.0: 1, 27.4: 1, 27.6: 2, 33.0: 2, 22.5: 0, 27.5: 2}
    for (speed, index), (action, step) in itertools.product(nearest.items(), ((3, 1), (4, -1))):
        real, whole = cars((0.0, 3, speed))
        choose(real, whole, 0, action, 8)
        assert real[layout.TARGET_SPEED, 0] == (20.0, 25.0, 30.0)[min(max(index + step, 0), 2)]
    for lane, action, wanted in ((0, 0, 0), (3, 0, 2), (3, 2, 4), (7, 2, 7), (3, 1, 3)):
        real, whole = cars((0.0, lane, 25.0))
        choose(real, whole, 0, action, 8)
        assert whole[layout.TARGET_LANE, 0] == wanted


def test_a_lane_change_ends_in_the_middle_of_the_lane() -> None:
    """Alone on the road: the place across settles, the speed along stays."""
    ours = Highway(HighwayParameters(agents=1, others=0, lanes=4), 1, CPU)
    ours.reset(row_keys([0], 0, 1, CPU))
    lane = int(ours.whole[0, layout.LANE, 0])
    action = 0 if lane else 2
    ours.step(torch.tensor([[action]]))
    for _ in range(11):
        ours.step(torch.tensor([[1]]))
    target = lane - 1 if action == 0 else lane + 1
    assert ours.real[0, layout.Y, 0] == pytest.approx(4 * target, abs=1e-3)
    assert ours.real[0, layout.SPEED, 0] == pytest.approx(25)
    assert ours.whole[0, layout.LANE, 0] == target


def play(parameters: HighwayParameters, rows: int, choices: Any, decisions: int) -> tuple[Highway, list[Any]]:
    ours = Highway(parameters, rows, CPU)
    step = ours.reset(row_keys([4], 0, rows, CPU))
    generator = torch.Generator().manual_seed(0)
    shown = [step]
    for _ in range(decisions):
        shape = (rows, parameters.agents)
        drawn = torch.randint(0, 5, shape, generator=generator)
        step = ours.step(drawn if choices is None else torch.full(shape, choices))
        shown.append(step)
    return ours, shown


def test_rewards_lie_in_their_bounds_and_reach_them() -> None:
    """In [0, 1] among random drivers; 1 on the rightmost lane at 30 m/s; nothing once an agent has crashed."""
    _, shown = play(HighwayParameters(aggressive=0.3, defensive=0.3), 16, None, 60)
    out = torch.zeros(16, 5, dtype=torch.bool)
    crashes = 0
    for step in shown[1:]:
        assert bool((step.reward >= 0).all())
        assert bool((step.reward <= 1).all())
        assert bool((step.reward[out] == 0).all())
        # A crash costs two thirds of what there is.
        assert bool((step.reward[step.terminated] <= 1 / 3 + 1e-6).all())
        crashes += int(step.terminated.sum())
        out = (out | step.terminated) & ~step.ended.unsqueeze(1)
    assert crashes > 20
    alone = Highway(HighwayParameters(agents=1, others=0, lanes=2, length=20), 1, CPU)
    alone.reset(row_keys([0], 0, 1, CPU))
    for _ in range(6):
        alone.step(torch.tensor([[2]]))
    for _ in range(10):
        step = alone.step(torch.tensor([[3]]))
    assert float(step.reward) == pytest.approx(1.0, abs=1e-3)


def test_ends_and_measures() -> None:
    """Success, seconds survived and speed as they follow from who crashed when."""
    parameters = HighwayParameters(agents=3, others=20, lanes=3, aggressive=0.2, defensive=0.2, length=25)
    _, shown = play(parameters, 12, None, 25)
    survived, crashed = torch.zeros(12, 3), torch.zeros(12, 3, dtype=torch.bool)
    over = torch.zeros(12, dtype=torch.bool)
    for time, step in enumerate(shown[1:], 1):
        crashed |= step.terminated & ~over.unsqueeze(1)
        survived += (~crashed & ~over.unsqueeze(1)).float()
        for row in torch.nonzero(step.ended & ~over).flatten().tolist():
            assert bool(crashed[row].all()) or time == 25
            assert torch.equal(step.truncated[row], ~crashed[row])
            told = {name: float(value[row]) for name, value in step.metrics.items()}
            assert told["success_rate"] == pytest.approx(1 - float(crashed[row].float().mean()))
            assert told["survival_time"] == pytest.approx(float(survived[row].mean()))
            assert told["survival_time"] == 0 or 15 < told["speed"] < 31
            assert 0 <= told["crashed_others"] <= 1
        over |= step.ended
    assert bool(over.all())
    assert bool(crashed.any())
    assert not bool(crashed.all())


def test_observations_tell_who_is_near() -> None:
    """By brute force from the places of all vehicles; identities follow vehicles."""
    ours, shown = play(HighwayParameters(), 4, None, 7)
    step = shown[-1]
    entities = ours.specification.entities
    assert entities is not None
    assert step.identity is not None
    for row, agent in itertools.product(range(4), range(5)):
        real, own = ours.real[row], int(ours.agents[agent])
        velocity = real[layout.SPEED] * real[[layout.COSINE, layout.SINE]]
        state = np.concatenate([real[[layout.X, layout.Y]] / 100, velocity / 20])
        away = real[[layout.X, layout.Y]] - real[[layout.X, layout.Y], own : own + 1]
        seen = (np.hypot(*away) < 200) & (away[0] > -10) & (np.arange(55) != own)
        near = sorted(np.flatnonzero(seen), key=lambda car: abs(away[0, car]))[:14]
        expected = np.zeros((15, 5))
        expected[0] = (1, *np.clip(state[:, own], -1, 1))
        for place, car in enumerate(near, 1):
            expected[place] = (1, *np.clip(state[:, car] - state[:, own], -1, 1))
        told = step.observation[row, agent].reshape(entities.seen, len(entities.features)).numpy()
        np.testing.assert_allclose(told, expected, atol=1e-6)
        assert step.identity[row, agent].tolist() == [own, *near] + [-1] * (14 - len(near))


def test_players_that_come_with_the_task() -> None:
    """The IDM hardly ever crashes, always slower drives 20 m/s, random drivers crash; each keeps to its episode."""
    parameters = HighwayParameters(length=20)
    told = {}
    for code, name in enumerate(layout.PLAYERS):
        _, shown = play(parameters, 24, -1 - code, 20)
        told[name] = {key: float(value.mean()) for key, value in shown[-1].metrics.items()}
        assert bool(shown[-1].ended.any())
    assert told["idm"]["success_rate"] > 0.95
    assert told["slower"]["speed"] < 21.5
    assert told["random"]["success_rate"] < 0.8 < told["slower"]["success_rate"]
    with pytest.raises(MarlbenchError, match="no built-in player 3"):
        play(parameters, 1, -4, 1)


def test_beginnings() -> None:
    """Gaps, lanes and speeds lie where highway-env's rule puts them; each agent comes before its share of others."""
    parameters = HighwayParameters(agents=3, others=11, lanes=4)
    assert parameters.of_agents() == [0, 5, 10]
    ours = Highway(parameters, 400, CPU)
    ours.reset(row_keys([1], 0, 400, CPU))
    x, speed = ours.real[:, layout.X], ours.real[:, layout.SPEED]
    spacing = np.where(np.isin(np.arange(14), [0, 5, 10]), 2.0, 1.0)
    nominal = spacing * (12 + speed) * math.exp(-0.5)
    gaps = np.diff(x, axis=1) / nominal[:, 1:]
    assert 0.9 <= gaps.min() < 0.91
    assert 1.09 < gaps.max() <= 1.1
    assert gaps.mean() == pytest.approx(1, abs=0.005)
    assert (speed[:, [0, 5, 10]] == 25).all()
    others = np.delete(speed, [0, 5, 10], axis=1)
    assert 21 <= others.min() < 21.05
    assert 23.95 < others.max() <= 24
    lanes = np.bincount(ours.whole[:, layout.LANE].ravel(), minlength=4) / (400 * 14)
    np.testing.assert_allclose(lanes, 0.25, atol=0.025)


def test_drivers_of_the_authors_code_hold_their_speed() -> None:
    """An aggressive driver behind a standing vehicle does not brake there, and does by the table."""
    for behaviour, crashes in (("code", True), ("table", False)):
        parameters = HighwayParameters(
            agents=1, others=1, lanes=1, aggressive=1.0, defensive=0.0, behaviour=behaviour
        )
        ours = Highway(parameters, 1, CPU)
        ours.reset(row_keys([0], 0, 1, CPU))
        agent, other = ours.real[0, :, 0], ours.real[0, :, 1]
        agent[[layout.X, layout.SPEED, layout.TARGET_SPEED]] = 400.0, 20.0, 20.0
        other[[layout.X, layout.SPEED]] = 300.0, 24.0
        ours.whole[0, [layout.RANKED, layout.RANK]] = [1, 0]
        for _ in range(40):
            step = ours.step(torch.tensor([[4]]))
            if step.any_ended:
                break
        assert step.any_ended == crashes


def test_pictures() -> None:
    """The end of an episode is drawn until the next step; pictures are of what was when they were asked for."""
    ours, _ = play(HighwayParameters(length=3), 2, 1, 1)
    first = ours.record(0)
    ours.step(torch.ones(2, 5, dtype=torch.int64))
    second = ours.render(0)
    step = ours.step(torch.ones(2, 5, dtype=torch.int64))
    assert bool(step.ended.all())
    end = ours.render(0)
    ours.step(torch.ones(2, 5, dtype=torch.int64))
    pictures = [first(), second, end, ours.render(0)]
    assert all(picture.dtype == np.uint8 and picture.shape == pictures[0].shape for picture in pictures)
    for one, other in itertools.combinations(pictures, 2):
        assert (one != other).any()
