"""Discrete actions through which a gradient passes: Gumbel-softmax with a straight-through estimator."""

from __future__ import annotations

import torch
from torch import Tensor, no_grad
from torch.nn.functional import one_hot

from marlbench.algorithms.actors import CategoricalActor
from marlbench.algorithms.base import Mode
from marlbench.algorithms.distributions import inverse_cumulative, mask_logits
from marlbench.environments.contract import Step


def something_available(available: Tensor | None) -> Tensor | None:
    """bool [..., action] with all actions where there was none: an agent that is gone must not give NaN."""
    return None if available is None else available | ~available.any(-1, keepdim=True)


def standard_gumbel(uniform: Tensor) -> Tensor:
    """Uniforms in [0, 1) as standard Gumbel numbers, by the inverse CDF; finite."""
    return -(-uniform.clamp(min=1e-30).log()).log()


def straight_through(
    logits: Tensor, available: Tensor | None, gumbel: Tensor, temperature: float = 1.0
) -> Tensor:
    """One-hot samples of softmax(logits) whose gradient is that of softmax((logits + gumbel) / temperature).

    Jang et al. 2017 (arXiv 1611.01144), sections 2.1 and 2.2. An unavailable action has probability zero.

    Args:
        logits: [..., action].
        available: bool [..., action], or None where every action is available.
        gumbel: standard Gumbel numbers [..., action].
        temperature: of the relaxation; the samples do not depend on it.
    """
    perturbed = mask_logits(logits + gumbel, something_available(available))
    relaxed = torch.softmax(perturbed / temperature, -1)
    chosen = one_hot(perturbed.argmax(-1), logits.shape[-1]).to(logits.dtype)
    return chosen + (relaxed - relaxed.detach())


class ExploringCategoricalActor(CategoricalActor):
    """A categorical policy that in `behaviour` takes a uniformly random available action now and then.

    Attributes:
        exploration: how often.
    """

    exploration: float = 0.0

    def uniforms(self, mode: Mode) -> int:
        return super().uniforms(mode) + (2 if mode == "behaviour" else 0)

    def noise(self, uniforms: Tensor) -> Tensor:
        count = self.network.outputs
        return torch.cat([super().noise(uniforms[..., :count]), uniforms[..., count:]], -1)

    @no_grad()
    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        count = self.network.outputs
        action, memory = super().act(step, memory, noise[..., :count], mode)
        if mode != "behaviour" or self.exploration <= 0.0:
            return action, memory
        explores, which = noise[..., count], noise[..., count + 1]
        available = something_available(self.available(step))
        allowed = torch.ones_like(noise[..., :count]) if available is None else available.to(noise.dtype)
        random = inverse_cumulative(allowed, which)
        return torch.where(explores < self.exploration, random, action), memory
