"""Policies over a parameter stack that actor-critic methods and Q-learners share."""

from __future__ import annotations

from torch import Tensor, no_grad, softmax

from marlbench.algorithms.base import Mode, Setting, StackPolicy
from marlbench.algorithms.distributions import epsilon_greedy, inverse_cumulative, mask_logits
from marlbench.algorithms.sharing import Sharing
from marlbench.algorithms.stack import MultilayerPerceptron, ParameterStack
from marlbench.environments.contract import Step


class _NetworkPolicy(StackPolicy):
    """A memoryless policy computed by one network from an agent's own observation."""

    def __init__(
        self, setting: Setting, stack: ParameterStack, sharing: Sharing, network: MultilayerPerceptron
    ) -> None:
        super().__init__(stack, sharing, setting.members, setting.agents)
        self.network = network
        self.masks = setting.specification.masks_actions

    def outputs(self, step: Step) -> Tensor:
        """What the network says of each action: [row, agent, action]."""
        folded = self.folded(step.observation)
        return self.unfolded(self.network(self.stack.parameters, folded), step.observation.shape[0])

    def available(self, step: Step) -> Tensor | None:
        return step.available_actions if self.masks else None


class CategoricalActor(_NetworkPolicy):
    """Discrete actions with probabilities softmax(network); `greedy` takes the most probable one."""

    uniforms = 1

    @no_grad()
    def act(
        self, step: Step, memory: Tensor | None, uniforms: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        logits = mask_logits(self.outputs(step), self.available(step))
        if mode == "greedy":
            return logits.argmax(-1), None
        return inverse_cumulative(softmax(logits, -1), uniforms[..., 0]), None


class EpsilonGreedyActor(_NetworkPolicy):
    """Discrete actions by the largest action value; `behaviour` explores with probability `epsilon`."""

    uniforms = 2
    epsilon: float = 0.0

    @no_grad()
    def act(
        self, step: Step, memory: Tensor | None, uniforms: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        epsilon = self.epsilon if mode == "behaviour" else 0.0
        return epsilon_greedy(self.outputs(step), self.available(step), epsilon, uniforms), None
