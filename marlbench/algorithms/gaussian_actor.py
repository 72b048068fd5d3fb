"""Policies with continuous actions whose likelihood is known, for methods that learn from their own actions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Generator, Tensor, no_grad

from marlbench.algorithms.actors import NetworkPolicy
from marlbench.algorithms.agent_identity import AgentIdentity
from marlbench.algorithms.base import Mode, Setting
from marlbench.algorithms.distributions import gaussian_log_probability, squash_correction, standard_normal
from marlbench.algorithms.networks import AgentNetwork
from marlbench.algorithms.sharing import Sharing
from marlbench.algorithms.stack import Layout, ParameterStack
from marlbench.environments.contract import Continuous, Step

INITIAL_LOG_DEVIATION = -0.5
"""A deviation of .6: of the first actions, whose means are about 0, a tenth is clipped at the bounds -1 and 1."""


class LogDeviation:
    """The logarithms of the deviations of a Gaussian policy: parameters that depend on nothing."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size

    @property
    def layout(self) -> Layout:
        return {self.name: (1, self.size)}

    def initialise(self, parameters: Mapping[str, Tensor], learner: int, generator: Generator) -> None:
        with no_grad():
            parameters[self.name][learner].fill_(INITIAL_LOG_DEVIATION)


class GaussianActor(NetworkPolicy):
    """u ~ N(network, deviation^2), in coordinates where the bounds of an action are -1 and 1.

    The environment is given u clipped to the bounds, or tanh(u) with `squash`; `greedy` takes the mean for u.
    Likelihoods are of u, before clipping or squashing: the clipping is then part of the environment (the likelihood of
    a clipped action has a jump at the bounds), and with tanh the Jacobian, which does not depend on the parameters,
    drops out of every ratio and gradient.

    Attributes:
        drawn: u of the last `behaviour`, [row, agent, dim]: what `likelihood` is asked about later.
    """

    def __init__(
        self,
        setting: Setting,
        stack: ParameterStack,
        sharing: Sharing,
        network: AgentNetwork,
        deviation: LogDeviation,
        identity: AgentIdentity,
        squash: bool,
    ) -> None:
        super().__init__(setting, stack, sharing, network, identity)
        action = setting.specification.action
        assert isinstance(action, Continuous)
        self.size, self.squash = action.size, squash
        self.middle, self.reach = (action.high + action.low) / 2.0, (action.high - action.low) / 2.0
        self.deviation = deviation
        self.drawn = torch.zeros(0)

    def uniforms(self, mode: Mode) -> int:
        return 0 if mode == "greedy" else self.size

    def noise(self, uniforms: Tensor) -> Tensor:
        return standard_normal(uniforms)

    @property
    def log_deviation(self) -> Tensor:
        """[stack, 1, dim]"""
        return self.stack.parameters[self.deviation.name]

    @no_grad()
    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        drawn, memory = self.outputs(step, memory)
        if mode != "greedy":
            spread = self.log_deviation.exp().expand(-1, self.sharing.group_size, -1)
            by_agent = self.sharing.unfold(spread, (1,))
            lead = (self.members, -1, self.agents, self.size)
            drawn = torch.addcmul(drawn.view(lead), by_agent, noise.view(lead)).view_as(drawn)
        if mode == "behaviour":
            self.drawn = drawn
        bounded = torch.tanh(drawn) if self.squash else drawn.clamp(-1.0, 1.0)
        # A diverged member must go on taking legal actions: its rows share the environment with the others.
        return torch.nan_to_num(bounded) * self.reach + self.middle, memory

    def likelihood(self, outputs: Tensor, action: Tensor, available: Tensor | None) -> tuple[Tensor, Tensor]:
        """How probable draws are, and the entropy of the actions.

        The entropy with `squash` is H(u) + E[log |d tanh(u) / du|], the expectation taken at the given draws, through
        which the gradient passes as mean + deviation x noise.

        Args:
            outputs: of the network, [stack, sample, dim].
            action: u, as `drawn`: [stack, sample, dim].
            available: of no meaning here.

        Returns:
            the log-density of u, and the entropy, both [stack, sample].
        """
        log_deviation = self.log_deviation
        log_probability = gaussian_log_probability(action, outputs, log_deviation)
        entropy = (log_deviation + 0.5 * math.log(2.0 * math.pi * math.e)).sum(-1).expand_as(log_probability)
        if self.squash:
            deviation = log_deviation.exp()
            noise = ((action - outputs) / deviation).detach()
            entropy = entropy + squash_correction(outputs + deviation * noise)
        return log_probability, entropy
