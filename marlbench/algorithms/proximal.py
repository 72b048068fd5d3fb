"""Proximal policy optimisation of several agents (Schulman et al. 2017, arXiv 1707.06347), whatever the critic sees.

    L(theta) = -E[ min(r A, clip(r, 1 - epsilon, 1 + epsilon) A) ] + c_v L_v - c_e E[H],   r = pi(a | o) / pi_old(a | o)

(eq. 7 and 9), where A are generalised advantages, R = A + V_old, and

    L_v = E[ max( l(V - R), l(V_old + clip(V - V_old, -epsilon_v, epsilon_v) - R) ) ]

with l the square, or Huber's function; without value clipping L_v = E[ l(V - R) ].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms.actor_critic import ActorCritic, ActorCriticHyperparameters
from marlbench.algorithms.base import Setting
from marlbench.algorithms.samples import Batch, Samples, mean, normalised


class ProximalHyperparameters(ActorCriticHyperparameters):
    """Settings that IPPO and MAPPO have."""

    epochs: int = Field(4, ge=1, description="passes over each rollout")
    minibatches: int = Field(4, ge=1, description="parts that a pass is split into")
    clip: float = Field(0.2, gt=0, description="epsilon of the clipped surrogate")
    value_clip: float | None = Field(
        None,
        gt=0,
        description="most that an update of a value counts, in the critic's units; null for no limit",
        json_schema_extra={"legacy": None},
    )
    huber_threshold: float | None = Field(
        None,
        gt=0,
        description="value errors beyond it count linearly, in the critic's units; null for squares",
        json_schema_extra={"legacy": None},
    )


def value_error(error: Tensor, huber_threshold: float | None) -> Tensor:
    """The square, and beyond the threshold d the line d (2 |error| - d): twice Huber's function."""
    if huber_threshold is None:
        return error.square()
    size = error.abs()
    quadratic = size.clamp(max=huber_threshold)
    return quadratic * (2.0 * size - quadratic)


class ProximalPolicyOptimisation(ActorCritic):
    """Several epochs of minibatches on the clipped surrogate."""

    def __init__(self, setting: Setting, hyperparameters: Any) -> None:
        super().__init__(setting, hyperparameters)
        self.keeps_values = hyperparameters.value_clip is not None

    def batches(self, samples: Samples) -> Iterator[Batch]:
        for _ in range(self.options.epochs):
            yield from samples.shuffled(self.generators, self.sharing.groups, self.options.minibatches)

    def loss(
        self, batch: Batch, log_probability: Tensor, entropy: Tensor, value: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        options, weight = self.options, batch.weight
        assert batch.log_probability is not None
        advantage = batch.advantage
        if options.normalise_advantages:
            advantage = normalised(advantage, weight)
        ratio = (log_probability - batch.log_probability).exp()
        clipped = ratio.clamp(1.0 - options.clip, 1.0 + options.clip)
        surrogate = mean(torch.minimum(ratio * advantage, clipped * advantage), weight)
        value_loss = self._value_loss(batch, value)
        entropy = mean(entropy, weight)
        loss = options.value_coefficient * value_loss - surrogate - options.entropy_coefficient * entropy
        with torch.no_grad():
            return loss, {
                "policy_loss": -surrogate.detach(),
                "value_loss": value_loss.detach(),
                "entropy": entropy.detach(),
                "clip_fraction": mean((ratio != clipped).to(ratio.dtype), weight),
            }

    def _value_loss(self, batch: Batch, value: Tensor) -> Tensor:
        options = self.options
        error = value_error(value - batch.target, options.huber_threshold)
        if options.value_clip is not None:
            assert batch.value is not None
            near = batch.value + (value - batch.value).clamp(-options.value_clip, options.value_clip)
            error = torch.maximum(error, value_error(near - batch.target, options.huber_threshold))
        return mean(error, batch.critic_weight)
