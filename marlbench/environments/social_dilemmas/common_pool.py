"""A resource that grows back: the harvest dynamics of GovSim as a learning task."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import AnyParameters, Discrete, EnvironmentSpecification
from marlbench.environments.simulator import TensorSimulator
from marlbench.environments.social_dilemmas.measures import efficiency, equality

CAPACITY = 100
COLLAPSE = 5


class CommonPoolParameters(contract.Parameters):
    """See `CommonPool`."""

    scenario: Literal["fishery", "pasture", "pollution"] = Field(
        default="fishery", description="the story; dynamics are the same in all of them"
    )
    agents: int = Field(default=5, ge=2, le=32, description="those who learn")
    outsider: bool = Field(
        default=False,
        description="a greedy outsider joins, who always asks for the most that can be asked for",
    )
    rounds: int = Field(default=12, ge=1, le=1_000, description="rounds of an episode")
    most: int = Field(default=20, ge=1, le=CAPACITY, description="the most that can be asked for in a round")


class CommonPool(TensorSimulator):
    """In every round all ask for units of a stock at once; what is left doubles, up to 100.

    Dynamics of GovSim (Piatti et al. 2024, arXiv 2404.16698) [code]: the stock starts at 100. Where the requests sum
    to more than the stock, units are handed out one at a time, each to one drawn among those who still want. A stock
    under 5 after the harvest collapses and the episode is over (terminated); otherwise it becomes
    min(100, 2 x what is left). As a learning task [ours]: requests 0 to `most`; an agent is paid the units that it
    receives. After the last round the episode is over (terminated).

    Observation, shares of their largest values: the stock, the round, whether there was a round before, own request in
    it, the others' requests in it in the order of the agents after one's own. State: stock, round, whether there was a
    round before, all requests.

    Metrics: `survival_rounds`, rounds played before the collapse or the end; `survival_rate`, whether the stock
    outlived the episode; `gain_mean`, units per agent; `efficiency`, the gain of all over what sustainable shares
    bring at most (`rounds` x capacity / 2), cut at 1 [unverified form]; `equality`, 1 - Gini coefficient of the gains;
    `over_usage`, share of the requests that lie above the sustainable share floor(floor(stock / 2) / those who ask).
    The outsider's gain counts in none of them but for the stock that it leaves.
    """

    argument = "scenario"
    Parameters = CommonPoolParameters
    limit_terminates = True

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [
            CommonPoolParameters(rounds=4),
            CommonPoolParameters(scenario="pollution", agents=2, outsider=True, rounds=6, most=50),
        ]

    def __init__(self, parameters: CommonPoolParameters, rows: int, device: torch.device) -> None:
        self.agents, self.most, self.rounds = parameters.agents, parameters.most, parameters.rounds
        self.askers = self.agents + parameters.outsider
        self.specification = EnvironmentSpecification(
            agents=tuple(f"agent_{agent}" for agent in range(self.agents)),
            observation_size=3 + self.askers,
            state_size=3 + self.askers,
            action=Discrete(self.most + 1),
            metrics=(
                "survival_rounds",
                "survival_rate",
                "gain_mean",
                "efficiency",
                "equality",
                "over_usage",
            ),
            episode_limit=self.rounds,
        )
        super().__init__(parameters, rows, device)
        shares = [1 / CAPACITY, 1 / self.rounds, 1.0, *[1 / self.most] * self.askers]
        self._shares = torch.tensor(shares, device=device)
        agent, place = torch.meshgrid(torch.arange(self.agents), torch.arange(self.askers), indexing="ij")
        # Agent i sees the askers i, i + 1, ... and round again to i - 1.
        seen = 3 + (agent + place) % self.askers
        common = torch.arange(3).expand(self.agents, -1)
        self._seen_from = torch.cat([common, seen], 1).flatten().to(device)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        rows = keys.shape[0]
        # Stock, round, whether there was a round before, all requests in it.
        shown = torch.zeros(rows, 3 + self.askers, device=keys.device)
        shown[:, 0] = CAPACITY
        return {
            "key": keys,
            "shown": shown,
            "gains": torch.zeros(rows, self.agents, device=keys.device),
            "over": torch.zeros(rows, device=keys.device),
            "survived": torch.ones(rows, device=keys.device),
        }

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        memory = self.memory
        stock, time = memory["shown"][:, :1], memory["shown"][:, 1:2]
        asked = action.to(torch.float32)
        if self.askers > self.agents:
            asked = torch.nn.functional.pad(asked, (0, 1), value=float(self.most))
        sustainable = torch.floor(torch.floor(stock / 2) / self.askers)
        memory["over"] = memory["over"] + (asked[:, : self.agents] > sustainable).sum(1)
        received = self._received(asked, stock, time)
        left = stock - received.sum(1, keepdim=True)
        collapsed = left < COLLAPSE
        regrown = (2.0 * left).clamp(max=CAPACITY).masked_fill(collapsed, 0.0)
        memory["shown"] = torch.cat([regrown, time + 1.0, torch.ones_like(time), asked], 1)
        gains = received[:, : self.agents].contiguous()
        memory["gains"] = memory["gains"] + gains
        memory["survived"] = (~collapsed).squeeze(1).to(torch.float32)
        return gains, collapsed.squeeze(1)

    def _received(self, asked: Tensor, stock: Tensor, time: Tensor) -> Tensor:
        from marlbench.environments.social_dilemmas.sharing import hand_out

        # Unit by unit, which no device does faster than a compiled loop.
        received = asked.cpu().numpy().copy()
        hand_out(received, *(one.cpu().numpy() for one in (stock[:, 0], self.memory["key"], time[:, 0])))
        return torch.from_numpy(received).to(asked.device)

    def observe(self) -> tuple[Tensor, Tensor]:
        state = self.memory["shown"] * self._shares
        seen = state.index_select(1, self._seen_from)
        return seen.view(len(state), self.agents, 3 + self.askers), state

    def measure(self) -> dict[str, Tensor]:
        memory = self.memory
        gains, rounds = memory["gains"], memory["shown"][:, 1]
        return {
            # The round of the collapse itself was not survived.
            "survival_rounds": rounds - (1.0 - memory["survived"]),
            "survival_rate": memory["survived"],
            "gain_mean": gains.mean(1),
            "efficiency": efficiency(gains, self.rounds * CAPACITY / 2).clamp(max=1.0),
            "equality": equality(gains),
            "over_usage": memory["over"] / (rounds.clamp(min=1.0) * self.agents),
        }
