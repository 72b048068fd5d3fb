"""The PettingZoo adapter: what packages show arrives unchanged, and what they cannot have is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from marlbench.adapters.pettingzoo import PettingZooEnvironment, PettingZooParameters
from marlbench.adapters.workers import SimulatorFailure
from marlbench.environments.contract import Continuous, Discrete
from marlbench.environments.keys import derive, row_keys
from marlbench.errors import ConfigurationError

CPU = torch.device("cpu")
Make = Callable[..., PettingZooEnvironment]


@pytest.fixture
def make() -> Iterator[Make]:
    built: list[PettingZooEnvironment] = []

    def build(
        kind: str = "Counting", rows: int = 3, arguments: dict[str, Any] | None = None, **parameters: Any
    ) -> PettingZooEnvironment:
        values = {
            "package": "dummy_tasks",
            "kwargs": {"kind": kind, **(arguments or {})},
            "workers": 0,
            **parameters,
        }
        environment = PettingZooEnvironment(PettingZooParameters(**values), rows, CPU)
        built.append(environment)
        return environment

    yield build
    for environment in built:
        environment.close()


def keys(rows: int = 3) -> torch.Tensor:
    return row_keys([0], 0, rows, CPU)


def seed(key: torch.Tensor, episode: int) -> int:
    return int(derive(key, episode) >> 33) & (2**31 - 1)


def same(rows: int, agents: int, action: int = 0) -> torch.Tensor:
    return torch.full((rows, agents), action)


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


def test_different_agents_are_padded_and_told_apart(make: Make) -> None:
    environment = make("Different", rows=1)
    specification = environment.specification
    assert (specification.observation_size, specification.action) == (4 + 2, Discrete(4))
    assert specification.masks_actions
    step = environment.reset(keys(1))
    assert step.available_actions[0].tolist() == [[True, True, False, False], [True] * 4]
    assert step.observation[0].tolist() == [
        [1, 2, 3, 0, 1, 0],
        [seed(keys(1)[0], 0) % 1000, 0, 1, 0, 0, 1],
    ]
    step = environment.step(torch.tensor([[1, 3]]))
    assert step.reward.tolist() == [[2, 3]]  # the package counts the first agent's actions from 1
    for _ in range(3):
        step = environment.step(torch.tensor([[0, 0]]))
    assert step.any_ended
    assert step.final_observation[0].tolist()[0] == [1, 2, 3, 4, 1, 0]
    assert step.observation[0].tolist()[0] == [1, 2, 3, 0, 1, 0]


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


@pytest.mark.parametrize("kind", ["Masked", "MaskedInObservation"])
def test_action_masks_are_respected(make: Make, kind: str) -> None:
    environment = make(kind, rows=1)
    assert environment.specification.masks_actions
    assert environment.specification.observation_size == 3
    step = environment.reset(keys(1))
    for time in range(4):
        assert step.available_actions[0].tolist() == [[True, time % 2 == 1, True]] * 2
        step = environment.step(same(1, 2))
    assert step.final_available_actions[0].tolist() == [[True, False, True]] * 2


def test_a_mask_that_allows_nothing(make: Make) -> None:
    """Packages mask everything where an episode is over; before, nobody could act."""
    environment = make("MaskedForGood", rows=1, arguments={"stuck": 4})
    environment.reset(keys(1))
    for _ in range(4):
        step = environment.step(same(1, 2))
    assert step.any_ended
    assert bool(step.available_actions.all())
    environment = make("MaskedForGood", rows=1, arguments={"stuck": 2})
    environment.reset(keys(1))
    environment.step(same(1, 2))
    with pytest.raises(SimulatorFailure, match="the action mask of player_0 allows nothing"):
        environment.step(same(1, 2))


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


def test_agents_that_join_are_an_error(make: Make) -> None:
    environment = make("Joining", rows=1, fixed_agents=False, action_masks=True)
    environment.reset(keys(1))
    with pytest.raises(SimulatorFailure, match="player_0 joined within an episode"):
        environment.step(same(1, 2))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_package_that_fails_while_it_is_read(make: Make, workers: int) -> None:
    with pytest.raises(SimulatorFailure, match="dummy_tasks failed: NotImplementedError: no spaces here"):
        make("Shapeless", workers=workers)


def test_continuous_actions_are_kept_in_their_range(make: Make) -> None:
    environment = make("ContinuousActions", rows=1)
    assert environment.specification.action == Continuous(2, -2.0, 2.0)
    environment.reset(keys(1))
    step = environment.step(torch.tensor([[[0.5, 1.0], [-5.0, 5.0]]]))
    assert step.reward.tolist() == [[10.5, 18.0]]


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


def test_images_are_scaled_padded_and_turned(make: Make) -> None:
    environment = make("Image", rows=1)
    assert environment.specification.image == (2, 4, 5)
    assert environment.specification.observation_size == 2 * 4 * 5 + 2
    shown = environment.reset(keys(1)).observation[0]
    assert shown[:, -2:].tolist() == [[1, 0], [0, 1]]
    for agent, (height, width, channels) in enumerate([(4, 3, 2), (3, 5, 2)]):
        picture = shown[agent, :-2].reshape(2, 4, 5)
        for channel in range(channels):
            for row in range(4):
                for column in range(5):
                    value = 16 * row + 4 * column + channel
                    inside = row < height and column < width
                    expected = np.float32(value) / np.float32(250) if inside else 0
                    assert picture[channel, row, column] == expected
    step = environment.step(same(1, 2))
    assert step.observation[0, 0, 0] == np.float32(1) / np.float32(250)


def test_the_axis_of_channels_can_be_told(make: Make) -> None:
    assert make("Image", channels="first").specification.image == (4, 5, 2)


def test_what_is_discrete_is_seen_as_one_of_many(make: Make) -> None:
    environment = make("Words", rows=1)
    environment.reset(keys(1))
    shown = environment.step(same(1, 2)).observation[0]
    assert shown.tolist() == [[1, 0, 0, 1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0, 0, 0, 1]]


def test_actions_with_parts_are_enumerated(make: Make) -> None:
    environment = make("ManyActions", rows=1)
    assert environment.specification.action == Discrete(8)
    available = environment.reset(keys(1)).available_actions
    assert available.sum(2).tolist() == [[6, 8]]
    told = [environment.step(torch.tensor([[index, index]])).reward[0].tolist() for index in range(6)]
    assert told == [[0, 0], [1, 1], [2, 10], [10, 11], [11, 100], [12, 101]]


def test_masks_of_parts_are_joined(make: Make) -> None:
    step = make("ManyActions", rows=1, arguments={"masked": True}).reset(keys(1))
    assert step.available_actions[0].nonzero().tolist() == [[0, 0], [0, 2], [1, 0]]


def test_actions_of_different_sizes_and_bounds_are_told_in_one_space(make: Make) -> None:
    environment = make("UnevenActions", rows=1)
    assert environment.specification.action == Continuous(3, -1.0, 1.0)
    environment.reset(keys(1))
    step = environment.step(torch.tensor([[[0.0, 0.5, 9.0], [-1.0, 0.5, 1.0]]]))
    assert step.reward.tolist() == [[0 + 100 * 7.5, -3 + 100 * 3 + 10000 * 5]]


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


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("Counting", {}, "unexpected keyword argument 'render_mode'"),
        ("Drawn", {"differs": True}, "cannot be drawn: after the same reset"),
        ("Drawn", {"render_mode": None}, "draws no picture"),
    ],
)
def test_what_cannot_be_drawn_is_told(make: Make, kind: str, arguments: dict[str, Any], message: str) -> None:
    environment = make(kind, arguments=arguments)
    environment.reset(keys())
    with pytest.raises(ConfigurationError, match=message):
        environment.render(0)


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("Lists", {}, ("observation space of player_0", "Sequence(", "of a fixed size")),
        ("ManyActions", {"parts": [70, 70]}, ("action space of player_0", "at most 4096", "these are 4900")),
        ("MixedActions", {}, ("action space of player_0", "others have Box, Discrete")),
        ("UnboundedActions", {}, ("action space of player_0", "finite in its bounds")),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_spaces_that_no_learner_could_use_are_refused(
    make: Make, kind: str, arguments: dict[str, Any], words: tuple[str, ...], workers: int
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        make(kind, arguments=arguments, workers=workers)
    for word in words:
        assert word in str(raised.value)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("parameters", "message", "hint"),
    [
        ({"package": "no_such_package_anywhere"}, "does not import", "mpe2"),
        ({"package": "json"}, "'json' has no parallel_env, env or raw_env", "PettingZoo"),
        (
            {"arguments": {"speed": 3}},
            r"parallel_env\(kind='Counting', speed=3\) failed: TypeError",
            "kwargs",
        ),
        ({"state": "environment"}, "has no state of its own", "observations"),
    ],
)
def test_what_cannot_be_built_is_told(
    make: Make, parameters: dict[str, Any], message: str, hint: str
) -> None:
    for workers in (0, 1):
        with pytest.raises(ConfigurationError, match=message) as raised:
            make(workers=workers, **parameters)
        assert hint in raised.value.hint


@pytest.mark.parametrize(
    ("kind", "message", "hint"),
    [
        ("Leaving", "left at step 1, while others act", "fixed_agents: false"),
        ("Vanishing", "is missing after reset", "fixed_agents: false"),
        ("MaskedLater", "masks an action of player_0 at step 1", "action_masks: true"),
    ],
)
def test_broken_promises_are_told(make: Make, kind: str, message: str, hint: str) -> None:
    environment = make(kind, fixed_agents=True)

    def play() -> None:
        environment.reset(keys())
        environment.step(same(3, 2))

    with pytest.raises(ConfigurationError, match=message) as raised:
        play()
    assert hint in raised.value.hint


def test_the_version_is_the_distributions(make: Make) -> None:
    version = PettingZooEnvironment.simulator_version(PettingZooParameters(package="pettingzoo.classic.x"))
    assert version == f"pettingzoo {__import__('importlib.metadata').metadata.version('pettingzoo')}"
    assert PettingZooEnvironment.simulator_version(PettingZooParameters(package="dummy_tasks")) == (
        "dummy_tasks, unversioned"
    )
    with pytest.raises(ConfigurationError, match="'no_such_package' is not installed"):
        PettingZooEnvironment.simulator_version(PettingZooParameters(package="no_such_package.game"))


@pytest.mark.parametrize("package", ["", "a b", "../x", "a.", "os;x"])
def test_packages_have_dotted_names(package: str) -> None:
    with pytest.raises(ValueError, match="should match pattern"):
        PettingZooParameters(package=package)


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
