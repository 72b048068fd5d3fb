"""What value-based methods make of the errors of their values: the loss, and how much a sample counts.

Errors are [member, *, agent], or [member, *] of a team; * stands for [batch] or [time, batch].
"""

from __future__ import annotations

import torch
from torch import Tensor

from marlbench.algorithms.sharing import Sharing


def per_learner(values: Tensor, sharing: Sharing) -> Tensor:
    """[member, *, agent] -> [stack, sample]."""
    return sharing.fold(values.unsqueeze(-1)).squeeze(-1)


def mean_square(
    error: Tensor, valid: Tensor | None, importance: Tensor | None, sharing: Sharing | None
) -> tuple[Tensor, Tensor]:
    """The mean square of (target - value) over what is valid.

    Args:
        error: target - value.
        valid: bool as `error`; None for everything.
        importance: weights that broadcast to `error`; None for 1.
        sharing: of the agents among learners; None where there is one value of the team.

    Returns:
        of each learner (of each member where there is one value of the team), [stack] or [member]; and its gradient
        with respect to the value, as `error`.
    """
    shape = error.shape
    weighted = error if importance is None else error * importance
    weight = None if valid is None else valid.to(error.dtype)
    if sharing is not None:
        error, weighted = per_learner(error, sharing), per_learner(weighted, sharing)
        copies = sharing.sample_weight(shape[0], error.shape[1])
        weight = None if weight is None else per_learner(weight, sharing)
        if copies is not None:
            weight = copies if weight is None else copies * weight
    flat, weighted = error.flatten(1), weighted.flatten(1)
    if weight is None:
        weighted = weighted / flat.shape[1]
    else:
        weight = weight.flatten(1)
        weighted = weighted * weight / weight.sum(1, keepdim=True).clamp(min=1.0)
    loss, gradient = (flat * weighted).sum(1), weighted.mul(-2.0)
    if sharing is None:
        return loss, gradient.view(shape)
    return loss, sharing.unfold(gradient.unsqueeze(-1), tuple(shape[1:-1])).squeeze(-1)


def importance(probability: Tensor, exponent: float) -> Tensor:
    """(N P)^-beta over its largest (Schaul et al. 2016, section 3.4), float32 [member, batch]; `probability` is N P."""
    weight = probability.clamp(min=1e-12) ** -exponent
    return (weight / weight.amax(1, keepdim=True)).to(torch.float32)


def error_size(error: Tensor, valid: Tensor | None, of_agents: bool, sequences: bool) -> Tensor:
    """|error| of each sample, positive float64 [member, batch]; of a sequence 0.9 of its largest and 0.1 of its mean
    (Kapturowski et al. 2019, section 2.3), averaged over agents."""
    size = error.abs()
    if valid is not None:
        size = size * valid
    if of_agents:
        size = size.mean(-1)
    if sequences:
        size = 0.9 * size.amax(1) + 0.1 * size.mean(1)
    return size.to(torch.float64) + 1e-6
