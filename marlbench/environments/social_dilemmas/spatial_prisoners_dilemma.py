"""The spatial prisoner's dilemma: hundreds of agents, each against its neighbours, without end."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import AnyParameters, Discrete, EnvironmentSpecification
from marlbench.environments.keys import derive, uniform
from marlbench.environments.simulator import TensorSimulator
from marlbench.environments.social_dilemmas.neighbourhoods import lattice, random_regular, well_mixed

NEIGHBOURS = 4


class SpatialPrisonersDilemmaParameters(contract.Parameters):
    """See `SpatialPrisonersDilemma`."""

    side: int = Field(default=30, ge=3, le=200, description="the number of agents is its square")
    topology: Literal["lattice", "random_regular", "well_mixed"] = Field(
        default="lattice", description="who meets whom"
    )
    dilemma_strength: float = Field(default=0.1, ge=0, le=1, description="D_r of the payoffs")

    @model_validator(mode="after")
    def _enough_agents(self) -> SpatialPrisonersDilemmaParameters:
        if self.topology == "random_regular" and self.side * self.side <= NEIGHBOURS + 1:
            raise ValueError(f"a random regular graph of degree {NEIGHBOURS} needs a side of at least 3")
        return self


class SpatialPrisonersDilemma(TensorSimulator):
    """Everybody chooses at once and is paid the mean over its neighbours; nothing ever ends.

    arXiv 2601.05509 [code]: action 0 cooperates, 1 defects; payoffs R = 1, P = 0, S = -D_r, T = 1 + D_r. On the
    periodic square lattice the neighbours are up, right, down and left; the first actions, those observed before any
    was chosen, are fair coins. Other topologies [ours, after the paper's description]: a random regular graph of the
    same degree, drawn once for each row; well mixed, where everybody meets four others drawn anew at every step.

    Observation: the neighbours' last actions in their order, then one's own: 5 bits. State: all last actions. Where
    agents are well mixed, the neighbours observed are those to be met next.

    Measures of every step: `cooperation_level`, the share of agents that cooperated.
    """

    argument = "topology"
    Parameters = SpatialPrisonersDilemmaParameters

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [
            SpatialPrisonersDilemmaParameters(side=4),
            SpatialPrisonersDilemmaParameters(side=4, topology="random_regular", dilemma_strength=0.3),
            SpatialPrisonersDilemmaParameters(side=3, topology="well_mixed"),
        ]

    def __init__(
        self, parameters: SpatialPrisonersDilemmaParameters, rows: int, device: torch.device
    ) -> None:
        self.agents = parameters.side**2
        self.topology = parameters.topology
        self.specification = EnvironmentSpecification(
            agents=tuple(f"agent_{agent}" for agent in range(self.agents)),
            observation_size=NEIGHBOURS + 1,
            state_size=self.agents,
            action=Discrete(2),
            metrics=("cooperation_level",),
            continuing=True,
        )
        super().__init__(parameters, rows, device)
        seen = torch.cat([lattice(parameters.side), torch.arange(self.agents).unsqueeze(1)], 1)
        self._lattice = seen.flatten().to(device)
        # The payoff is linear in what is seen afterwards: with d of four neighbours that defect it is
        # 1 - (1 + D_r) d / 4 for a cooperator and D_r more for a defector.
        strength = parameters.dilemma_strength
        weights = [-(1.0 + strength) / NEIGHBOURS] * NEIGHBOURS + [strength]
        self._payoff, self._one = torch.tensor(weights, device=device), torch.ones((), device=device)
        self._seen: Tensor | None = None

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        memory = {
            "key": keys,
            "last": (uniform(derive(keys, 1), self.agents) >= 0.5).to(torch.float32),
            "level": torch.zeros(keys.shape[0], device=keys.device),
        }
        if self.topology == "random_regular":
            drawn = [random_regular(self.agents, NEIGHBOURS, key) for key in keys.tolist()]
            memory["neighbours"] = torch.stack(drawn).to(keys.device)
        elif self.topology == "well_mixed":
            memory["neighbours"] = well_mixed(keys, self.agents, NEIGHBOURS)
        return memory

    def _of_neighbours(self, values: Tensor) -> Tensor:
        """[row, agent] -> [row, agent, neighbour]."""
        index = self.memory["neighbours"].flatten(1)
        return values.gather(1, index).view(-1, self.agents, NEIGHBOURS)

    def _view(self, last: Tensor) -> Tensor:
        """What everybody sees of the last actions [row, agent]: [row, agent, neighbours and self]."""
        if self.topology == "lattice":
            return last.index_select(1, self._lattice).view(-1, self.agents, NEIGHBOURS + 1)
        return torch.cat([self._of_neighbours(last), last.unsqueeze(-1)], -1)

    def restore(self) -> None:
        self._seen = None

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        chosen = action.to(torch.float32)
        seen = self._view(chosen)
        reward = torch.addmv(self._one, seen.view(-1, NEIGHBOURS + 1), self._payoff).view(chosen.shape)
        self.memory["last"] = chosen
        self.memory["level"] = torch.sub(self._one, chosen.mean(1))
        if self.topology == "well_mixed":
            self.memory["key"] = derive(self.memory["key"], 2)
            self.memory["neighbours"] = well_mixed(self.memory["key"], self.agents, NEIGHBOURS)
        else:
            # Those who are met again show again what was paid for.
            self._seen = seen
        return reward, None

    def observe(self) -> tuple[Tensor, Tensor]:
        last = self.memory["last"]
        seen, self._seen = self._seen, None
        return self._view(last) if seen is None else seen, last.clone()

    def measure_step(self) -> dict[str, Tensor]:
        return {"cooperation_level": self.memory["level"]}
