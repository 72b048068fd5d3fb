"""Targets of value functions, or rewards, brought to mean 0 and deviation 1 by running statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

DECAY = 0.99999
SMALLEST_VARIANCE = 1e-4


class ValueNormalisation:
    """Yu et al. 2022 (arXiv 2103.01955), section 3: critics learn normalised targets, advantages see them undone.

    Mean and variance of all targets so far, averaged over rollouts with exponentially falling weights that sum to 1
    (decay .99999, so nearly the plain average); one pair for each learner. The critic's last layer is left as it is
    when they move (van Hasselt et al. 2016 would rescale it).

    Args:
        learners: of the stack.
        device: where values live.
    """

    def __init__(self, learners: int, device: torch.device) -> None:
        self.mean = torch.zeros(learners, 1, device=device)
        self.variance = torch.ones(learners, 1, device=device)
        self.rollouts = 0

    @property
    def deviation(self) -> Tensor:
        """[learner, 1]"""
        return self.variance.clamp(min=SMALLEST_VARIANCE).sqrt()

    def update(self, target: Tensor, weight: Tensor | None) -> None:
        """Take a rollout's targets [learner, sample] into account, with weights of the same shape."""
        if weight is None:
            mean = target.mean(1, keepdim=True)
            variance = (target - mean).square().mean(1, keepdim=True)
        else:
            total = weight.sum(1, keepdim=True).clamp(min=1.0)
            mean = (target * weight).sum(1, keepdim=True) / total
            variance = ((target - mean).square() * weight).sum(1, keepdim=True) / total
        self.rollouts += 1
        # The newest share of the bias-corrected moving average: 1 at first, then nearly 1 / rollouts.
        share = (1.0 - DECAY) / (1.0 - DECAY**self.rollouts)
        moved = mean - self.mean
        self.variance = (1.0 - share) * (self.variance + share * moved.square()) + share * variance
        self.mean = self.mean + share * moved

    def normalise(self, value: Tensor) -> Tensor:
        """[learner, sample] in units of the rewards -> in those of the critic."""
        return (value - self.mean) / self.deviation

    def restore(self, value: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return value * self.deviation + self.mean

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean.clone(), "variance": self.variance.clone(), "rollouts": self.rollouts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mean = state["mean"].to(self.mean.device, copy=True)
        self.variance = state["variance"].to(self.variance.device, copy=True)
        self.rollouts = int(state["rollouts"])
