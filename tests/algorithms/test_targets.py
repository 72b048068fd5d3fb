"""Targets along sequences against sums written out."""

from __future__ import annotations

import torch

from marlbench.algorithms.targets import decision_targets, step_targets


def column(*values: float | bool) -> torch.Tensor:
    return torch.tensor(values).view(1, -1, 1)


def test_n_rewards_are_summed_up_to_an_end() -> None:
    # Elements: steps 0, 1 (cut by a limit), what was shown last, step 3, step 4 (terminated), another episode's step.
    value = column(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    reward = column(10.0, 20.0, 99.0, 30.0, 40.0)
    alive = column(True, True, True, True, False)
    transition = column(True, True, False, True, True)
    one = step_targets(value, reward, alive, transition, 0.5, 1)[0, :, 0].tolist()
    assert [one[k] for k in (0, 1, 3, 4)] == [10 + 0.5 * 2, 20 + 0.5 * 3, 30 + 0.5 * 5, 40]
    two = step_targets(value, reward, alive, transition, 0.5, 2)[0, :, 0].tolist()
    assert [two[k] for k in (0, 1, 3, 4)] == [10 + 0.5 * (20 + 0.5 * 3), 20 + 0.5 * 3, 30 + 0.5 * 40, 40]
    assert step_targets(value, reward, alive, transition, 0.5, 9)[0, 0, 0] == two[0]


def test_a_sequence_that_ends_bootstraps_where_it_ends() -> None:
    yes = column(True, True)
    found = step_targets(column(1.0, 2.0, 3.0), column(10.0, 20.0), yes, yes, 0.5, 5)
    assert found[0, :, 0].tolist() == [10 + 0.5 * (20 + 0.5 * 3), 20 + 0.5 * 3]


def test_rewards_between_decisions_are_summed_and_discounted_once() -> None:
    value = column(1.0, 2.0, 3.0, 4.0, 5.0)
    reward = column(1.0, 10.0, 100.0, 1000.0)
    acting = column(True, False, False, True, False)
    nowhere, yes = column(False, False, False, False), column(True, True, True, True)
    target, told = decision_targets(value, reward, yes, acting, nowhere, 0.5)
    assert target[0, 0, 0] == 111 + 0.5 * 4
    # The last decision's next one lies beyond the sequence.
    assert told[0, :, 0].tolist() == [True, False, False, False]


def test_an_end_between_decisions_ends_the_first_ones_transition() -> None:
    value = column(1.0, 2.0, 3.0, 4.0, 5.0)
    reward = column(1.0, 10.0, 100.0, 1000.0)
    acting = column(True, False, True, False, True)
    ends = column(False, True, False, False)
    alive = column(True, False, True, True)
    target, told = decision_targets(value, reward, alive, acting, ends, 0.5)
    assert target[0, 0, 0] == 11
    assert target[0, 2, 0] == 1100 + 0.5 * 5
    assert told[0, :, 0].tolist() == [True, False, True, False]
