"""simple_spread against the real mpe2, and the symmetries of the particle world."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marlbench.environments.keys import row_keys
from marlbench.environments.particle.simple_spread import SimpleSpread
from marlbench.environments.particle.world import ParticleWorld

CPU = torch.device("cpu")
LEFT, RIGHT, DOWN, UP = 1, 2, 3, 4


def place(environment: SimpleSpread, agents: Tensor, landmarks: Tensor) -> None:
    """Put agents and landmarks [row, entity, 2] somewhere, at rest."""
    rows, count, _ = agents.shape
    packed = torch.cat(
        [
            torch.zeros(rows, 2 * count),
            agents.transpose(1, 2).flatten(1),
            landmarks.transpose(1, 2).flatten(1),
        ],
        dim=1,
    ).to(torch.float64)
    state = environment.state_dict()
    memory = state["memory"]
    assert isinstance(memory, dict)
    environment.load_state_dict({**state, "memory": {**memory, "packed": packed}})


@pytest.mark.parametrize(("agents", "spread"), [(3, 1.0), (3, 0.25), (1, 1.0), (6, 0.5)])
def test_trajectories_equal_mpe2(agents: int, spread: float) -> None:
    """25 steps, no resynchronisation; the smaller the spread, the more contacts."""
    spread_v3 = pytest.importorskip("mpe2.simple_spread_v3", reason="mpe2 is not installed (extra `mpe`)")
    rows = 20
    ours = SimpleSpread(SimpleSpread.Parameters(agents=agents, local_ratio=0.3), rows, CPU)
    ours.reset(row_keys([1], 0, rows, CPU))
    generator = np.random.default_rng(agents)
    positions = torch.from_numpy(generator.uniform(-spread, spread, (rows, agents, 2)))
    landmarks = torch.from_numpy(generator.uniform(-1, 1, (rows, agents, 2)))
    place(ours, positions, landmarks)
    actions = generator.integers(5, size=(25, rows, agents))
    ours_steps = [ours.step(torch.from_numpy(action)) for action in actions]

    theirs = spread_v3.parallel_env(N=agents, local_ratio=0.3)
    names = [f"agent_{agent}" for agent in range(agents)]
    collisions = 0.0
    for row in range(rows):
        theirs.reset(seed=0)
        world = theirs.unwrapped.world
        for agent in range(agents):
            world.agents[agent].state.p_pos = positions[row, agent].numpy().copy()
            world.landmarks[agent].state.p_pos = landmarks[row, agent].numpy().copy()
        for action, step in zip(actions, ours_steps, strict=True):
            chosen = {name: int(action[row, agent]) for agent, name in enumerate(names)}
            observation, reward, terminated, truncated, _ = theirs.step(chosen)
            expected = np.stack([observation[name] for name in names])
            np.testing.assert_allclose(step.final_observation[row].numpy(), expected, rtol=0, atol=1e-5)
            np.testing.assert_allclose(step.final_state[row].numpy(), theirs.state(), rtol=0, atol=1e-5)
            np.testing.assert_allclose(
                step.reward[row].numpy(), [reward[name] for name in names], rtol=0, atol=1e-5
            )
            assert step.terminated[row].tolist() == [terminated[name] for name in names]
            assert step.truncated[row].tolist() == [truncated[name] for name in names]
            for first in world.agents:
                for second in world.agents:
                    if first.name < second.name:
                        collisions += theirs.unwrapped.scenario.is_collision(first, second)
    assert ours_steps[-1].metrics["collisions"].sum() == collisions
    if agents > 1:
        assert collisions > 0


def test_a_push_and_its_decay() -> None:
    """From rest one push of 5 for .1 gives .5, which moves the agent a step later and decays by a quarter."""
    ours = SimpleSpread(SimpleSpread.Parameters(agents=1), 1, CPU)
    ours.reset(row_keys([0], 0, 1, CPU))
    place(ours, torch.zeros(1, 1, 2), torch.ones(1, 1, 2))
    velocities = {LEFT: (-0.5, 0.0), RIGHT: (0.5, 0.0), DOWN: (0.0, -0.5), UP: (0.0, 0.5)}
    for action, velocity in velocities.items():
        place(ours, torch.zeros(1, 1, 2), torch.ones(1, 1, 2))
        pushed = ours.step(torch.tensor([[action]])).final_observation[0, 0]
        assert pushed[:4].tolist() == pytest.approx([*velocity, 0, 0])
        coasting = ours.step(torch.tensor([[0]])).final_observation[0, 0]
        assert coasting[:4].tolist() == pytest.approx(
            [0.75 * v for v in velocity] + [0.1 * v for v in velocity]
        )


def test_reward_and_metrics_at_a_known_place() -> None:
    ours = SimpleSpread(SimpleSpread.Parameters(agents=3, local_ratio=0.25, episode_length=1), 1, CPU)
    ours.reset(row_keys([0], 0, 1, CPU))
    agents = torch.tensor([[[0.0, 0.0], [0.2, 0.0], [2.0, 0.0]]])
    landmarks = torch.tensor([[[0.0, 0.0], [0.0, 0.3], [2.0, 4.0]]])
    place(ours, agents, landmarks)
    step = ours.step(torch.zeros(1, 3, dtype=torch.int64))
    distances = 0.0 + 0.3 + 4.0
    assert step.reward[0].tolist() == pytest.approx(
        [-0.75 * distances - 0.25, -0.75 * distances - 0.25, -0.75 * distances]
    )
    metrics = {name: float(value[0]) for name, value in step.metrics.items()}
    assert metrics == pytest.approx({"collisions": 1, "landmarks_covered": 1, "landmark_distance": distances})


def test_starts_are_uniform_and_at_rest() -> None:
    ours = SimpleSpread(SimpleSpread.Parameters(), 4000, CPU)
    ours.reset(row_keys([0], 0, 4000, CPU))
    packed = ours.memory["packed"]
    assert bool((packed[:, :6] == 0).all())
    placed = packed[:, 6:]
    assert bool((placed.abs() <= 1).all())
    error = 4 * math.sqrt(1 / 3 / 4000)
    assert bool((placed.mean(0).abs() < error).all())
    assert bool((placed.var(0) - 1 / 3).abs().max() < 0.03)


coordinate = st.integers(-400, 400).map(lambda thousandths: thousandths / 1000)
scene = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=3, unique=True)
plays = st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=8)


def roll(agents: Tensor, landmarks: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and velocities [step, agent, 4] and rewards [step, agent] of one row."""
    ours = SimpleSpread(SimpleSpread.Parameters(), 1, CPU)
    ours.reset(row_keys([0], 0, 1, CPU))
    place(ours, agents.unsqueeze(0), landmarks.unsqueeze(0))
    steps = [ours.step(action.unsqueeze(0)) for action in actions]
    return (
        torch.stack([step.final_observation[0, :, :4] for step in steps]),
        torch.stack([step.reward[0] for step in steps]),
    )


def apart(agents: Tensor) -> bool:
    """Whether no two centres are so near that the direction of their contact is ill-conditioned."""
    return bool((torch.pdist(agents) > 0.02).all())


@settings(max_examples=40, deadline=None)
@given(scene, scene, plays, st.permutations(range(3)))
def test_renaming_agents_renames_their_trajectories(
    agents: list[tuple[float, float]],
    landmarks: list[tuple[float, float]],
    actions: list[list[int]],
    order: list[int],
) -> None:
    start, goals, play = torch.tensor(agents), torch.tensor(landmarks), torch.tensor(actions)
    if not apart(start):
        return
    moved, reward = roll(start, goals, play)
    moved_again, reward_again = roll(start[order], goals, play[:, order])
    torch.testing.assert_close(moved_again, moved[:, order], rtol=0, atol=1e-5)
    torch.testing.assert_close(reward_again, reward[:, order], rtol=0, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(scene, scene, plays, st.integers(0, 1))
def test_a_mirrored_scene_has_the_mirrored_trajectory(
    agents: list[tuple[float, float]],
    landmarks: list[tuple[float, float]],
    actions: list[list[int]],
    axis: int,
) -> None:
    start, goals, play = torch.tensor(agents), torch.tensor(landmarks), torch.tensor(actions)
    if not apart(start):
        return
    reflection = torch.ones(2)
    reflection[axis] = -1
    swapped = torch.tensor([[0, RIGHT, LEFT, DOWN, UP], [0, LEFT, RIGHT, UP, DOWN]])[axis]
    moved, reward = roll(start, goals, play)
    moved_again, reward_again = roll(start * reflection, goals * reflection, swapped[play])
    torch.testing.assert_close(moved_again, moved * reflection.repeat(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(reward_again, reward, rtol=0, atol=1e-5)


def test_contacts_keep_the_momentum() -> None:
    world = ParticleWorld([0.1, 0.2, 0.3], 2, 50, CPU)
    generator = torch.Generator().manual_seed(0)
    world.load(torch.rand(50, world.quantities, generator=generator, dtype=torch.float64) * 0.6)
    before = world.packed[:6].view(2, 3, 50).sum(1)
    touching = bool((world.agent_distance < world.contact_distance).any())
    world.move(torch.zeros(50, 3, 2, dtype=torch.float64))
    after = world.packed[:6].view(2, 3, 50).sum(1)
    assert touching
    torch.testing.assert_close(after, 0.75 * before, rtol=0, atol=1e-9)


def test_radii_differ_between_agents() -> None:
    world = ParticleWorld([0.1, 0.2, 0.3], 0, 1, CPU)
    assert dict(zip(world.pairs, world.contact_distance[:, 0].tolist(), strict=True)) == pytest.approx(
        {(0, 1): 0.3, (0, 2): 0.4, (1, 2): 0.5}
    )


def test_in_the_original_world_a_force_moves_at_once() -> None:
    """openai/multiagent-particle-envs, core.py [code]: first the velocity, then the position with it."""
    ours = SimpleSpread(SimpleSpread.Parameters(agents=2, physics="original"), 1, CPU)
    ours.reset(row_keys([0], 0, 1, CPU))
    positions, velocities = np.array([[0.0, 0.0], [0.25, 0.1]]), np.zeros((2, 2))
    place(ours, torch.from_numpy(positions).unsqueeze(0), torch.ones(1, 2, 2))
    forces = np.array([[0, 0], [-5, 0], [5, 0], [0, -5], [0, 5]], dtype=float)
    touched = False
    for actions in ([RIGHT, LEFT], [RIGHT, 0], [UP, DOWN], [0, LEFT], [LEFT, RIGHT]):
        apart = positions[0] - positions[1]
        distance = float(np.hypot(*apart))
        touched = touched or distance < 0.3
        contact = 100.0 * 1e-3 * np.logaddexp(0.0, (0.3 - distance) / 1e-3) * apart / distance
        velocities = 0.75 * velocities + 0.1 * (forces[actions] + np.stack([contact, -contact]))
        positions = positions + 0.1 * velocities
        step = ours.step(torch.tensor([actions]))
        shown = step.final_observation[0, :, :4].numpy()
        np.testing.assert_allclose(shown, np.concatenate([velocities, positions], 1), rtol=0, atol=1e-5)
    assert touched
