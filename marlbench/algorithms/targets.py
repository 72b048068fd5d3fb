"""Targets of action values along sequences, scanned backwards. Axes: [member, time, *batch]."""

from __future__ import annotations

import torch
from torch import Tensor


def step_targets(
    value: Tensor, reward: Tensor, alive: Tensor, transition: Tensor, discount: float, steps: int
) -> Tensor:
    """n-step returns (Sutton 1988): r + gamma r' + ... + gamma^n V, over fewer rewards where an episode ends or the
    sequence does.

    Args:
        value: of every element, [member, time + 1, *batch]: what is bootstrapped on.
        reward: [member, time, *batch].
        alive: bool as `reward`; False where nothing follows a step.
        transition: bool as `reward`; False at what an episode that was cut showed last.
        discount: gamma.
        steps: n.

    Returns:
        [member, time, *batch]; without meaning where there is no transition.
    """
    kept = discount * alive.to(reward.dtype)
    before, found = value[:, :-1], value[:, 1:]
    target = reward + kept * found
    for _ in range(1, steps):
        target = torch.where(transition, target, before)
        found = torch.cat([target[:, 1:], value[:, -1:]], 1)
        target = reward + kept * found
    return target


def decision_targets(
    value: Tensor,
    reward: Tensor,
    alive: Tensor,
    acting: Tensor,
    ends: Tensor,
    discount: float,
) -> tuple[Tensor, Tensor]:
    """One transition from a decision to the next: rewards in between are summed, one discount is applied.

    Args:
        value, reward, alive, discount: as for `step_targets`.
        acting: bool [member, time + 1, *batch]: where a decision is taken.
        ends: bool as `reward`: nothing after this step belongs to the decision before it.

    Returns:
        the target of each decision, and whether the sequence tells it; [member, time, *batch].
    """
    summed, following = torch.zeros_like(reward[:, 0]), torch.zeros_like(reward[:, 0])
    known = torch.zeros_like(ends[:, 0])
    target, told = torch.empty_like(reward), torch.empty_like(ends)
    for time in range(reward.shape[1] - 1, -1, -1):
        stop = ends[:, time] | acting[:, time + 1]
        following = torch.where(stop, torch.where(alive[:, time], value[:, time + 1], 0.0), following)
        summed = reward[:, time] + torch.where(stop, 0.0, summed)
        known = known | stop
        target[:, time] = summed + discount * following
        told[:, time] = known & acting[:, time]
    return target, told
