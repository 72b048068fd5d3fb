"""A cue that must be remembered: without memory nobody does better than guessing."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from marlbench.environments import contract
from marlbench.environments.contract import AnyParameters, Discrete, EnvironmentSpecification
from marlbench.environments.keys import uniform
from marlbench.environments.simulator import TensorSimulator


class RecallParameters(contract.Parameters):
    """How many agents remember what, for how long. See `Recall`."""

    agents: int = Field(default=2, ge=1, le=64, description="agents, each with a cue of its own")
    cues: int = Field(default=3, ge=2, le=32, description="different cues, and actions")
    delay: int = Field(default=4, ge=1, le=1_000, description="steps between the cue and the answer")


class Recall(TensorSimulator):
    """Every agent sees a cue at the first step and is asked for it at the last.

    Observation: one-hot of the cue (zeros after the first step), then whether the answer is asked for. State: the
    observations side by side. At the last step all agents receive the share of agents whose action is their cue; the
    episode is then over (terminated). Nothing is paid before.

    The optimum is 1. Without memory an agent's answer cannot depend on its cue: 1 / cues at best.

    Metrics: `success_rate`, the share of right answers.
    """

    Parameters = RecallParameters
    limit_terminates = True

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [RecallParameters(), RecallParameters(agents=1, cues=2, delay=1)]

    def __init__(self, parameters: RecallParameters, rows: int, device: torch.device) -> None:
        self.agents, self.cues, self.delay = parameters.agents, parameters.cues, parameters.delay
        features = self.cues + 1
        self.specification = EnvironmentSpecification(
            agents=tuple(f"agent_{agent}" for agent in range(self.agents)),
            observation_size=features,
            state_size=self.agents * features,
            action=Discrete(self.cues),
            metrics=("success_rate",),
            episode_limit=self.delay + 1,
        )
        super().__init__(parameters, rows, device)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        rows = keys.shape[0]
        return {
            "cue": (uniform(keys, self.agents) * self.cues).long(),
            "time": torch.zeros(rows, dtype=torch.int64, device=keys.device),
            "right": torch.zeros(rows, device=keys.device),
        }

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        asked = self.memory["time"] == self.delay
        right = (action == self.memory["cue"]).to(torch.float32).mean(1) * asked
        self.memory["time"] = self.memory["time"] + 1
        self.memory["right"] = right
        return right.unsqueeze(1).expand(-1, self.agents).contiguous(), None

    def observe(self) -> tuple[Tensor, Tensor]:
        time = self.memory["time"].view(-1, 1, 1)
        cue = one_hot(self.memory["cue"], self.cues) * (time == 0)
        asked = (time == self.delay).expand(-1, self.agents, 1)
        observation = torch.cat([cue, asked], -1).to(torch.float32)
        return observation, observation.flatten(1)

    def measure(self) -> dict[str, Tensor]:
        return {"success_rate": self.memory["right"]}
