"""Policies over a parameter stack that actor-critic methods and Q-learners share."""

from __future__ import annotations

from torch import Tensor, no_grad

from marlbench.algorithms.base import Mode, Setting, StackPolicy
from marlbench.algorithms.distributions import epsilon_greedy, mask_logits
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
    """Discrete actions with probabilities softmax(network); `greedy` takes the most probable one.

    Sampled as argmax(logits + g) with g standard Gumbel, which has these probabilities (Gumbel 1954).
    """

    def uniforms(self, mode: Mode) -> int:
        return 0 if mode == "greedy" else self.network.sizes[-1]

    def noise(self, uniforms: Tensor) -> Tensor:
        # A uniform of exactly 0 gives minus infinity: that action is not drawn.
        return uniforms.log().neg_().log_().neg_()

    @no_grad()
    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        logits = self.outputs(step)
        if mode != "greedy":
            logits = logits + noise
        return mask_logits(logits, self.available(step)).argmax(-1), None


class EpsilonGreedyActor(_NetworkPolicy):
    """Discrete actions by the largest action value; `behaviour` explores with probability `epsilon`."""

    epsilon: float = 0.0

    def uniforms(self, mode: Mode) -> int:
        return 2 if mode == "behaviour" else 0

    @no_grad()
    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        epsilon = self.epsilon if mode == "behaviour" else 0.0
        return epsilon_greedy(self.outputs(step), self.available(step), epsilon, noise), None
