"""Built-in: the players that come with a task decide, such as heuristics or an oracle. Nothing is learnt."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms.base import Algorithm, Hyperparameters, Mode, Policy, Setting
from marlbench.environments.contract import EnvironmentSpecification, Step
from marlbench.errors import ConfigurationError, did_you_mean


class BuiltInHyperparameters(Hyperparameters):
    """Which players. See `EnvironmentSpecification.built_in`."""

    players: dict[str, str] = Field(
        default={}, description="player of each agent that has some; its first one where none is named"
    )
    player: str | None = Field(
        default=None,
        description="player of every agent that `players` does not name",
        json_schema_extra={"legacy": None},
    )


class BuiltInPolicy(Policy):
    """The same actions at every step, int64 [agent]: each leaves an agent's decisions to its player."""

    def __init__(self, actions: Tensor, members: int) -> None:
        self.actions = actions
        self.members = members

    def uniforms(self, mode: Mode) -> int:
        return 0

    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        return self.actions.expand(step.observation.shape[0], -1), None


class BuiltIn(Algorithm):
    """Every agent is played by one of the players that the task has for it; tasks without players refuse it."""

    revision = 1
    Hyperparameters = BuiltInHyperparameters
    learns = False

    def __init__(self, setting: Setting, hyperparameters: Any) -> None:
        actions = built_in_actions(setting.specification, hyperparameters.players, hyperparameters.player)
        self.policy = BuiltInPolicy(actions.to(setting.device), setting.members)


def built_in_actions(
    specification: EnvironmentSpecification, players: dict[str, str], player: str | None = None
) -> Tensor:
    """int64 [agent]: the actions that leave every agent's decisions to its player, by name, or to its first one.

    Args:
        players: agent -> name.
        player: name for all others.

    Raises ConfigurationError where the task has no such player.
    """
    known = specification.built_in or {}
    without = [agent for agent in specification.agents if agent not in known]
    if without:
        raise ConfigurationError(
            f"built_in needs a task with players of its own, and this one has none for {', '.join(without)}.",
            hint="Choose another algorithm for this task.",
        )
    for agent in players:
        if agent not in known:
            raise ConfigurationError(
                f"built_in: the task has no agent '{agent}'.", hint=did_you_mean(agent, known)
            )
    chosen = []
    for agent in specification.agents:
        name = players.get(agent, player or known[agent][0])
        if name not in known[agent]:
            raise ConfigurationError(
                f"built_in: '{agent}' has no player '{name}'.", hint=did_you_mean(name, known[agent])
            )
        chosen.append(-1 - known[agent].index(name))
    return torch.tensor(chosen)
