"""The PettingZoo adapter: what packages show arrives unchanged."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from marlbench.adapters.pettingzoo import PettingZooEnvironment, PettingZooParameters
from marlbench.environments.contract import Discrete
from marlbench.errors import ConfigurationError

from .support import Make, keys, same, seed


@pytest.mark.parametrize("workers", [0, 2])
def test_seeds_steps_agents_and_actions_arrive(make: Make, workers: int) -> None:
    environment = make(rows=5, workers=workers)
    assert environment.specification.agents == ("player_0", "player_1")
    assert environment.specification.action == Discrete(3)
    step = environment.reset(keys(5))
    generator = torch.Generator().manual_seed(0)
    for time in range(1, 10):
        before, episode = step.observation.clone(), (time - 1) // 4
        expected = [
            [[seed(key, episode) % 1000, (time - 1) % 4, agent] for agent in range(2)] for key in keys(5)
        ]
        assert before.tolist() == expected
        action = torch.randint(3, (5, 2), generator=generator)
        step = environment.step(action)
        assert torch.equal(step.reward, action.to(torch.float32))
        assert step.any_ended == (time % 4 == 0)
        assert bool((step.truncated == step.any_ended).all())
        assert not bool(step.terminated.any())
        final = [
            [[seed(key, episode) % 1000, (time - 1) % 4 + 1, agent] for agent in range(2)] for key in keys(5)
        ]
        assert step.final_observation.tolist() == final
        assert torch.equal(step.state, step.observation.flatten(1))


@pytest.mark.parametrize("workers", [0, 1])
def test_agents_that_leave_are_terminated_and_do_not_act(make: Make, workers: int) -> None:
    environment = make("Leaving", rows=2, arguments={"agents": 3}, fixed_agents=False, workers=workers)
    assert environment.specification.skips_steps
    step = environment.reset(keys(2))
    assert bool(step.acting.all())
    acting, terminated, truncated = [], [], []
    for _ in range(4):
        action = step.available_actions.to(torch.int64).cumsum(2).argmax(2)
        step = environment.step(action)
        acting.append(step.acting[0].tolist())
        terminated.append(step.terminated[0].tolist())
        truncated.append(step.truncated[0].tolist())
        if not step.any_ended:
            assert step.available_actions[~step.acting].tolist() == [[True, False, False]] * int(
                (~step.acting).sum()
            )
            assert bool((step.reward[~step.acting & ~step.terminated] == 0).all())
    assert acting == [[False, True, True], [False, False, True], [False, False, True], [True, True, True]]
    assert terminated == [[True, False, False], [False, True, False], [False] * 3, [False] * 3]
    assert truncated == [[False] * 3, [False] * 3, [False] * 3, [False, False, True]]
    assert step.ended.tolist() == [True, True]
    assert bool(step.available_actions.all())


def test_agents_that_are_absent_or_vanish(make: Make) -> None:
    environment = make("Vanishing", rows=1, fixed_agents=False, action_masks=True)
    step = environment.reset(keys(1))
    assert step.acting.tolist() == [[False, True]]
    assert step.observation[0, 0].tolist() == [0, 0, 0]
    assert step.available_actions[0].tolist() == [[True, False, False], [True] * 3]
    for _ in range(4):
        step = environment.step(same(1, 2))
    assert step.truncated.tolist() == [[False, True]]
    assert step.acting.tolist() == [[True, True]]
    environment.step(same(1, 2))
    step = environment.step(same(1, 2))
    assert step.truncated.tolist() == [[True, False]]
    assert step.acting.tolist() == [[False, True]]
    assert not step.any_ended


def test_the_packages_own_state(make: Make) -> None:
    environment = make("Stateful", rows=2, state="environment")
    assert environment.specification.state_size == 2
    step = environment.reset(keys(2))
    assert step.state.tolist() == [[0, -1]] * 2
    for _ in range(4):
        step = environment.step(same(2, 2))
    assert step.state.tolist() == [[0, -1]] * 2
    assert step.final_state.tolist() == [[4, -1]] * 2


def test_an_episode_limit_truncates(make: Make) -> None:
    environment = make("Endless", rows=2, episode_limit=3)
    environment.reset(keys(2))
    steps = [environment.step(same(2, 2)) for _ in range(6)]
    assert [step.any_ended for step in steps] == [False, False, True] * 2
    assert bool(steps[2].truncated.all())
    assert not bool(steps[2].terminated.any())


@pytest.mark.parametrize("workers", [0, 2])
def test_replay_resumes_in_the_middle_of_an_episode(make: Make, workers: int) -> None:
    first = make(rows=3, workers=workers, replay=True)
    second = make(rows=3, workers=workers, replay=True)
    assert first.resume == "exact"
    first.reset(keys())
    for action in (1, 2, 0, 1, 2, 1):
        first.step(same(3, 2, action))
    shown = second.load_state_dict(first.state_dict())
    assert shown.observation[:, :, 1].tolist() == [[2, 2]] * 3
    for _ in range(5):
        one, two = first.step(same(3, 2, 1)), second.step(same(3, 2, 1))
        assert torch.equal(one.observation, two.observation)
        assert torch.equal(one.truncated, two.truncated)


def test_replay_refuses_a_package_that_draws_without_its_seed(make: Make) -> None:
    environment = make("Drawing", replay=True)
    environment.reset(keys())
    environment.step(same(3, 2))
    with pytest.raises(ConfigurationError, match="row 0 of dummy_tasks did not come back") as raised:
        environment.load_state_dict(environment.state_dict())
    assert "replay: false" in raised.value.hint


def test_without_replay_rows_resume_with_fresh_episodes(make: Make) -> None:
    environment = make()
    assert environment.resume == "episode"
    environment.reset(keys())
    environment.step(same(3, 2))
    step = environment.load_state_dict(environment.state_dict())
    assert step.observation[:, 0].tolist() == [[seed(key, 1) % 1000, 0, 0] for key in keys()]


@pytest.mark.parametrize("workers", [0, 1])
def test_rows_are_drawn(make: Make, workers: int) -> None:
    environment = make("Drawn", rows=3, workers=workers)
    environment.reset(keys())
    expected = [seed(key, 0) % 100 for key in keys()]
    for time in range(3):
        picture = environment.render(1)
        assert (picture.shape, picture.dtype) == ((4, 6, 3), np.uint8)
        assert picture[0, 0].tolist() == [expected[1], time, 7]
        step = environment.step(same(3, 2))
        assert step.observation[1, 0].tolist() == [seed(keys()[1], 0) % 1000, time + 1, 0]
    with pytest.raises(ConfigurationError, match="not asked for pictures when its episode began"):
        environment.render(2)


def test_rows_that_are_played_again_are_drawn_at_any_time(make: Make) -> None:
    environment = make("Drawn", rows=2, replay=True)
    environment.reset(keys(2))
    environment.step(same(2, 2))
    assert environment.render(1)[0, 0].tolist() == [seed(keys(2)[1], 0) % 100, 1, 7]


def test_the_version_is_the_distributions(make: Make) -> None:
    version = PettingZooEnvironment.simulator_version(PettingZooParameters(package="pettingzoo.classic.x"))
    assert version == f"pettingzoo {__import__('importlib.metadata').metadata.version('pettingzoo')}"
    assert PettingZooEnvironment.simulator_version(PettingZooParameters(package="dummy_tasks")) == (
        "dummy_tasks, unversioned"
    )
    with pytest.raises(ConfigurationError, match="'no_such_package' is not installed"):
        PettingZooEnvironment.simulator_version(PettingZooParameters(package="no_such_package.game"))


def test_agents_are_fixed_only_where_that_is_known() -> None:
    assert PettingZooParameters(package="mpe2.simple_v3").fixed_agents is True
    assert PettingZooParameters(package="dummy_tasks").fixed_agents is False
    assert PettingZooParameters(package="dummy_tasks", fixed_agents=True).fixed_agents is True


def test_workers_are_at_most_the_rows_and_by_default_the_cores(make: Make) -> None:
    assert len(make(rows=2, workers=9).workers.process_ids) == 2
    assert len(make(rows=64, workers=None).workers.process_ids) == len(psutil.Process().cpu_affinity())


def test_workers_never_import_torch(make: Make) -> None:
    make(workers=1)
    code = "import sys, marlbench.adapters.worker as w; assert not {'torch', 'numba', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("package", "kwargs"),
    [
        ("mpe2.simple_spread_v3", {}),
        ("mpe2.simple_tag_v3", {}),
        ("mpe2.simple_speaker_listener_v4", {}),
        ("mpe2.simple_spread_v3", {"continuous_actions": True}),
    ],
)
def test_mpe2_is_played_as_its_own_parallel_env_plays(
    make: Make, package: str, kwargs: dict[str, Any]
) -> None:
    """Two whole episodes and more: the shortcut around the wrappers must not show."""
    module = pytest.importorskip(package, reason="mpe2 is not installed (extra `mpe`)")
    ours = make(rows=1, package=package, kwargs={**kwargs, "max_cycles": 6}, state="environment")
    theirs = module.parallel_env(**kwargs, max_cycles=6)
    generator = torch.Generator().manual_seed(0)
    step = ours.reset(keys(1))
    for episode in range(3):
        observation, _ = theirs.reset(seed=seed(keys(1)[0], episode))
        for _ in range(6):
            for index, name in enumerate(ours.specification.agents):
                size = len(observation[name])
                np.testing.assert_array_equal(step.observation[0, index, :size].numpy(), observation[name])
            np.testing.assert_array_equal(step.state[0].numpy(), theirs.state())
            if kwargs:
                action = torch.rand(1, len(ours.specification.agents), 5, generator=generator)
                chosen = {name: action[0, i].numpy() for i, name in enumerate(theirs.agents)}
            else:
                draws = torch.rand(step.available_actions.shape, generator=generator)
                action = draws.masked_fill(~step.available_actions, -1).argmax(2)
                chosen = {name: int(action[0, i]) for i, name in enumerate(theirs.agents)}
            names = theirs.agents[:]
            observation, reward, terminated, truncated, _ = theirs.step(chosen)
            step = ours.step(action)
            assert step.reward[0].tolist() == [np.float32(reward[name]) for name in names]
            assert step.terminated[0].tolist() == [terminated[name] for name in names]
            assert step.truncated[0].tolist() == [truncated[name] for name in names]
        assert step.any_ended
        for index, name in enumerate(ours.specification.agents):
            size = len(observation[name])
            np.testing.assert_array_equal(step.final_observation[0, index, :size].numpy(), observation[name])
