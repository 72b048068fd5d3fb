"""A resource that grows back: the harvest dynamics of GovSim as a learning task."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import AnyParameters, Discrete, EnvironmentSpecification
from marlbench.environments.keys import derive, uniform
from marlbench.environments.simulator import TensorSimulator
from marlbench.environments.social_dilemmas.measures import equality

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
        agent, place = torch.meshgrid(torch.arange(self.agents), torch.arange(self.askers), indexing="ij")
        self._seen_from = ((agent + place) % self.askers).to(device)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        rows = keys.shape[0]

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(rows, *shape, device=keys.device)

        return {
            "key": keys,
            "stock": torch.full((rows,), float(CAPACITY), device=keys.device),
            "round": zeros(),
            "asked": zeros(self.askers),
            "gains": zeros(self.agents),
            "over": zeros(),
            "survived": torch.ones(rows, device=keys.device),
        }

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        memory = self.memory
        stock, asked = memory["stock"], action.to(torch.float32)
        if self.askers > self.agents:
            outsider = asked.new_full((asked.shape[0], 1), float(self.most))
            asked = torch.cat([asked, outsider], 1)
        sustainable = torch.floor(torch.floor(stock / 2) / self.askers)
        memory["over"] = memory["over"] + (asked[:, : self.agents] > sustainable.unsqueeze(1)).float().mean(1)
        received = self._received(asked, stock)
        left = stock - received.sum(1)
        collapsed = left < COLLAPSE
        memory["stock"] = torch.where(collapsed, 0.0, (2.0 * left).clamp(max=CAPACITY))
        memory["round"] = memory["round"] + 1.0
        memory["asked"] = asked
        gains = received[:, : self.agents]
        memory["gains"] = memory["gains"] + gains
        memory["survived"] = (~collapsed).to(torch.float32)
        return gains.contiguous(), collapsed

    def _received(self, asked: Tensor, stock: Tensor) -> Tensor:
        keys = derive(self.memory["key"], self.memory["round"].long())
        if self.device.type != "cpu":
            return hand_out(asked, stock, keys, self.most)
        # Scarcity is the exception; on a CPU it pays to look for it.
        scarce = (asked.sum(1) > stock).nonzero().squeeze(1)
        if not len(scarce):
            return asked
        rationed = hand_out(asked[scarce], stock[scarce], keys[scarce], self.most)
        return asked.index_copy(0, scarce, rationed)

    def observe(self) -> tuple[Tensor, Tensor]:
        memory = self.memory
        common = torch.stack(
            [
                memory["stock"] / CAPACITY,
                memory["round"] / self.rounds,
                (memory["round"] > 0).to(torch.float32),
            ],
            1,
        )
        asked = memory["asked"] / self.most
        seen = asked[:, self._seen_from]
        observation = torch.cat([common.unsqueeze(1).expand(-1, self.agents, -1), seen], -1)
        return observation, torch.cat([common, asked], -1)

    def measure(self) -> dict[str, Tensor]:
        memory = self.memory
        gains, rounds = memory["gains"], memory["round"]
        return {
            # The round of the collapse itself was not survived.
            "survival_rounds": rounds - (1.0 - memory["survived"]),
            "survival_rate": memory["survived"],
            "gain_mean": gains.mean(1),
            "efficiency": (gains.sum(1) / (self.rounds * CAPACITY / 2)).clamp(max=1.0),
            "equality": equality(gains),
            "over_usage": memory["over"] / rounds.clamp(min=1.0),
        }


def hand_out(asked: Tensor, stock: Tensor, keys: Tensor, most: int) -> Tensor:
    """Units handed out one at a time, each to one drawn uniformly among those who still want.

    Equally: everybody's wishes come true at the arrivals of a Poisson process of one's own, all of the same rate, and
    the earliest arrivals get the stock. Whoever still wants is then the next with equal probability, whatever happened
    before, because the processes have no memory; and no loop over units is needed.

    Args:
        asked: whole numbers up to `most`, float [row, asker].
        stock: whole numbers, float [row].
        keys: int64 [row].
        most: the largest request possible.

    Returns:
        received, float [row, asker]; its sum is the smaller of the requests' sum and the stock.
    """
    rows, askers = asked.shape
    waits = -torch.log1p(-uniform(keys, askers * most).view(rows, askers, most))
    wanted = torch.arange(most, device=asked.device) < asked.unsqueeze(-1)
    arrivals = torch.where(wanted, waits.cumsum(-1), torch.inf)
    if asked.device.type == "cpu":
        return _earliest_on_a_cpu(arrivals, asked, stock)
    return _earliest(arrivals, stock).to(asked.dtype)


def _earliest(arrivals: Tensor, stock: Tensor) -> Tensor:
    """How many of each asker's arrivals are among the row's first: int64 [row, asker]."""
    order = arrivals.flatten(1).argsort(dim=1, stable=True)
    places = torch.arange(order.shape[1], device=order.device)
    first = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order, places < stock.unsqueeze(1))
    return (first.view_as(arrivals) & arrivals.isfinite()).sum(-1)


def _earliest_on_a_cpu(arrivals: Tensor, asked: Tensor, stock: Tensor) -> Tensor:
    """The same by numpy's sort of values, which is many times as fast as torch's of places."""
    enough = torch.minimum(asked.sum(1), stock)
    ordered = torch.from_numpy(np.sort(arrivals.flatten(1).numpy(), axis=1))
    last = ordered.gather(1, (enough.long() - 1).clamp(min=0).unsqueeze(1))
    received = ((arrivals <= last.unsqueeze(1)) & (enough > 0).view(-1, 1, 1)).sum(-1).to(asked.dtype)
    # Two arrivals may be equal as numbers; whose place comes first is then first.
    tied = (received.sum(1) != enough).nonzero().squeeze(1)
    return received.index_copy(0, tied, _earliest(arrivals[tied], stock[tied]).to(asked.dtype))
