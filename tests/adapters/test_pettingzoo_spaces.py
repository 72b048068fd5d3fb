"""The PettingZoo adapter: observations and actions of every kind of space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from marlbench.adapters.workers import SimulatorFailure
from marlbench.environments.contract import Continuous, Discrete
from marlbench.errors import ConfigurationError

from .support import Make, keys, same, seed


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


def test_continuous_actions_are_kept_in_their_range(make: Make) -> None:
    environment = make("ContinuousActions", rows=1)
    assert environment.specification.action == Continuous(2, -2.0, 2.0)
    environment.reset(keys(1))
    step = environment.step(torch.tensor([[[0.5, 1.0], [-5.0, 5.0]]]))
    assert step.reward.tolist() == [[10.5, 18.0]]


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
