"""Actions that come and go: what is available changes at every step, and only the mask tells."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import AnyParameters, Discrete, EnvironmentSpecification
from marlbench.environments.keys import derive, uniform
from marlbench.environments.simulator import TensorSimulator


class MaskedChoiceParameters(contract.Parameters):
    """See `MaskedChoice`."""

    agents: int = Field(default=2, ge=1, le=64, description="agents")
    actions: int = Field(default=6, ge=2, le=64, description="actions of each")
    length: int = Field(default=8, ge=1, le=1_000, description="steps of an episode")


class MaskedChoice(TensorSimulator):
    """At every step each action of each agent is available with probability one half, and at least one is.

    Action a of A pays a / (A - 1), divided by the number of agents; all agents receive the sum. An action that is not
    available pays -1 instead and is counted. Nobody observes anything (the constant 1): the mask is all there is.

    The optimum is the last available action at every step: `regret` 0.

    Metrics: `regret`, what the best available actions would have paid more, a step's mean; `illegal_rate`, the share
    of actions that were not available.
    """

    Parameters = MaskedChoiceParameters

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [MaskedChoiceParameters(length=5), MaskedChoiceParameters(agents=1, actions=2, length=3)]

    def __init__(self, parameters: MaskedChoiceParameters, rows: int, device: torch.device) -> None:
        self.agents, self.actions, self.length = parameters.agents, parameters.actions, parameters.length
        self.specification = EnvironmentSpecification(
            agents=tuple(f"agent_{agent}" for agent in range(self.agents)),
            observation_size=1,
            state_size=1,
            action=Discrete(self.actions),
            metrics=("regret", "illegal_rate"),
            episode_limit=self.length,
            masks_actions=True,
        )
        super().__init__(parameters, rows, device)
        self._payoff = torch.linspace(0.0, 1.0, self.actions, device=device)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        nothing = torch.zeros(keys.shape[0], device=keys.device)
        return {"key": keys, "regret": nothing, "illegal": nothing.clone(), "available": self._offered(keys)}

    def _offered(self, keys: Tensor) -> Tensor:
        """bool [row, agent, action]."""
        drawn = uniform(keys, self.agents * (self.actions + 1)).view(-1, self.agents, self.actions + 1)
        sure = (drawn[..., :1] * self.actions).long()
        return (drawn[..., 1:] < 0.5).scatter(-1, sure, True)

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        memory = self.memory
        legal = memory["available"].gather(-1, action.unsqueeze(-1)).squeeze(-1)
        paid = torch.where(legal, self._payoff[action], -1.0).mean(1)
        best = torch.where(memory["available"], self._payoff, 0.0).amax(-1).mean(1)
        memory["regret"] = memory["regret"] + (best - paid) / self.length
        memory["illegal"] = memory["illegal"] + (~legal).to(torch.float32).mean(1) / self.length
        memory["key"] = derive(memory["key"], 0)
        memory["available"] = self._offered(memory["key"])
        return paid.unsqueeze(1).expand(-1, self.agents).contiguous(), None

    def observe(self) -> tuple[Tensor, Tensor]:
        rows = self.memory["key"].shape[0]
        return (
            torch.ones(rows, self.agents, 1, device=self.device),
            torch.ones(rows, 1, device=self.device),
        )

    def available_actions(self) -> Tensor:
        return self.memory["available"]

    def measure(self) -> dict[str, Tensor]:
        return {"regret": self.memory["regret"], "illegal_rate": self.memory["illegal"]}
