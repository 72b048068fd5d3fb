"""The linear public goods game: contributions are multiplied and shared by all."""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import AnyParameters, Discrete, EnvironmentSpecification
from marlbench.environments.simulator import TensorSimulator


class PublicGoodsParameters(contract.Parameters):
    """See `PublicGoods`."""

    agents: int = Field(default=4, ge=2, le=256, description="players")
    factor: float = Field(
        default=1.6, gt=1, description="what contributions are multiplied with; less than agents"
    )
    rounds: int = Field(default=50, ge=1, le=10_000, description="rounds of an episode")

    @model_validator(mode="after")
    def _dilemma(self) -> PublicGoodsParameters:
        if self.factor >= self.agents:
            raise ValueError(
                "factor must be less than the number of agents: else contributing pays, and no dilemma is left"
            )
        return self


class PublicGoods(TensorSimulator):
    """In every round all choose at once whether to contribute (action 0) or to keep (action 1) their one unit.

    With c of n contributing, everybody receives factor x c / n, and those who kept it have their unit as well. Keeping
    is dominant, 1 a round if all do so; all contributing earns `factor`, the most that all can have.

    Observation: one's own action of the round before as a one-hot (zeros at the start), the share of the others who
    contributed then. State: the observations side by side. A repeated game is cut after its rounds (truncated), a
    single round is over (terminated).

    Metrics: `payoff_mean`, a round's payoff averaged over agents; `cooperation_rate`, the share of contributions.
    """

    Parameters = PublicGoodsParameters

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [PublicGoodsParameters(rounds=4), PublicGoodsParameters(agents=2, factor=1.5, rounds=1)]

    def __init__(self, parameters: PublicGoodsParameters, rows: int, device: torch.device) -> None:
        self.agents, self.factor, self.rounds = parameters.agents, parameters.factor, parameters.rounds
        self.specification = EnvironmentSpecification(
            agents=tuple(f"agent_{agent}" for agent in range(self.agents)),
            observation_size=3,
            state_size=3 * self.agents,
            action=Discrete(2),
            metrics=("payoff_mean", "cooperation_rate"),
            episode_limit=self.rounds,
        )
        super().__init__(parameters, rows, device)
        self.limit_terminates = self.rounds == 1

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        rows = keys.shape[0]
        return {
            "observation": torch.zeros(rows, self.agents, 3, device=keys.device),
            "contributions": torch.zeros(rows, device=keys.device),
        }

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        gave = (action == 0).to(torch.float32)
        total = gave.sum(1, keepdim=True)
        self.memory["contributions"] = self.memory["contributions"] + total.squeeze(1)
        others = (total - gave) / (self.agents - 1)
        self.memory["observation"] = torch.stack([gave, 1.0 - gave, others], -1)
        return self.factor * total / self.agents + (1.0 - gave), None

    def observe(self) -> tuple[Tensor, Tensor]:
        observation = self.memory["observation"]
        return observation, observation.flatten(1)

    def measure(self) -> dict[str, Tensor]:
        rate = self.memory["contributions"] / (self.rounds * self.agents)
        return {"payoff_mean": 1.0 + (self.factor - 1.0) * rate, "cooperation_rate": rate}
