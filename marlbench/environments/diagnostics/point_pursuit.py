"""Points that steer towards targets with continuous actions, where the best return is known exactly."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import AnyParameters, Continuous, EnvironmentSpecification
from marlbench.environments.keys import uniform
from marlbench.environments.simulator import TensorSimulator


class PointPursuitParameters(contract.Parameters):
    """See `PointPursuit`."""

    agents: int = Field(default=2, ge=1, le=64, description="points")
    speed: float = Field(default=0.2, gt=0, le=2, description="most that a coordinate changes in a step")
    length: int = Field(default=16, ge=1, le=1_000, description="steps of an episode")


class PointPursuit(TensorSimulator):
    """Every agent is a point in the square [-1, 1]^2 and pursues a target of its own that stands still.

    A step moves each coordinate by speed x action, actions in [-1, 1]^2. Observation: the vector from the point to its
    target. State: the observations side by side. An agent is paid minus the distance |dx| + |dy| after its move.

    Coordinates do not meet, so the best an agent can do is to close each at full speed and stop:
    return = -sum over t and coordinates of max(0, |d| - speed t).

    Metrics: `shortfall`, the best return minus the return, averaged over agents: 0 is the optimum.
    """

    Parameters = PointPursuitParameters

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [PointPursuitParameters(length=5), PointPursuitParameters(agents=1, length=3, speed=0.5)]

    def __init__(self, parameters: PointPursuitParameters, rows: int, device: torch.device) -> None:
        self.agents, self.speed, self.length = parameters.agents, parameters.speed, parameters.length
        self.specification = EnvironmentSpecification(
            agents=tuple(f"agent_{agent}" for agent in range(self.agents)),
            observation_size=2,
            state_size=2 * self.agents,
            action=Continuous(2),
            metrics=("shortfall",),
            episode_limit=self.length,
        )
        super().__init__(parameters, rows, device)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        drawn = uniform(keys, 4 * self.agents).view(-1, self.agents, 2, 2) * 2.0 - 1.0
        away = drawn[:, :, 0] - drawn[:, :, 1]
        time = torch.arange(1, self.length + 1, device=keys.device)
        left = (away.abs().unsqueeze(-1) - self.speed * time).clamp(min=0.0)
        return {"away": away, "shortfall": -left.sum((2, 3)).mean(1)}

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        away = self.memory["away"] - self.speed * action.clamp(-1.0, 1.0)
        reward = -away.abs().sum(-1)
        self.memory["away"] = away
        self.memory["shortfall"] = self.memory["shortfall"] - reward.mean(1)
        return reward, None

    def observe(self) -> tuple[Tensor, Tensor]:
        observation = self.memory["away"].clone()
        return observation, observation.flatten(1)

    def measure(self) -> dict[str, Tensor]:
        return {"shortfall": self.memory["shortfall"]}
