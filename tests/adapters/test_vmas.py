"""VMAS beside direct use of it, bit for bit; rows that begin anew and those that do not; resuming."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("vmas")

from marlbench.adapters.random_stream import common_seed
from marlbench.adapters.vmas import VmasEnvironment, VmasParameters
from marlbench.environments.contract import Continuous, Discrete, Step
from marlbench.environments.keys import row_keys
from marlbench.errors import ConfigurationError

CPU = torch.device("cpu")
ROWS = 4
KEYS = row_keys([0], 0, ROWS, CPU)
# A shaped reward, discrete actions, agents that differ and talk, rays, agents whose bounds differ by number.
CASES = [
    ("balance", {"n_agents": 2}, True),
    ("simple_tag", {}, False),
    ("simple_speaker_listener", {}, True),
    ("simple_speaker_listener", {}, False),
    ("navigation", {"n_agents": 2}, True),
    ("kinematic_bicycle", {"n_agents": 2}, True),
    ("sampling", {"n_agents": 2}, True),
]


def make(scenario: str, kwargs: dict[str, Any] | None = None, **parameters: Any) -> VmasEnvironment:
    return VmasEnvironment(VmasParameters(scenario=scenario, kwargs=kwargs or {}, **parameters), ROWS, CPU)


def library(scenario: str, kwargs: dict[str, Any], continuous: bool) -> Any:
    import vmas

    return vmas.make_env(scenario, num_envs=ROWS, continuous_actions=continuous, **kwargs)


def draw(environment: VmasEnvironment, generator: torch.Generator) -> torch.Tensor:
    space, agents = environment.specification.action, len(environment.specification.agents)
    if isinstance(space, Continuous):
        drawn = torch.rand(ROWS, agents, space.size, generator=generator)
        return space.low + (space.high - space.low) * drawn
    draws = torch.rand(ROWS, agents, space.count, generator=generator)
    return draws.masked_fill(~environment.reset(KEYS).available_actions, -1).argmax(2)


def told(environment: VmasEnvironment, theirs: Any, action: torch.Tensor) -> list[torch.Tensor]:
    """Our common actions as vmas wants them, by its own spaces."""
    if isinstance(environment.specification.action, Discrete):
        return [action[:, index].clone() for index in range(action.shape[1])]
    parts = []
    for index, space in enumerate(theirs.action_space):
        own = action[:, index, : space.shape[0]].clone()
        if environment._bounds is not None:
            low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)
            own = (low + (own + 1) / 2 * (high - low)).clamp(low, high)
        parts.append(own)
    return parts


def assert_seen(shown: torch.Tensor, seen: list[torch.Tensor], rows: Any = slice(None)) -> None:
    for index, tensor in enumerate(seen):
        assert torch.equal(shown[rows, index, : tensor.shape[1]], tensor[rows])


@pytest.mark.parametrize(("scenario", "kwargs", "continuous"), CASES)
def test_steps_are_the_librarys(scenario: str, kwargs: dict[str, Any], continuous: bool) -> None:
    ours = make(scenario, kwargs, continuous_actions=continuous, episode_limit=None)
    theirs = library(scenario, kwargs, continuous)
    generator = torch.Generator().manual_seed(0)
    actions = [draw(ours, generator) for _ in range(8)]
    step = ours.reset(KEYS)
    assert_seen(step.observation, theirs.reset(seed=common_seed(KEYS)))
    for action in actions:
        seen, rewards, done, _ = theirs.step(told(ours, theirs, action))
        step = ours.step(action)
        assert torch.equal(step.reward, torch.stack([reward.flatten() for reward in rewards], 1))
        assert torch.equal(step.terminated, done.unsqueeze(1).expand_as(step.terminated))
        assert_seen(step.final_observation, seen)
        if bool(done.any()):
            break


def test_episodes_that_reach_their_limit_are_truncated_and_begin_as_the_librarys_do() -> None:
    ours, theirs = (
        make("navigation", {"n_agents": 2}, episode_limit=3),
        library("navigation", {"n_agents": 2}, True),
    )
    generator = torch.Generator().manual_seed(0)
    ours.reset(KEYS)
    theirs.reset(seed=common_seed(KEYS))
    for time in range(1, 7):
        action = draw(ours, generator)
        seen, _, _, _ = theirs.step(told(ours, theirs, action))
        step = ours.step(action)
        assert_seen(step.final_observation, seen)
        assert step.truncated.all() == step.any_ended == (time % 3 == 0)
        assert not bool(step.terminated.any())
        if step.any_ended:
            assert_seen(step.observation, theirs.reset())


@pytest.mark.parametrize(("scenario", "agents"), [("balance", 2), ("sampling", 3), ("navigation", 4)])
def test_where_some_rows_end_only_they_begin_anew(scenario: str, agents: int) -> None:
    """Rows that ended go on as a copy of the library does that began anew; the others as one that did not."""
    kwargs = {"n_agents": agents}
    ours = make(scenario, kwargs, episode_limit=3)
    going_on, anew = library(scenario, kwargs, True), library(scenario, kwargs, True)
    generator = torch.Generator().manual_seed(0)
    ours.reset(KEYS)
    going_on.reset(seed=common_seed(KEYS))
    # So that two rows reach their limit a step before the others.
    ours._elapsed += torch.tensor([0, 1, 0, 1])
    ended = torch.tensor([False, True, False, True])
    for _ in range(2):
        action = draw_continuous(ours, generator)
        seen, _, _, _ = going_on.step(told(ours, going_on, action))
        step = ours.step(action)
    assert torch.equal(step.ended, ended)
    assert torch.equal(step.truncated, ended.unsqueeze(1).expand(-1, agents))
    assert_seen(step.final_observation, seen)
    assert_seen(step.observation, seen, ~ended)
    fresh = anew.reset(seed=common_seed(KEYS))
    assert not torch.equal(fresh[0][ended], step.observation[ended, 0, : fresh[0].shape[1]])
    fresh = anew.reset()
    assert_seen(step.observation, fresh, ended)
    ours._elapsed.zero_()
    for _ in range(2):
        action = draw_continuous(ours, generator)
        parts = told(ours, anew, action)
        seen, paid, _, _ = going_on.step([part.clone() for part in parts])
        fresh, fresh_paid, _, _ = anew.step([part.clone() for part in parts])
        step = ours.step(action)
        assert_seen(step.final_observation, seen, ~ended)
        assert_seen(step.final_observation, fresh, ended)
        assert torch.equal(
            step.reward, torch.where(ended.unsqueeze(1), torch.stack(fresh_paid, 1), torch.stack(paid, 1))
        )


def draw_continuous(environment: VmasEnvironment, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(ROWS, len(environment.specification.agents), 2, generator=generator) * 2 - 1


def check_resuming(scenario: str, kwargs: dict[str, Any], continuous: bool) -> None:
    first, second = (make(scenario, kwargs, continuous_actions=continuous, episode_limit=4) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    actions = [draw(first, generator) for _ in range(11)]
    second.reset(row_keys([9], 0, ROWS, CPU))
    for before in (0, 3, 5):
        step = first.reset(KEYS)
        for action in actions[:before]:
            step = first.step(action)
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        again = second.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(again.observation, step.observation)
        for action in actions[before:]:
            assert_same(first.step(action), second.step(action))


def assert_same(one: Step, other: Step) -> None:
    for name in ("observation", "reward", "terminated", "truncated", "final_observation"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize(("scenario", "kwargs", "continuous"), CASES)
def test_resuming_is_exact(scenario: str, kwargs: dict[str, Any], continuous: bool) -> None:
    check_resuming(scenario, kwargs, continuous)


def scenarios() -> list[str]:
    import vmas

    return sorted([*vmas.scenarios, *vmas.mpe_scenarios, *vmas.debug_scenarios])


@pytest.mark.slow
@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize("scenario", scenarios())
def test_every_scenario(scenario: str, continuous: bool) -> None:
    test_steps_are_the_librarys(scenario, {}, continuous)
    check_resuming(scenario, {}, continuous)


def test_nobody_elses_random_numbers_are_touched() -> None:
    environment = make("balance", {"n_agents": 2}, episode_limit=2)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    environment.reset(KEYS)
    for _ in range(2):
        environment.step(torch.zeros(ROWS, 2, 2))
    assert torch.equal(torch.rand(3), expected)


def test_a_gradient_passes_what_is_shown() -> None:
    """Inside, vmas runs without gradients; a learner must still be able to use what comes out."""
    environment = make("balance", {"n_agents": 2}, episode_limit=2)
    environment.reset(KEYS)
    weight = torch.ones(1, requires_grad=True)
    for _ in range(2):
        step = environment.step(torch.zeros(ROWS, 2, 2))
        shown = (
            step.observation,
            step.reward,
            step.final_observation,
            step.state,
            step.terminated,
            step.ended,
        )
        for tensor in shown:
            (weight * tensor).sum().backward()


@pytest.mark.parametrize(
    ("parameters", "message", "hint"),
    [
        ({"scenario": "balanse"}, "vmas has no scenario 'balanse'", "balance"),
        ({"scenario": "balance", "kwargs": {"n_agents": 1}}, "n_agents=1", "arguments of the scenario"),
    ],
)
def test_what_cannot_be_built_is_told(parameters: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as raised:
        make(**parameters)
    assert hint in raised.value.hint


def test_a_row_is_drawn_or_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = make("balance", {"n_agents": 2})
    environment.reset(KEYS)
    monkeypatch.setattr(
        environment._inner, "render", lambda mode, env_index: [[[1, 2, 3, 255]] * 5] * env_index
    )
    picture = environment.render(2)
    assert (picture.shape, picture.dtype, picture[0, 0].tolist()) == ((2, 5, 3), np.uint8, [1, 2, 3])

    def refuse(**_: Any) -> None:
        raise OSError("no display")

    monkeypatch.setattr(environment._inner, "render", refuse)
    with pytest.raises(ConfigurationError, match="vmas could not draw: OSError: no display") as raised:
        environment.render(0)
    assert "xvfb-run" in raised.value.hint


def test_a_state_of_another_scenario_is_refused() -> None:
    state = make("balance", {"n_agents": 3}).state_dict()
    with pytest.raises(ConfigurationError, match="cannot be restored"):
        make("balance", {"n_agents": 2}).load_state_dict(state)
