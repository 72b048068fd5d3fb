"""Policies for continuous actions of off-policy methods: tanh of a network, with or without a distribution.

Inside a method actions are normalised: [-1, 1] stands for the task's [low, high].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, no_grad

from marlbench.algorithms.actors import NetworkPolicy
from marlbench.algorithms.agent_identity import AgentIdentity
from marlbench.algorithms.base import Mode, Setting
from marlbench.algorithms.distributions import gaussian_log_probability, squash_correction, standard_normal
from marlbench.algorithms.networks import AgentNetwork
from marlbench.algorithms.sharing import Sharing
from marlbench.algorithms.stack import ParameterStack
from marlbench.environments.contract import Continuous, Step
from marlbench.errors import ConfigurationError

LOG_DEVIATION = (-20.0, 2.0)
"""Bounds of the logarithm of a squashed Gaussian's deviation."""


class BoxPolicy(NetworkPolicy):
    """A network policy whose actions are vectors in a box."""

    def __init__(
        self,
        setting: Setting,
        stack: ParameterStack,
        sharing: Sharing,
        network: AgentNetwork,
        identity: AgentIdentity | None = None,
    ) -> None:
        super().__init__(setting, stack, sharing, network, identity)
        action = setting.specification.action
        assert isinstance(action, Continuous)
        if not (math.isfinite(action.low) and math.isfinite(action.high)):
            raise ConfigurationError(
                f"the task's actions lie in [{action.low:g}, {action.high:g}], and tanh reaches bounded ones only.",
                hint="Choose an algorithm with an unbounded policy for this task.",
            )
        self.box = action

    def scaled(self, action: Tensor) -> Tensor:
        """From [-1, 1] to the task's range. What is no number becomes the middle: a diverged member still acts."""
        centre, half_range = _centre_and_half_range(self.box)
        return torch.nan_to_num(action) * half_range + centre


def normalised(action: Tensor, box: Continuous) -> Tensor:
    """From the task's range to [-1, 1]."""
    centre, half_range = _centre_and_half_range(box)
    return (action - centre) / half_range


def _centre_and_half_range(box: Continuous) -> tuple[float, float]:
    return (box.high + box.low) / 2.0, (box.high - box.low) / 2.0


class DeterministicActor(BoxPolicy):
    """tanh(network(o)); `behaviour` adds Gaussian noise and clips (Lowe et al. 2017, algorithm 1).

    Attributes:
        exploration: standard deviation of the noise, for normalised actions.
    """

    exploration: float = 0.0

    def uniforms(self, mode: Mode) -> int:
        return self.network.outputs if mode == "behaviour" else 0

    def noise(self, uniforms: Tensor) -> Tensor:
        return standard_normal(uniforms)

    @no_grad()
    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        outputs, memory = self.outputs(step, memory)
        action = torch.tanh(outputs)
        if mode == "behaviour":
            action = (action + self.exploration * noise).clamp(-1.0, 1.0)
        return self.scaled(action), memory


class SquashedGaussianActor(BoxPolicy):
    """tanh(u), u normal with the network's mean and deviation (Haarnoja et al. 2018, arXiv 1801.01290, appendix C).

    The network's outputs are the means and then the logarithms of the deviations. `greedy` is tanh of the mean.
    """

    def uniforms(self, mode: Mode) -> int:
        return 0 if mode == "greedy" else self.network.outputs // 2

    def noise(self, uniforms: Tensor) -> Tensor:
        return standard_normal(uniforms)

    @no_grad()
    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        outputs, memory = self.outputs(step, memory)
        if mode == "greedy":
            action = torch.tanh(outputs.chunk(2, -1)[0])
        else:
            action, _ = squashed_sample(outputs, noise)
        return self.scaled(action), memory


def squashed_sample(outputs: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Reparametrised samples of a squashed Gaussian and their log-probabilities.

    Args:
        outputs: [..., 2 x dim], means and logarithms of deviations.
        normal: standard normal numbers [..., dim].

    Returns:
        actions in [-1, 1], [..., dim], and log-probabilities [...].
    """
    mean, log_deviation = outputs.chunk(2, -1)
    log_deviation = log_deviation.clamp(*LOG_DEVIATION)
    before = mean + log_deviation.exp() * normal
    log_probability = gaussian_log_probability(before, mean, log_deviation) - squash_correction(before)
    return torch.tanh(before), log_probability
