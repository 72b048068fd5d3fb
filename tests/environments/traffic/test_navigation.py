"""Navigation against a plain statement of its rules, one row at a time, and against mpe2's forces."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from marlbench.environments.contract import Step
from marlbench.environments.keys import row_keys
from marlbench.environments.traffic.navigation import Navigation

CPU = torch.device("cpu")
RADII, SHARES = [0.08, 0.10, 0.06, 0.08], [1.0, 0.9, 1.1, 1.0]
PUSH = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], dtype=float)


def scene(environment: Navigation) -> dict[str, np.ndarray]:
    """Everything of every row: velocity, position, landmark, each [row, entity, 2]."""
    packed = environment.memory["packed"].numpy().copy()
    bodies = (packed.shape[1] - 6) // 4
    ends = [0, 2 * bodies, 4 * bodies, packed.shape[1]]
    parts = [packed[:, a:b] for a, b in pairwise(ends)]
    return {
        name: part.reshape(len(part), 2, -1).transpose(0, 2, 1)
        for name, part in zip(("velocity", "position", "landmark"), parts, strict=True)
    }


def place(environment: Navigation, positions: np.ndarray, landmarks: np.ndarray | None = None) -> Step:
    """Put everybody somewhere [row, body, 2], at rest."""
    known = scene(environment)
    marks = known["landmark"] if landmarks is None else landmarks
    parts = [np.zeros_like(positions), positions, marks]
    packed = np.concatenate([part.transpose(0, 2, 1).reshape(len(part), -1) for part in parts], 1)
    state = environment.state_dict()
    memory = state["memory"]
    assert isinstance(memory, dict)
    return environment.load_state_dict({**state, "memory": {**memory, "packed": torch.from_numpy(packed)}})


def moved(velocity: np.ndarray, position: np.ndarray, forces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One row's velocity and position after a step, written down pair by pair."""
    total = forces.copy()
    for a, b in combinations(range(len(position)), 2):
        apart = position[a] - position[b]
        distance = float(np.hypot(*apart))
        overlap = 1e-3 * np.logaddexp(0.0, (RADII[a] + RADII[b] - distance) / 1e-3)
        contact = 100.0 * overlap * apart / distance
        total[a] += contact
        total[b] -= contact
    velocity = 0.75 * velocity + 0.1 * total
    return velocity, position + 0.1 * velocity


def rewards(position: np.ndarray, landmark: np.ndarray) -> tuple[list[float], int, bool]:
    """What the three agents are paid, the touching pairs, and whether everybody has arrived."""
    nearest = [min(float(np.hypot(*(body - mark))) for mark in landmark) for body in position]
    ordered = [(a, b) for a in range(len(position)) for b in range(len(position)) if a != b]
    touching = sum(float(np.hypot(*(position[a] - position[b]))) < RADII[a] + RADII[b] for a, b in ordered)
    paid = []
    for agent in range(3):
        reward = -nearest[agent] - 5.0 * touching
        if not touching and nearest[agent] < 0.1:
            reward += 10.0
        if not touching and max(nearest) < 0.1:
            reward += 100.0
        paid.append(reward)
    return paid, touching // 2, not touching and max(nearest) < 0.1


def shown(viewer: int, now: dict[str, np.ndarray], relative: bool) -> np.ndarray:
    """One row's observation of an agent."""
    position, velocity = now["position"], now["velocity"]
    rows = [[*position[viewer], *velocity[viewer]]]
    for other in range(len(position)):
        if other != viewer:
            speed = velocity[other] - velocity[viewer] * relative
            rows.append([*(position[other] - position[viewer]), *speed])
    rows += [[*(mark - position[viewer]), 0.0, 0.0] for mark in now["landmark"]]
    return np.array(rows).ravel()


@pytest.mark.parametrize("walker", [False, True])
@pytest.mark.parametrize("velocities", ["relative", "absolute"])
@pytest.mark.parametrize("spread", [1.0, 0.2])
def test_it_follows_the_rules_step_by_step(walker: bool, velocities: str, spread: float) -> None:
    rows, length = 12, 30
    options: dict[str, Any] = {"walker": walker, "velocities": velocities, "episode_length": length}
    environment = Navigation(Navigation.Parameters(**options), rows, CPU)
    environment.reset(row_keys([1], 0, rows, CPU))
    generator = np.random.default_rng(3)
    bodies = 4 if walker else 3
    place(
        environment,
        generator.uniform(-spread, spread, (rows, bodies, 2)),
        generator.uniform(-0.3, 0.3, (rows, 3, 2)),
    )
    now, metrics = scene(environment), np.zeros((rows, 3))
    touched = arrived = 0
    for time in range(length):
        action = generator.integers(5, size=(rows, 3))
        step = environment.step(torch.from_numpy(action))
        after = scene(environment)
        for row in range(rows):
            forces = np.zeros((bodies, 2))
            forces[:3] = 5.0 * PUSH[action[row]] * np.array(SHARES[:3])[:, None]
            before = now["velocity"][row], now["position"][row]
            if walker:
                still, _ = moved(*before, forces)
                if time + 1 < length:
                    # What the walker did is whatever it needs to be, and has to be one of the five.
                    done = (after["velocity"][row, 3] - still[3]) / 0.1 / 5.0
                    (chosen,) = np.flatnonzero(np.abs(PUSH - done).max(1) < 1e-6)
                    forces[3] = 5.0 * PUSH[chosen]
                else:
                    continue
            velocity, position = moved(*before, forces)
            paid, pairs, prize = rewards(position, now["landmark"][row])
            np.testing.assert_allclose(step.reward[row].numpy(), paid, rtol=0, atol=2e-5)
            touched += pairs
            arrived += prize
            metrics[row] += pairs, prize, 0
            truth = {"velocity": velocity, "position": position, "landmark": now["landmark"][row]}
            views = np.stack([shown(viewer, truth, velocities == "relative") for viewer in range(3)])
            np.testing.assert_allclose(step.final_observation[row].numpy(), views, rtol=0, atol=2e-5)
            everybody = np.concatenate([position, velocity], 1)
            marks = np.concatenate([now["landmark"][row], np.zeros((3, 2))], 1)
            flat = np.concatenate([everybody, marks]).ravel()
            np.testing.assert_allclose(step.final_state[row].numpy(), flat, rtol=0, atol=2e-5)
        now = after
    assert touched > 0
    assert bool(step.truncated.all())
    assert not bool(step.terminated.any())
    if not walker:
        assert step.metrics["collisions"].tolist() == pytest.approx(metrics[:, 0].tolist())
        assert step.metrics["all_arrived"].tolist() == pytest.approx((metrics[:, 1] / length).tolist())


def pays(
    positions: list[tuple[float, float]], walker: bool = False, actions: tuple[int, ...] = (0, 0, 0)
) -> list[float]:
    """Rewards of a step from rest, with landmarks at (0, 0), (.5, 0) and (0, .5)."""
    environment = Navigation(Navigation.Parameters(walker=walker), 1, CPU)
    environment.reset(row_keys([0], 0, 1, CPU))
    marks = np.array([[[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]]])
    place(environment, np.array([positions]), marks)
    return environment.step(torch.tensor([actions])).reward[0].tolist()


def test_what_is_paid_at_known_places() -> None:
    home = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5)]
    assert pays(home) == pytest.approx([110.0] * 3)
    # Two may share a landmark as long as they do not touch.
    assert pays([(-0.095, 0.0), (0.095, 0.0), (0.0, 0.5)]) == pytest.approx([109.905, 109.905, 110.0])
    assert pays([(0.0, 0.0), (0.5, 0.0), (0.0, 0.8)]) == pytest.approx([10.0, 10.0, -0.3])
    # Two meet, .05 to the right and .045 to the left: one touching pair costs everybody ten and all prizes.
    meeting = pays([(0.0, 0.0), (0.25, 0.0), (0.0, 0.5)], actions=(2, 1, 0))
    assert meeting == pytest.approx([-10.05, -10.205, -10.0])


def test_a_walker_far_from_all_landmarks_withholds_the_prize() -> None:
    home = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5)]
    assert pays([*home, (-0.9, -0.9)], walker=True) == pytest.approx([10.0] * 3)


def test_forces_are_those_of_mpe2() -> None:
    """mpe2 moves before it pushes, so positions are set anew at every step; velocities have to agree."""
    core = pytest.importorskip("mpe2._mpe_utils.core", reason="mpe2 is not installed (extra `mpe`)")
    environment = Navigation(Navigation.Parameters(), 1, CPU)
    generator = np.random.default_rng(5)
    environment.reset(row_keys([2], 0, 1, CPU))
    place(environment, generator.uniform(-0.12, 0.12, (1, 3, 2)))
    world = core.World()
    world.dim_c = 2
    world.agents = [core.Agent() for _ in range(3)]
    for agent, radius in zip(world.agents, RADII, strict=False):
        agent.size, agent.silent = radius, True
        agent.action.c = np.zeros(2)
    contacts = 0
    for _ in range(40):
        now = scene(environment)
        # Everybody makes for the middle, where they meet.
        places = now["position"][0]
        across = np.abs(places).argmax(1)
        action = 1 + 2 * across + (places[np.arange(3), across] < 0)
        for number, agent in enumerate(world.agents):
            agent.state.p_pos = now["position"][0, number].copy()
            agent.state.p_vel = now["velocity"][0, number].copy()
            agent.action.u = 5.0 * SHARES[number] * PUSH[action[number]]
        world.step()
        contacts += any(
            np.hypot(*(now["position"][0, a] - now["position"][0, b])) < RADII[a] + RADII[b]
            for a, b in combinations(range(3), 2)
        )
        environment.step(torch.from_numpy(action).unsqueeze(0))
        theirs = np.stack([agent.state.p_vel for agent in world.agents])
        np.testing.assert_allclose(scene(environment)["velocity"][0], theirs, rtol=0, atol=1e-9)
    assert contacts > 3


def actions_of_the_walker(rows: int, steps: int) -> Tensor:
    """[step, row]: what it did, told from its velocity; nobody is near it."""
    environment = Navigation(Navigation.Parameters(walker=True, episode_length=steps + 1), rows, CPU)
    environment.reset(row_keys([4], 0, rows, CPU))
    far = np.tile(np.array([[[0, 0], [2, 0], [4, 0], [9, 9]]], dtype=float), (rows, 1, 1))
    place(environment, far)
    found = []
    before = scene(environment)["velocity"][:, 3]
    for _ in range(steps):
        environment.step(torch.zeros(rows, 3, dtype=torch.int64))
        after = scene(environment)["velocity"][:, 3]
        push = (after - 0.75 * before) / 0.5
        found.append(np.abs(push[:, None] - PUSH).max(-1).argmin(1))
        before = after
    return torch.from_numpy(np.stack(found))


def test_the_walker_draws_its_actions_alike_and_anew() -> None:
    walked = actions_of_the_walker(400, 25)
    counts = torch.bincount(walked.flatten(), minlength=5).double()
    expected = walked.numel() / 5
    # Chi-square with four degrees of freedom exceeds 18.5 once in a thousand draws.
    assert float(((counts - expected).square() / expected).sum()) < 18.5
    again = (walked[1:] == walked[:-1]).double().mean()
    assert abs(float(again) - 0.2) < 0.02


def test_places_at_the_start() -> None:
    environment = Navigation(Navigation.Parameters(walker=True), 4000, CPU)
    environment.reset(row_keys([0], 0, 4000, CPU))
    now = scene(environment)
    assert not now["velocity"].any()
    assert np.abs(now["position"]).max() <= 1.0
    assert abs(now["position"].mean()) < 0.02
    points, counts = np.unique(np.round(5 * now["landmark"]).astype(int), return_counts=True)
    assert points.tolist() == list(range(-4, 5))
    np.testing.assert_allclose(5 * now["landmark"], np.round(5 * now["landmark"]), atol=1e-12)
    expected = counts.sum() / 9
    # Chi-square with eight degrees of freedom exceeds 26.1 once in a thousand draws.
    assert ((counts - expected) ** 2 / expected).sum() < 26.1


def test_a_picture_of_it() -> None:
    environment = Navigation(Navigation.Parameters(walker=True), 2, CPU)
    environment.reset(row_keys([0], 0, 2, CPU))
    first = environment.render(1)
    environment.step(torch.ones(2, 3, dtype=torch.int64))
    second = environment.render(1)
    assert first.shape == second.shape
    assert first.dtype == np.uint8
    assert (first != second).any()
