"""Action values of the joint action, one for each agent: Q_i(x, a_1, ..., a_N) with x the state or all observations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Generator, Tensor

from marlbench.algorithms.agent_identity import AgentIdentity
from marlbench.algorithms.base import Setting
from marlbench.algorithms.networks import AgentNetwork, ImageEncoder
from marlbench.algorithms.sharing import Sharing
from marlbench.algorithms.stack import Activation, Layout, MultilayerPerceptron, activations
from marlbench.environments.contract import EnvironmentSpecification

CriticInput = Literal["state", "observations"]


class JointCritic:
    """[image encoder of each observation] -> [recurrent unit over x] -> hidden layers, with the joint action -> values.

    The recurrent unit sees x alone and the joint action enters behind it: so the memory is the same whichever actions
    are asked about. Agents that share a learner are told apart by a one-hot.

    Args:
        name: begins the names of the parameters.
        setting: what the method is built for.
        sharing: which agents share a learner.
        critic_input: what x is.
        width: numbers of one agent's action.
        outputs: values of a sample: 1, or one for each own action.
        hidden: units of the hidden layers.
        activation: after every hidden layer.
        recurrent_units: 0 for a critic of the present x alone.
    """

    def __init__(
        self,
        name: str,
        setting: Setting,
        sharing: Sharing,
        critic_input: CriticInput,
        width: int,
        outputs: int,
        hidden: tuple[int, ...],
        activation: Activation,
        recurrent_units: int,
    ) -> None:
        specification = setting.specification
        self.sharing, self.agents = sharing, setting.agents
        self.identity = AgentIdentity(True, sharing, setting.device)
        self.inputs = joint_size(specification, critic_input)
        self.encoder: ImageEncoder | None = None
        features = self.inputs
        if specification.image is not None and critic_input == "observations":
            self.encoder = ImageEncoder(f"{name}.image", specification.image)
            self.pixels, self.seen = math.prod(specification.image), specification.observation_size
            features = self.agents * (self.seen - self.pixels + self.encoder.outputs)
        self.history: AgentNetwork | None = None
        if recurrent_units:
            self.history = AgentNetwork(
                f"{name}.history",
                features,
                hidden[:1],
                recurrent_units,
                activation,
                math.sqrt(2.0),
                recurrent_units=recurrent_units,
            )
            self.activation = activations[activation]
            features = recurrent_units
        self.memory_size = recurrent_units
        columns = features + self.agents * width + self.identity.size
        self.head = MultilayerPerceptron(f"{name}.value", columns, hidden, outputs, activation)
        self.parts = [part for part in (self.encoder, self.history, self.head) if part is not None]

    @property
    def layout(self) -> Layout:
        return {name: shape for part in self.parts for name, shape in part.layout.items()}

    @property
    def units(self) -> int:
        """Activations that one sample keeps, for estimates of memory."""
        history = 0 if self.history is None else self.history.units
        image = 0 if self.encoder is None else 4 * self.encoder.outputs * self.agents
        return sum(self.head.sizes) + history + image

    def initialise(self, parameters: Mapping[str, Tensor], learner: int, generator: Generator) -> None:
        """Draw one learner's first parameters."""
        for part in self.parts:
            part.initialise(parameters, learner, generator)

    def encode(self, parameters: Mapping[str, Tensor], joint: Tensor, fresh: Tensor | None = None) -> Tensor:
        """What the values are computed from beside the actions; the memory begins empty.

        Args:
            joint: x, [member, *batch, features] of learners without memory, [member, time, row, features] otherwise.
            fresh: bool [member, time, row]: the memory is emptied before that step.

        Returns:
            [stack, *batch, encoded].
        """
        features = joint.repeat_interleave(self.sharing.groups, 0)
        if self.encoder is not None:
            lead = features.shape[:-1]
            one_by_one = features.reshape(features.shape[0], -1, self.seen)
            seen = self.encoder(parameters, one_by_one[..., : self.pixels])
            features = torch.cat([seen, one_by_one[..., self.pixels :]], -1).view(*lead, -1)
        if self.history is not None:
            stack, _, rows = features.shape[:3]
            memory = features.new_zeros(stack, rows, self.memory_size)
            if fresh is not None:
                fresh = fresh.repeat_interleave(self.sharing.groups, 0)
            features = self.activation(self.history.unroll(parameters, features, memory, fresh)[0])
        return features

    def __call__(self, parameters: Mapping[str, Tensor], encoded: Tensor, actions: Tensor) -> Tensor:
        """Values from `encode`'s result and joint actions.

        Args:
            encoded: [stack, *batch, encoded].
            actions: the joint action that each agent's value is asked of: [member, *batch, agent, agents x width].

        Returns:
            [member, *batch, agent, outputs].
        """
        batch = tuple(actions.shape[1:-2])
        folded = self.sharing.fold(self.identity(actions))
        repeated = encoded.unsqueeze(-2).expand(
            *encoded.shape[:-1], self.sharing.group_size, encoded.shape[-1]
        )
        features = torch.cat([repeated.reshape(*folded.shape[:2], -1), folded], -1)
        return self.sharing.unfold(self.head(parameters, features), batch)


def joint_size(specification: EnvironmentSpecification, critic_input: CriticInput) -> int:
    """Features of x."""
    if critic_input == "state":
        return specification.state_size
    return len(specification.agents) * specification.observation_size


def joint_actions(actions: Tensor, own: Tensor | None = None) -> Tensor:
    """The joint action once for every agent, with the agent's own part replaced where `own` is given.

    Args:
        actions: [..., agent, width].
        own: [..., agent, width].

    Returns:
        [..., agent, agents x width].
    """
    agents, width = actions.shape[-2:]
    lead = actions.shape[:-2]
    joint = actions.reshape(*lead, 1, agents * width).expand(*lead, agents, agents * width)
    if own is None:
        return joint
    mine = torch.eye(agents, dtype=torch.bool, device=actions.device).repeat_interleave(width, 1)
    return torch.where(mine, own.repeat(*(1,) * (own.dim() - 1), agents), joint)
