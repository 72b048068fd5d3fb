"""A learner of the values of one agent's decisions: one network that learns, and an older copy that acts.

The copy is what decides and what transitions are completed with, as in Sibyl (ISCA 2022), whose training network's
weights go to its inference network at intervals [paper]; that the copy is the target network too is [ours].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from marlbench.algorithms.adam import Adam
from marlbench.algorithms.base import Setting, generators, initialised
from marlbench.algorithms.decision_replays import DelayedReplay, StepReplay
from marlbench.algorithms.rmsprop import RMSprop
from marlbench.algorithms.stack import ParameterStack
from marlbench.algorithms.storage_columns import Columns
from marlbench.algorithms.swish_network import SwishNetwork
from marlbench.algorithms.system_policy import Decider
from marlbench.algorithms.systems_apart import Apart
from marlbench.algorithms.value_heads import ReturnHead

OptimiserName = Literal["adam", "rmsprop"]


@dataclass(frozen=True)
class LearnerOptions:
    """How a learner learns.

    Attributes:
        hidden: units of the hidden layers, with swish.
        optimiser, learning_rate, optimiser_epsilon: the optimiser, and the number in its denominator.
        batch: transitions of an update.
    """

    hidden: tuple[int, ...]
    optimiser: OptimiserName
    learning_rate: float
    optimiser_epsilon: float
    batch: int


class DecisionLearner(Decider):
    """Learns the values of one agent's decisions, side by side for every member and learner.

    Args:
        name: of the network.
        replay: of the agent's decisions.
        stream: the number of the first of two random streams of each member.
    """

    def __init__(
        self,
        name: str,
        setting: Setting,
        apart: Apart,
        agent: int,
        columns: Columns,
        head: ReturnHead,
        options: LearnerOptions,
        replay: StepReplay | DelayedReplay,
        stream: int,
    ) -> None:
        self.agent, self.columns, self.options, self.replay = agent, columns, options, replay
        self._head = head
        self.apart, self.device = apart, setting.device
        self.network = SwishNetwork(name, columns.count, options.hidden, head.outputs, output_gain=0.01)
        self.stack = ParameterStack(self.network.layout, apart.stack, setting.device)
        initialised(self.stack, [self.network], setting.seeds, apart.learners, stream)
        self.acting = self.stack.flat.detach().clone()
        self.named = self.stack.view(self.acting)
        self.optimiser: Adam | RMSprop
        if options.optimiser == "adam":
            self.optimiser = Adam(self.stack, options.learning_rate, options.optimiser_epsilon)
        else:
            self.optimiser = RMSprop(self.stack, options.learning_rate, epsilon=options.optimiser_epsilon)
        self.generators = generators(setting.seeds, stream + 1)

    @property
    def head(self) -> ReturnHead:
        return self._head

    def update(self) -> dict[str, Tensor]:
        """One update of every learner that has decisions to learn from; measures, name -> [stack].

        The others stand still: a gradient of zero leaves them, whatever the optimiser, where they began.
        """
        shape = (self.apart.learners, self.options.batch)
        uniform = torch.cat([torch.rand(shape, generator=g) for g in self.generators]).to(self.device)
        lesson, ready = self.replay.draw(uniform)
        behind = self.network(self.named, lesson.following)
        parameters = {name: value.detach() for name, value in self.stack.parameters.items()}
        outputs, kept = self.network.keep(parameters, lesson.observation)
        slope, loss = self.head.slope(outputs, behind, lesson)
        slope.div_(self.options.batch)
        loss = loss.mean(1)
        if ready is not None:
            slope = slope * ready.view(-1, 1, 1)
            loss = loss * ready
        self.network.set_gradient(self.stack, kept, slope)
        self.optimiser.step()
        return {"loss": loss, "reward": lesson.reward.mean(1)}

    def synchronise(self) -> None:
        """The copy that acts takes over what was learnt."""
        self.acting.copy_(self.stack.flat.detach())

    @property
    def bytes(self) -> int:
        """Of all learners: networks, their gradients, optimiser states and decisions."""
        moments = 2 * self.acting.nbytes
        return 3 * self.acting.nbytes + moments + self.replay.bytes

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameters": self.stack.flat.detach().clone(),
            "acting": self.acting.clone(),
            "optimiser": self.optimiser.state_dict(),
            "replay": self.replay.state_dict(),
            "generators": [g.get_state() for g in self.generators],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self.stack.flat.copy_(state["parameters"])
        self.acting.copy_(state["acting"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.replay.load_state_dict(state["replay"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved.cpu())
