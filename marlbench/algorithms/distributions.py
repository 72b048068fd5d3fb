"""Choosing among discrete actions, from uniforms that are given: the stream of a seed never depends on the choice."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mask_logits(logits: Tensor, available: Tensor | None) -> Tensor:
    """Unavailable actions get minus infinity; [..., action].

    Numbers that are not finite are made so first: a diverged member must go on taking legal actions, because its
    rows share the environment with members that have not diverged.
    """
    if available is None:
        return logits
    finite = torch.nan_to_num(logits, neginf=-1e30)
    return finite.masked_fill(~available, -torch.inf)


def inverse_cumulative(probability: Tensor, uniform: Tensor) -> Tensor:
    """Sample by inverse CDF.

    Args:
        probability: float [..., action], not negative, of any positive sum.
        uniform: float [...] in [0, 1).

    Returns:
        int64 [...]; never an action of probability zero, unless the probabilities are not numbers (then action 0).
    """
    cumulative = torch.cumsum(probability, dim=-1)
    # Scaled by the sum, which rounding may leave a little below one: the last actions may be unavailable.
    target = (uniform * cumulative[..., -1]).unsqueeze(-1)
    return (cumulative[..., :-1] <= target).sum(-1)


def epsilon_greedy(values: Tensor, available: Tensor | None, epsilon: float, uniform: Tensor) -> Tensor:
    """The best action, or with probability epsilon a uniformly random available one.

    Args:
        values: float [..., action].
        available: bool [..., action], or None where every action is available.
        epsilon: probability of exploring.
        uniform: float [..., 2] in [0, 1): whether to explore, and which action.
    """
    greedy = mask_logits(values, available).argmax(-1)
    if epsilon <= 0.0:
        return greedy
    if available is None:
        explored = (uniform[..., 1] * values.shape[-1]).long()
    else:
        explored = inverse_cumulative(available.to(values.dtype), uniform[..., 1])
    return torch.where(uniform[..., 0] < epsilon, explored, greedy)


def gaussian_log_probability(action: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    """log N(action; mean, exp(log_deviation)^2) of independent dimensions, summed: [..., dim] -> [...]."""
    standard = (action - mean) * torch.exp(-log_deviation)
    return -(0.5 * standard.square() + log_deviation + 0.5 * math.log(2.0 * math.pi)).sum(-1)


def squash_correction(before: Tensor) -> Tensor:
    """log |d tanh(u) / du| summed over dimensions, stable for large u: [..., dim] -> [...].

    To be subtracted from the log-probability of u for that of tanh(u) (Haarnoja et al. 2018, arXiv 1801.01290,
    appendix C); log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)).
    """
    return (2.0 * (math.log(2.0) - before - torch.nn.functional.softplus(-2.0 * before))).sum(-1)


def standard_normal(uniform: Tensor) -> Tensor:
    """Uniforms in [0, 1) as standard normal numbers, by the inverse CDF; never infinite."""
    # A float32 uniform on multiples of 2^-24 moved to the middle of its cell lies inside (0, 1).
    middle = uniform.to(torch.float64) + 2.0**-25
    return torch.special.ndtri(middle).to(uniform.dtype)
