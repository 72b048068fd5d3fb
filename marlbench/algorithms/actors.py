"""Policies over a parameter stack that actor-critic methods and Q-learners share."""

from __future__ import annotations

import torch
from torch import Tensor, no_grad

from marlbench.algorithms.agent_identity import AgentIdentity
from marlbench.algorithms.base import Mode, Setting, StackPolicy
from marlbench.algorithms.distributions import epsilon_greedy, mask_logits
from marlbench.algorithms.networks import AgentNetwork
from marlbench.algorithms.sharing import Sharing
from marlbench.algorithms.stack import ParameterStack
from marlbench.environments.contract import Step


class NetworkPolicy(StackPolicy):
    """A policy computed by one network from an agent's own observation and memory.

    Args:
        identity: appends who the agent is to its observation; None where the network does not see it.
    """

    def __init__(
        self,
        setting: Setting,
        stack: ParameterStack,
        sharing: Sharing,
        network: AgentNetwork,
        identity: AgentIdentity | None = None,
    ) -> None:
        super().__init__(stack, sharing, setting.members, setting.agents)
        self.identity = identity
        self.network = network
        self.memory_size = network.memory_size
        self.masks = setting.specification.masks_actions

    def outputs(self, step: Step, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What the network says: [row, agent, outputs], and the memory for the next step."""
        rows = step.observation.shape[0]
        observation = step.observation if self.identity is None else self.identity(step.observation)
        remembered = None if memory is None else self.folded(memory)
        found, remembered = self.network.step(self.stack.parameters, self.folded(observation), remembered)
        return self.unfolded(found, rows), None if remembered is None else self.unfolded(remembered, rows)

    def available(self, step: Step) -> Tensor | None:
        return step.available_actions if self.masks else None


class CategoricalActor(NetworkPolicy):
    """Discrete actions with probabilities softmax(network); `greedy` takes the most probable one.

    Sampled as argmax(logits + g) with g standard Gumbel, which has these probabilities (Gumbel 1954).
    """

    def uniforms(self, mode: Mode) -> int:
        return 0 if mode == "greedy" else self.network.outputs

    def noise(self, uniforms: Tensor) -> Tensor:
        # A uniform of exactly 0 gives minus infinity: that action is not drawn.
        return uniforms.log().neg_().log_().neg_()

    @no_grad()
    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        logits, memory = self.outputs(step, memory)
        if mode != "greedy":
            logits = logits + noise
        return mask_logits(logits, self.available(step)).argmax(-1), memory

    def likelihood(self, outputs: Tensor, action: Tensor, available: Tensor | None) -> tuple[Tensor, Tensor]:
        """How probable actions are, and the entropy.

        Args:
            outputs: of the network, [..., action].
            action: int64 [..., 1].
            available: bool [..., action]; None where every action is available.

        Returns:
            the logarithm of the action's probability, and the entropy of the choice, both [...].
        """
        log_probabilities = torch.log_softmax(mask_logits(outputs, available), -1)
        chosen = log_probabilities.gather(-1, action).squeeze(-1)
        # Minus infinity times a probability of zero must be zero.
        weighted = log_probabilities.exp() * torch.clamp(log_probabilities, min=-100.0)
        return chosen, -weighted.sum(-1)


class EpsilonGreedyActor(NetworkPolicy):
    """Discrete actions by the largest action value; `behaviour` explores with probability `epsilon`."""

    epsilon: float = 0.0

    def uniforms(self, mode: Mode) -> int:
        return 2 if mode == "behaviour" else 0

    @no_grad()
    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        epsilon = self.epsilon if mode == "behaviour" else 0.0
        values, memory = self.outputs(step, memory)
        return epsilon_greedy(values, self.available(step), epsilon, noise), memory
