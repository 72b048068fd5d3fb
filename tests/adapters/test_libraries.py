"""Each package beside direct use of it: observations, rewards, ends and masks, step for step and bit for bit."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from marlbench.adapters.gymnasium import LevelBasedForaging, RegisteredParameters, RoboticWarehouse
from marlbench.adapters.pettingzoo import PettingZooEnvironment, PettingZooParameters
from marlbench.adapters.worked import WorkedEnvironment
from marlbench.environments.contract import Continuous, Step
from marlbench.environments.keys import derive, row_keys
from marlbench.errors import ConfigurationError

CPU = torch.device("cpu")
KEY = row_keys([0], 0, 1, CPU)
Seen = Callable[[Any], Any]

MPE = [
    *(f"simple{kind}_v3" for kind in ("", "_adversary", "_crypto", "_push", "_reference", "_spread", "_tag")),
    "simple_world_comm_v3",
    "simple_speaker_listener_v4",
]


def seed(episode: int) -> int:
    return int(derive(KEY[0], episode) >> 33) & (2**31 - 1)


def draw(environment: WorkedEnvironment, step: Step, generator: torch.Generator) -> torch.Tensor:
    """Random actions that are available, for everyone."""
    space = environment.specification.action
    if isinstance(space, Continuous):
        drawn = torch.rand(1, len(environment.specification.agents), space.size, generator=generator)
        return space.low + (space.high - space.low) * drawn
    draws = torch.rand(step.available_actions.shape, generator=generator)
    return draws.masked_fill(~step.available_actions, -1).argmax(2)


def given(space: Any, action: torch.Tensor) -> Any:
    """An action as the package has it, where its actions are the common ones."""
    if hasattr(space, "n"):
        return int(action) + int(space.start)
    return action[: space.shape[0]].numpy()


def flat(observation: Any) -> Any:
    return np.ravel(np.asarray(observation, np.float32))


def picture(width: float) -> Seen:
    """A picture [height, width, channel] as the adapter tells it."""
    return lambda observation: np.ravel(
        np.transpose(np.asarray(observation, np.float32), (2, 0, 1)) / np.float32(width)
    )


def assert_seen(
    shown: torch.Tensor, environment: WorkedEnvironment, seen: dict[str, Any], tell: Seen
) -> None:
    for index, name in enumerate(environment.specification.agents):
        if name in seen:
            expected = tell(seen[name])
            np.testing.assert_array_equal(shown[0, index, : len(expected)].numpy(), expected, err_msg=name)


def play_parallel(package: str, kwargs: dict[str, Any], tell: Seen, steps: int) -> tuple[int, bool]:
    """Episodes that ended, and whether an agent left one before the others."""
    module = pytest.importorskip(package)
    ours = PettingZooEnvironment(PettingZooParameters(package=package, kwargs=kwargs, workers=0), 1, CPU)
    theirs = module.parallel_env(**kwargs)
    generator = torch.Generator().manual_seed(0)
    agents = ours.specification.agents
    episode, left = 0, False
    try:
        step = ours.reset(KEY)
        seen, _ = theirs.reset(seed=seed(0))
        for _ in range(steps):
            assert_seen(step.observation, ours, seen, tell)
            acting = theirs.agents[:]
            assert [name for name, acts in zip(agents, step.acting[0], strict=True) if acts] == acting
            action = draw(ours, step, generator)
            chosen = {
                name: given(theirs.action_space(name), action[0, agents.index(name)]) for name in acting
            }
            seen, rewards, terminated, truncated, _ = theirs.step(chosen)
            step = ours.step(action)
            for index, name in enumerate(agents):
                acted = name in acting
                assert step.reward[0, index] == np.float32(rewards[name] if acted else 0)
                assert bool(step.terminated[0, index]) == (acted and bool(terminated[name]))
                cut = acted and not terminated[name] and (bool(truncated[name]) or name not in theirs.agents)
                assert bool(step.truncated[0, index]) == cut
            assert step.any_ended == (not theirs.agents)
            assert_seen(step.final_observation, ours, {n: o for n, o in seen.items() if n in acting}, tell)
            left |= 0 < len(theirs.agents) < len(acting)
            if step.any_ended:
                episode += 1
                seen, _ = theirs.reset(seed=seed(episode))
    finally:
        ours.close()
        theirs.close()
    return episode, left


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("task", MPE)
def test_every_task_of_mpe2(task: str, continuous: bool) -> None:
    kwargs = {"max_cycles": 4, "continuous_actions": continuous}
    assert play_parallel(f"mpe2.{task}", kwargs, flat, 9) == (2, False)


@pytest.mark.parametrize(
    ("package", "kwargs", "tell", "steps"),
    [
        ("pettingzoo.sisl.pursuit_v5", {"max_cycles": 6}, picture(30), 14),
        ("pettingzoo.sisl.multiwalker_v9", {"max_cycles": 15, "terminate_on_fall": False}, flat, 40),
        ("pettingzoo.butterfly.knights_archers_zombies_v11", {"spawn_delay": 1}, flat, 300),
        ("magent2.environments.battle_v4", {"map_size": 12, "max_cycles": 8}, picture(2), 20),
        ("magent2.environments.combined_arms_v6", {"map_size": 16, "max_cycles": 8}, picture(2), 20),
    ],
)
def test_parallel_tasks_of_others(package: str, kwargs: dict[str, Any], tell: Seen, steps: int) -> None:
    pytest.importorskip(
        "Box2D" if "multiwalker" in package else "pymunk" if "zombies" in package else "numpy"
    )
    episodes, _ = play_parallel(package, kwargs, tell, steps)
    assert episodes >= 1


@pytest.mark.parametrize("package", ["pettingzoo.classic.tictactoe_v3", "pettingzoo.classic.connect_four_v3"])
def test_games_in_turns(package: str) -> None:
    pytest.importorskip("pygame")
    ours = PettingZooEnvironment(PettingZooParameters(package=package, workers=0), 1, CPU)
    theirs = importlib.import_module(package).env()
    generator = torch.Generator().manual_seed(0)
    agents, tell = ours.specification.agents, picture(1)
    step, episode = ours.reset(KEY), 0
    theirs.reset(seed=seed(0))
    for _ in range(60):
        turn = theirs.agent_selection
        assert [name for name, acts in zip(agents, step.acting[0], strict=True) if acts] == [turn]
        seen = {name: theirs.observe(name) for name in agents}
        assert_seen(step.observation, ours, {n: o["observation"] for n, o in seen.items()}, tell)
        index = agents.index(turn)
        assert step.available_actions[0, index].tolist() == seen[turn]["action_mask"].astype(bool).tolist()
        action = draw(ours, step, generator)
        theirs.step(int(action[0, index]))
        step = ours.step(action)
        assert step.reward[0].tolist() == [theirs.rewards[name] for name in agents]
        assert step.terminated[0].tolist() == [theirs.terminations[name] for name in agents]
        assert step.any_ended == all(theirs.terminations.values())
        if step.any_ended:
            last = {name: theirs.observe(name)["observation"] for name in agents}
            assert_seen(step.final_observation, ours, last, tell)
            episode += 1
            theirs.reset(seed=seed(episode))
    assert episode >= 2
    ours.close()


@pytest.mark.parametrize(
    ("kind", "name", "kwargs", "tell"),
    [
        (LevelBasedForaging, "Foraging-8x8-2p-3f-v3", {"max_episode_steps": 7}, flat),
        (LevelBasedForaging, "Foraging-5x5-2p-1f-v3", {}, flat),
        (RoboticWarehouse, "rware-tiny-2ag-v2", {"max_steps": 7}, flat),
        (RoboticWarehouse, "rware-tiny-3ag-v2", {"max_steps": 7, "msg_bits": 1}, flat),
        (RoboticWarehouse, "rware-tiny-2ag-v2", {"max_steps": 7, "observation_type": "IMAGE"}, flat),
    ],
)
def test_registered_environments(kind: Any, name: str, kwargs: dict[str, Any], tell: Seen) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    package = pytest.importorskip(kind.package)
    ours = kind(RegisteredParameters(id=name, kwargs=kwargs, workers=0), 1, CPU)
    if "observation_type" in kwargs:
        kwargs = {**kwargs, "observation_type": package.ObservationType[kwargs["observation_type"]]}
        assert ours.specification.image is not None

    def fresh() -> Any:
        """Level-based foraging remembers where agents stood, so every episode gets an object of its own."""
        return gymnasium.make(name, disable_env_checker=True, **kwargs)

    theirs = fresh()
    generator = torch.Generator().manual_seed(0)
    agents = ours.specification.agents
    step, episode = ours.reset(KEY), 0
    seen, _ = theirs.reset(seed=seed(0))
    for _ in range(120):
        assert_seen(step.observation, ours, dict(zip(agents, seen, strict=True)), tell)
        action = draw(ours, step, generator)
        parts = theirs.action_space[0]
        chosen = [
            int(index) if hasattr(parts, "n") else list(np.unravel_index(int(index), parts.nvec))
            for index in action[0]
        ]
        seen, rewards, done, cut, _ = theirs.step(chosen)
        step = ours.step(action)
        assert step.reward[0].tolist() == [np.float32(reward) for reward in rewards]
        assert step.any_ended == (done or cut)
        if done or cut:
            # gymnasium takes max_episode_steps for itself and cuts; the packages call their own limits done.
            left = cut or kind is RoboticWarehouse or theirs.unwrapped.field.sum() > 0
            assert step.truncated[0].tolist() == [left] * len(agents)
            assert step.terminated[0].tolist() == [not left] * len(agents)
            assert_seen(step.final_observation, ours, dict(zip(agents, seen, strict=True)), tell)
            episode += 1
            theirs = fresh()
            seen, _ = theirs.reset(seed=seed(episode))
    assert episode >= 2
    ours.close()


@pytest.mark.parametrize(
    ("kind", "parameters", "words"),
    [
        (LevelBasedForaging, {"id": "Foraging-8x8-2p-3f-v9"}, "no environment is registered"),
        (LevelBasedForaging, {"id": "CartPole-v1"}, "is not an environment of several agents"),
        (LevelBasedForaging, {"id": "Foraging-8x8-2p-3f-v3", "kwargs": {"speed": 1}}, "failed: TypeError"),
        (RoboticWarehouse, {"id": "rware-tiny-2ag-v2", "kwargs": {"reward_type": "ALL"}}, "'ALL'"),
    ],
)
def test_registered_names_and_arguments_that_are_wrong(
    kind: Any, parameters: dict[str, Any], words: str
) -> None:
    pytest.importorskip(kind.package)
    with pytest.raises(ConfigurationError, match=words):
        kind(RegisteredParameters(**parameters, workers=0), 1, CPU)
