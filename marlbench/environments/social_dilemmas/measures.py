"""Measures of how a group fares: the four of Perolat et al. 2017 (arXiv 1707.06600), section 2.3.

Where agents can lose, too (by fines), equality and sustainability look at what they collected and not at what they were
left with: a Gini coefficient of negative numbers has no bounds, and a fine is not a harvest [ours].
"""

from __future__ import annotations

import torch
from torch import Tensor


def efficiency(returns: Tensor, reference: float) -> Tensor:
    """Everybody's return, summed, over a reference: [row, agent] -> [row].

    With the steps of the episode as the reference this is Perolat's U, the reward of all in a step; with the most that
    can be had, it is a share of that.
    """
    return returns.sum(1) / reference


def equality(gains: Tensor) -> Tensor:
    """1 - Gini coefficient of what the agents gained, Perolat's E: [row, agent] -> [row].

    1 where all gained the same, 1 / agents where one gained all; 1 where nobody gained anything. Gains must not be
    negative.
    """
    agents = gains.shape[1]
    ordered, _ = gains.to(torch.float64).sort(1)
    rank = torch.arange(1, agents + 1, device=gains.device, dtype=torch.float64)
    total = ordered.sum(1)
    # sum over pairs |x_i - x_j| / (2 n sum x), by the ranks of the ordered gains.
    gini = ((2 * rank - agents - 1) * ordered).sum(1) / (
        agents * total.clamp(min=torch.finfo(torch.float64).tiny)
    )
    return torch.where(total > 0, 1.0 - gini, torch.ones_like(total))


def sustainability(times: Tensor, count: Tensor) -> Tensor:
    """The mean step at which an agent collects, averaged over agents, Perolat's S: [row, agent] each -> [row].

    Args:
        times: the sum of the steps, counted from 1, at which each agent collected something.
        count: how often it did. An agent that never did counts as 0 [ours].
    """
    return (times / count.clamp(min=1.0)).mean(1)


def peace(disturbed: Tensor, length: float) -> Tensor:
    """The share of the agents' steps in which they were not disturbed, Perolat's P over the agents: -> [row].

    Args:
        disturbed: steps that each agent was timed out, or was hit where nobody is timed out, [row, agent].
        length: steps of the episode.
    """
    return 1.0 - disturbed.mean(1) / length
