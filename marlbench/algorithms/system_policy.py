"""The policy of storage systems: a small network decides for one or two agents, built-in players for the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlbench.algorithms.base import Mode, Policy, Setting
from marlbench.algorithms.built_in import built_in_actions
from marlbench.algorithms.decision_kernel import decide
from marlbench.algorithms.distributions import epsilon_greedy
from marlbench.algorithms.recording import recording
from marlbench.algorithms.storage_columns import Columns
from marlbench.algorithms.swish_network import SwishNetwork
from marlbench.algorithms.systems_apart import Apart
from marlbench.algorithms.value_heads import Head
from marlbench.environments.contract import Step

_NO_NOISE = np.zeros((1, 1, 2), np.float32)


class Decider(ABC):
    """The network with which one agent decides: a copy of the one that learns.

    Attributes:
        agent: index of the agent.
        columns: what it sees of its observation.
        network: its form.
        acting: the parameters it decides by, [stack, parameters].
        named: the same, name -> [stack, *shape].
    """

    agent: int
    columns: Columns
    network: SwishNetwork
    acting: Tensor
    named: dict[str, Tensor]

    @property
    @abstractmethod
    def head(self) -> Head:
        """What its outputs are."""

    def values(self, features: Tensor) -> Tensor:
        """How good the actions look, [stack, lane, column] -> [stack, lane, action]."""
        return self.head.values(self.network(self.named, features))


class SystemPolicy(Policy):
    """The best action by the deciders' values; in training with probability epsilon a random one.

    Args:
        deciders: of the agents that decide for themselves.
        players: name of another agent -> its built-in player.
    """

    def __init__(
        self, setting: Setting, apart: Apart, deciders: Sequence[Decider], players: Mapping[str, str]
    ) -> None:
        self.members, self.apart, self.deciders = setting.members, apart, tuple(deciders)
        self.epsilon = 0.0
        self._fixed = built_in_actions(setting.specification, dict(players)).to(setting.device)
        self._compiles = all(decider.head.compiles for decider in self.deciders)
        self._plain = self._fixed.flatten().cpu().numpy()
        self._forms = [
            (np.array(decider.network.sizes), decider.head.support.cpu().numpy()) for decider in self.deciders
        ]

    def uniforms(self, mode: Mode) -> int:
        return 2 if mode == "behaviour" else 0

    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        epsilon = self.epsilon if mode == "behaviour" else 0.0
        observation = step.observation
        if self._compiles and observation.device.type == "cpu" and not recording():
            return torch.from_numpy(self.chosen_compiled(observation, epsilon, noise)), None
        action = self._fixed.repeat(len(observation), 1)
        for decider in self.deciders:
            self.choose(decider, observation, epsilon, noise, action)
        return action, None

    def choose(
        self, decider: Decider, observation: Tensor, epsilon: float, noise: Tensor, action: Tensor
    ) -> None:
        """Fill in the actions of one agent, int64 [row, agent]."""
        seen = decider.columns.of(observation[:, decider.agent])
        values = self.apart.unfold(decider.values(self.apart.fold(seen)), len(observation))
        uniform = noise[:, decider.agent] if epsilon > 0.0 else noise
        action[:, decider.agent] = epsilon_greedy(values, None, epsilon, uniform)

    def chosen_compiled(self, observation: Tensor, epsilon: float, noise: Tensor) -> NDArray[np.int64]:
        """All actions on a CPU, the same up to rounding, without the cost of a dozen small operations."""
        action = np.empty((len(observation), len(self._plain)), np.int64)
        action[:] = self._plain
        shown = observation.numpy()
        uniform = noise.numpy() if epsilon > 0.0 else _NO_NOISE
        for decider, (sizes, support) in zip(self.deciders, self._forms, strict=True):
            decide(
                shown,
                decider.agent,
                decider.columns.indices,
                decider.acting.numpy(),
                sizes,
                decider.head.atoms,
                support,
                self.members,
                self.apart.learners,
                epsilon,
                uniform,
                action,
            )
        return action

    def parameters(self) -> Tensor:
        return torch.cat([decider.acting.reshape(self.members, -1) for decider in self.deciders], 1)

    def load_parameters(self, parameters: Tensor) -> None:
        for decider, part in zip(self.deciders, self._split(parameters), strict=True):
            decider.acting.copy_(part.reshape(decider.acting.shape))

    def _split(self, parameters: Tensor) -> tuple[Tensor, ...]:
        """[..., parameters] -> of each decider."""
        return parameters.split([d.acting.shape[1] * self.apart.learners for d in self.deciders], -1)

    def describe(self, parameters: Tensor) -> dict[str, Tensor]:
        found = {}
        for decider, part in zip(self.deciders, self._split(parameters), strict=True):
            start, flat = 0, part.view(self.apart.learners, -1)
            for name, value in decider.named.items():
                count = value[0].numel()
                found[name] = flat[:, start : start + count].reshape(-1, *value.shape[1:]).clone().cpu()
                start += count
        return found

    def parameters_of(self, description: Mapping[str, Tensor]) -> Tensor:
        parts = []
        for decider in self.deciders:
            flat = []
            for name, value in decider.named.items():
                wanted = (self.apart.learners, *value.shape[1:])
                if name not in description or tuple(description[name].shape) != wanted:
                    raise ValueError(f"'{name}' is not there with the shape {wanted}")
                flat.append(description[name].reshape(self.apart.learners, -1))
            parts.append(torch.cat(flat, 1).flatten())
        return torch.cat(parts)
