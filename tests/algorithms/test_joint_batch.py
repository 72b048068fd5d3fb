"""Transitions and sequences of the team as joint critics learn from them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from marlbench.algorithms.joint_batch import JointBatches, TeamReward
from marlbench.environments.contract import Continuous, Discrete, EnvironmentSpecification
from marlbench.training.sequences import Sequences

SPECIFICATION = EnvironmentSpecification(("a", "b"), 3, 4, Discrete(5))


def transitions(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    """Four transitions of one member: in the second agent 0 terminates, with the third the episode is over."""
    numbers = torch.arange(24.0).view(1, 4, 2, 3)
    found = {
        "observation": numbers,
        "following_observation": numbers + 100.0,
        "state": numbers[:, :, 0, :1].expand(1, 4, 4),
        "following_state": numbers[:, :, 0, :1].expand(1, 4, 4) + 100.0,
        "reward": torch.tensor([1.0, 3.0]).expand(1, 4, 2),
        "terminated": torch.tensor([[[False, False], [True, False], [False, False], [False, False]]]),
        "over": torch.tensor([[False, False, True, False]]),
        "action": torch.tensor([[[0, 4], [1, 3], [2, 2], [3, 1]]]),
    }
    return {**found, **changed}


def batches(found: Any, team_reward: TeamReward = None, **options: Any) -> JointBatches:
    """Over a replay that holds just this."""
    sequence = found.final.shape[1] if isinstance(found, Sequences) else None
    replay = SimpleNamespace(
        keep=SimpleNamespace(sequence=sequence),
        replay=SimpleNamespace(draw=lambda generators, count: None),
        transitions=lambda drawn: found,
        sequences=lambda drawn: found,
    )
    given = {
        "specification": SPECIFICATION,
        "critic_input": "state",
        "discount": 0.9,
        "burn_in": 0,
        **options,
    }
    return JointBatches(experience=replay, team_reward=team_reward, **given)  # type: ignore[arg-type]


def test_every_agent_has_its_own_reward_and_end() -> None:
    batch = batches(transitions()).sample([], 4)
    assert torch.equal(batch.reward[0, 0], torch.tensor([1.0, 3.0]))
    expected = torch.tensor([[0.9, 0.9], [0.0, 0.9], [0.0, 0.0], [0.9, 0.9]])
    torch.testing.assert_close(batch.discount[0], expected)
    assert batch.action.shape == (1, 4, 2, 5)
    assert batch.action.argmax(-1).tolist() == [[[0, 4], [1, 3], [2, 2], [3, 1]]]
    assert batch.weight is None
    assert batch.decides is None


@pytest.mark.parametrize(("team_reward", "paid"), [("mean", 2.0), ("sum", 4.0)])
def test_the_team_goes_on_without_the_dead(team_reward: TeamReward, paid: float) -> None:
    batch = batches(transitions(), team_reward).sample([], 4)
    assert torch.equal(batch.reward, torch.full((1, 4, 2), paid))
    expected = torch.tensor([[0.9, 0.9], [0.9, 0.9], [0.0, 0.0], [0.9, 0.9]])
    torch.testing.assert_close(batch.discount[0], expected)


def test_x_is_the_state_or_all_observations() -> None:
    found = transitions()
    assert torch.equal(batches(found).sample([], 4).following.joint, found["following_state"])
    batch = batches(found, critic_input="observations").sample([], 4)
    assert torch.equal(batch.now.joint, found["observation"].view(1, 4, 6))


def test_actions_in_a_box_are_normalised() -> None:
    box = EnvironmentSpecification(("a", "b"), 3, 4, Continuous(1, low=-1.0, high=3.0))
    found = transitions(action=torch.tensor([[[[-1.0], [3.0]]] * 4]))
    batch = batches(found, specification=box).sample([], 4)
    assert torch.equal(batch.action[0, 0], torch.tensor([[-1.0], [1.0]]))


def test_who_does_not_act_decides_nothing() -> None:
    acting = torch.tensor([[[True, False], [True, True], [False, True], [True, True]]])
    valid = torch.tensor([[[True, True], [False, False], [True, True], [True, True]]])
    found = transitions(acting=acting, following_acting=acting, valid=valid)
    batch = batches(found).sample([], 4)
    assert batch.decides is not None
    assert batch.decides[0].tolist() == [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    assert torch.equal(batch.weight, valid.float())


def sequences(length: int = 6, **changed: torch.Tensor) -> Sequences:
    """One row: its episode is cut with element 2, element 3 is what it showed last, a new episode begins at 4."""
    numbers = torch.arange(1.0 * length).view(1, length, 1, 1, 1)
    flags = torch.zeros(1, length, 1, dtype=torch.bool)
    final, cut, fresh = flags.clone(), flags.clone(), flags.clone()
    cut[:, 2], final[:, 3], fresh[:, 4] = True, True, True
    fields = {
        "observation": numbers.expand(1, length, 1, 2, 3),
        "state": numbers[..., 0].expand(1, length, 1, 4),
        "reward": torch.ones(1, length, 1, 2),
        "terminated": torch.zeros(1, length, 1, 2, dtype=torch.bool),
        "over": flags,
        "action": torch.zeros(1, length, 1, 2, dtype=torch.int64),
    }
    return Sequences({**fields, **changed}, final, cut, fresh, memory=torch.zeros(1, 1, 2, 8))


def test_elements_of_a_sequence_are_followed_by_the_next() -> None:
    batch = batches(sequences(), burn_in=1).sample([], 1)
    assert batch.now.joint[0, :, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert batch.following.joint[0, :, 0, 0].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    # The first is burnt in, and no step was taken from what the episode showed last.
    assert batch.weight is not None
    assert batch.weight[0, :, 0, 0].tolist() == [0.0, 1.0, 1.0, 0.0, 1.0]
    assert batch.unrolled is not None
    assert batch.unrolled.joint.shape == (1, 6, 1, 4)
    assert batch.unrolled.fresh[0, :, 0].tolist() == [False] * 4 + [True, False]


def test_a_new_occupant_begins_without_the_others_memory() -> None:
    occupant = torch.zeros(1, 6, 1, 2, dtype=torch.bool)
    occupant[0, 1, 0, 1] = True
    batch = batches(sequences(new_occupant=occupant)).sample([], 1)
    assert batch.unrolled is not None
    assert batch.unrolled.fresh_agent[0, 1, 0].tolist() == [False, True]
    assert batch.unrolled.fresh_agent[0, 4, 0].tolist() == [True, True]


def test_in_sequences_one_discount_is_applied_for_each_decision_of_the_team() -> None:
    acting = torch.ones(1, 6, 1, 2, dtype=torch.bool)
    acting[0, 1] = False
    acting[0, 2, 0, 0] = False
    batch = batches(sequences(acting=acting)).sample([], 1)
    torch.testing.assert_close(batch.discount[0, :, 0, 0], torch.tensor([1.0, 0.9, 0.9, 0.9, 0.9]))
