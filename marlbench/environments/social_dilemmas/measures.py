"""Measures of how a group fares, from what each of its members gained."""

from __future__ import annotations

import torch
from torch import Tensor


def equality(gains: Tensor) -> Tensor:
    """1 - Gini coefficient of what the agents gained (Perolat et al. 2017, arXiv 1707.06600): [row, agent] -> [row].

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
