"""What methods with one value of the team share: how the values of agents are put together."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from marlbench.algorithms.stack import Layout, MultilayerPerceptron


@dataclass(frozen=True)
class JointChoice:
    """What the agents chose and what they think of it.

    Attributes:
        chosen: Q_i(o_i, a_i), [member, sample, agent]; 0 for an agent that does not act.
        best: max over available actions of Q_i(o_i, .), as `chosen`; None where the mixer does not need it.
        action: a_i, int64 [member, sample, agent].
        state: s, [member, sample, features]; without features where the mixer does not need it.
        acting: bool [member, sample, agent]; None where every agent always acts.
    """

    chosen: Tensor
    best: Tensor | None
    action: Tensor
    state: Tensor
    acting: Tensor | None

    def flattened(self) -> JointChoice:
        """With one axis of samples out of all between the member's and the last."""
        rest = (self.best, self.state, self.acting)
        best, state, acting = (None if values is None else values.flatten(1, -2) for values in rest)
        assert state is not None
        return JointChoice(self.chosen.flatten(1, -2), best, self.action.flatten(1, -2), state, acting)

    def counted(self, values: Tensor) -> Tensor:
        """[member, sample, agent] without those that do not act."""
        return values if self.acting is None else values * self.acting


class Mixer(ABC):
    """Q_tot from the values of the agents that act, for every member of a stack; owns no parameters.

    Class attributes:
        needs_best: whether it compares what was chosen with the best.
        needs_state: whether it looks at the state.
    """

    needs_best: ClassVar[bool] = False
    needs_state: ClassVar[bool] = True
    networks: Sequence[MultilayerPerceptron] = ()

    @property
    def layout(self) -> Layout:
        return {name: shape for network in self.networks for name, shape in network.layout.items()}

    def initialise(self, parameters: Mapping[str, Tensor], learner: int, generator: Generator) -> None:
        for network in self.networks:
            network.initialise(parameters, learner, generator)

    @abstractmethod
    def __call__(self, parameters: Mapping[str, Tensor], joint: JointChoice) -> Tensor:
        """Q_tot, [member, sample]."""


class WrittenMixer(Mixer):
    """A mixer whose gradient is written out: it does without automatic differentiation."""

    @abstractmethod
    def forward(self, parameters: Mapping[str, Tensor], joint: JointChoice) -> tuple[Tensor, Any]:
        """Q_tot without a graph, and what `backward` needs of it."""

    @abstractmethod
    def backward(
        self, parameters: Mapping[str, Tensor], kept: Any, gradient: Tensor, into: Mapping[str, Tensor]
    ) -> Tensor:
        """The chain rule from dL / dQ_tot [member, sample] to dL / dQ_i [member, sample, agent], which is returned, and
        to the parameters, whose gradient is written `into` tensors of their names."""


class Hypernetwork(MultilayerPerceptron):
    """A network whose outputs are weights of another (Ha et al. 2017), with relu in between.

    All parameters are drawn uniformly from +-1 / sqrt(inputs): with biases of zero the weights that it makes of a state
    of zeros would be zero as well, and nothing would be learnt there.
    """

    def __init__(self, name: str, inputs: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__(name, inputs, hidden, outputs, "relu")

    def initialise(self, parameters: Mapping[str, Tensor], learner: int, generator: Generator) -> None:
        for layer, inputs in enumerate(self.sizes[:-1]):
            bound = 1.0 / math.sqrt(max(inputs, 1))
            for part in ("weight", "bias"):
                target = parameters[f"{self.name}.{layer}.{part}"]
                drawn = nn.init.uniform_(torch.empty(target.shape[1:]), -bound, bound, generator=generator)
                with torch.no_grad():
                    target[learner].copy_(drawn)
