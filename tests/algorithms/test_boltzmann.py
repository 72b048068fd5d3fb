"""Boltzmann probabilities against scipy, observations as numbers, n-step returns by hand, shuffled groups."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from marlbench.algorithms.assignment import Assignment
from marlbench.algorithms.boltzmann import boltzmann_thresholds, chosen, gap
from marlbench.algorithms.dqn import best_action
from marlbench.algorithms.observation_bits import ObservationBits
from marlbench.algorithms.recent_steps import RecentSteps, discounts, whole_or_single
from marlbench.algorithms.sharing import Groups, Sharing

CPU = torch.device("cpu")


@pytest.mark.parametrize("actions", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.02, 0.1, 3.0])
def test_probabilities_are_those_of_scipy(actions: int, temperature: float) -> None:
    values = torch.randn(40, actions, generator=torch.Generator().manual_seed(1)) + 100.0
    available = torch.rand(40, actions, generator=torch.Generator().manual_seed(2)) < 0.7
    available[:, 0] = True
    for mask in (None, available):
        edges = boltzmann_thresholds(values, mask, temperature).numpy()
        found = np.diff(edges, axis=1, prepend=0.0, append=1.0)
        logits = values.numpy().astype(np.float64) / temperature
        if mask is not None:
            logits = np.where(mask.numpy(), logits, -np.inf)
        np.testing.assert_allclose(found, softmax(logits, axis=1), atol=2e-5)


def test_actions_are_drawn_with_these_probabilities_and_never_unavailable() -> None:
    thresholds = boltzmann_thresholds(
        torch.tensor([[0.3, 0.1, 9.0]]), torch.tensor([[True, True, False]]), 0.2
    )
    uniform = (torch.arange(1000) / 1000).unsqueeze(1)
    drawn = chosen(thresholds.expand(1000, -1), uniform)
    # 1 / (1 + exp(-(0.3 - 0.1) / 0.2))
    assert (drawn == 0).float().mean() == pytest.approx(0.7310586, abs=2e-3)
    assert not bool((drawn == 2).any())
    first_gone = boltzmann_thresholds(torch.zeros(1, 2), torch.tensor([[False, True]]), 1.0)
    assert int(chosen(first_gone, torch.zeros(1, 1))) == 1


def test_the_gap_is_between_the_best_two() -> None:
    assert gap(torch.tensor([[1.0, 4.0], [5.0, 4.5]])).tolist() == [3.0, 0.5]
    assert gap(torch.tensor([[1.0, 4.0, 3.5], [2.0, 2.0, 0.0]])).tolist() == [0.5, 0.0]


def test_ties_are_broken_at_random() -> None:
    values = torch.tensor([[1.0, 3.0, 3.0]]).repeat(4, 1)
    assert best_action(values, None, torch.tensor([0.0, 0.49, 0.5, 0.99]).double()).tolist() == [1, 1, 2, 2]
    only = torch.tensor([[True, False, True]]).expand(4, -1)
    assert best_action(values, only, torch.tensor([0.0, 0.3, 0.6, 0.9]).double()).tolist() == [2, 2, 2, 2]


def test_observations_of_bits_are_numbers_and_back() -> None:
    bits = ObservationBits(5, CPU)
    assert torch.equal(bits.encode(bits.vectors), torch.arange(32))
    assert torch.equal(bits.decode(torch.tensor([6])), torch.tensor([[0.0, 1.0, 1.0, 0.0, 0.0]]))
    for strange in (0.5, 2.0, -1.0, float("inf"), float("nan")):
        assert bits.encode(torch.tensor([[0.0, 1.0, strange, 0.0, 1.0]])) is None


def test_returns_by_hand() -> None:
    powers = discounts(0.5, 3, CPU)
    reward = torch.tensor([[1.0, 2.0, 4.0]]).repeat(4, 1)
    cut = torch.tensor([[False, False], [True, False], [False, True], [False, False]])
    found = whole_or_single(reward, cut, torch.tensor([True, True, True, False]), powers)
    # 1 + 2 / 2 + 4 / 4 and gamma^3; where an episode ends in between, or the third step is to come, one step.
    assert found.reward.tolist() == [3.0, 1.0, 1.0, 1.0]
    assert found.discount.tolist() == [0.125, 0.5, 0.5, 0.5]
    assert found.whole.tolist() == [True, False, False, False]


def test_the_ring_finds_consecutive_steps_of_one_agent() -> None:
    members, rows, agents, capacity = 2, 3, 4, 5
    ring = RecentSteps(
        members, rows, agents, capacity, {"step": ((), torch.float32), "who": ((2,), torch.float32)}, CPU
    )
    who = torch.cartesian_prod(torch.arange(members * rows), torch.arange(agents)).view(-1, agents, 2).float()
    for step in range(8):
        ring.add({"step": torch.full((members * rows, agents), float(step)), "who": who})
    # The third oldest step (5) of member 1's row 2, agent 3, and the one after it.
    index = ring.sequences(torch.tensor([[1]]), torch.tensor([[(2 * rows + 2) * agents + 3]]), 2)
    assert ring.take("step", index).tolist() == [[[5.0, 6.0]]]
    assert ring.take("who", index).tolist() == [[[[5.0, 3.0], [5.0, 3.0]]]]


def test_shuffled_groups_are_a_partition_and_fold_back() -> None:
    sharing = Sharing(Groups(groups=3), 7, CPU)
    assignment = Assignment(sharing, (1, 2), True, CPU)
    values = torch.randn(2, 4, 7, 3)
    assert torch.equal(assignment.unfold(assignment.fold(values), 4), values)
    assert not torch.equal(assignment.learner[0], assignment.learner[1] - 3)
    for learner in range(6):
        mine = assignment.agent(torch.arange(3) % assignment.size)[learner].unique()
        assert torch.equal(mine, (assignment.learner[learner // 3] == learner).nonzero().flatten())
