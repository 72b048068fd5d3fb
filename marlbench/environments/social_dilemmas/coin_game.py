"""The coin game: every coin is worth one to whoever takes it, and a wrong one costs the other two."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from marlbench.environments import contract
from marlbench.environments.contract import AnyParameters, Discrete, EnvironmentSpecification
from marlbench.environments.keys import derive, uniform
from marlbench.environments.simulator import TensorSimulator

AGENTS = 2


class CoinGameParameters(contract.Parameters):
    """See `CoinGame`."""

    side: int = Field(default=3, ge=2, le=16, description="cells of a side of the torus")
    length: int = Field(default=50, ge=1, le=10_000, description="steps of an episode")


class CoinGame(TensorSimulator):
    """Two agents, red and blue, on a torus with one coin of either colour.

    Lerer and Peysakhovich 2017 (arXiv 1707.01068) [paper]: taking any coin pays 1; if it was of the other's colour,
    the other gets -2. Actions: up, right, down, left; agents may share a cell, and when both arrive at the coin
    together both take it. A coin that was taken appears anew on a cell that nobody stands on, its colour and cell
    drawn from the row's key and the step [ours: colours are drawn, not alternated].

    Observation, own view: four planes of cells, one-hot of oneself, the other, a coin of one's own colour, a coin of
    the other's. State: the observation of the first agent. An episode is cut after `length` steps (truncated).

    Metrics: `own_share`, coins taken by their own colour over coins taken (0 where none was); `coins_per_step`, coins
    taken by an agent, a step's mean over agents; `payoff_mean`, a step's payoff averaged over agents.
    """

    Parameters = CoinGameParameters

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [CoinGameParameters(length=6), CoinGameParameters(side=5, length=4)]

    def __init__(self, parameters: CoinGameParameters, rows: int, device: torch.device) -> None:
        self.side, self.length = parameters.side, parameters.length
        self.cells = self.side * self.side
        features = 4 * self.cells
        self.specification = EnvironmentSpecification(
            agents=("red", "blue"),
            observation_size=features,
            state_size=features,
            action=Discrete(4),
            metrics=("own_share", "coins_per_step", "payoff_mean"),
            episode_limit=self.length,
        )
        super().__init__(parameters, rows, device)
        cell = torch.arange(self.cells)
        row, column = cell // self.side, cell % self.side
        moves = [(-1, 0), (0, 1), (1, 0), (0, -1)]
        self._after = torch.stack(
            [((row + down) % self.side) * self.side + (column + right) % self.side for down, right in moves],
            1,
        ).to(device)
        self._mine = torch.arange(AGENTS, device=device)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        drawn = uniform(keys, 4)
        place = (drawn[:, :2] * self.cells).long()
        rows = keys.shape[0]
        return {
            "key": keys,
            "time": torch.zeros(rows, dtype=torch.int64, device=keys.device),
            "place": place,
            "coin": self._free(place, drawn[:, 2]),
            "colour": (drawn[:, 3] * 2).long(),
            "own": torch.zeros(rows, device=keys.device),
            "taken": torch.zeros(rows, device=keys.device),
            "paid": torch.zeros(rows, device=keys.device),
        }

    def _free(self, place: Tensor, drawn: Tensor) -> Tensor:
        """A cell on which nobody stands, uniformly: [row]."""
        first, second = place.amin(1), place.amax(1)
        occupied = 2 - (first == second).long()
        cell = (drawn * (self.cells - occupied)).long()
        # Skip the occupied cells in rising order.
        cell = cell + (cell >= first)
        return cell + ((cell >= second) & (first != second))

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        memory = self.memory
        place = self._after[memory["place"], action]
        takes = place == memory["coin"].unsqueeze(1)
        own = memory["colour"].unsqueeze(1) == self._mine
        wrong = takes & ~own
        # Whoever takes a coin of the other's colour costs the other two.
        reward = takes.to(torch.float32) - 2.0 * wrong.flip(1)
        drawn = uniform(derive(memory["key"], memory["time"]), 2)
        gone = takes.any(1)
        memory["coin"] = torch.where(gone, self._free(place, drawn[:, 0]), memory["coin"])
        memory["colour"] = torch.where(gone, (drawn[:, 1] * 2).long(), memory["colour"])
        memory["place"] = place
        memory["time"] = memory["time"] + 1
        memory["own"] = memory["own"] + (takes & own).sum(1)
        memory["taken"] = memory["taken"] + takes.sum(1)
        memory["paid"] = memory["paid"] + reward.mean(1)
        return reward, None

    def observe(self) -> tuple[Tensor, Tensor]:
        memory = self.memory
        agents = one_hot(memory["place"], self.cells).to(torch.float32)
        coin = one_hot(memory["coin"], self.cells).to(torch.float32)
        red = memory["colour"].unsqueeze(1) == 0
        of_red, of_blue = coin * red, coin * ~red
        first, second = agents[:, 0], agents[:, 1]
        observation = torch.stack(
            [torch.cat([first, second, of_red, of_blue], 1), torch.cat([second, first, of_blue, of_red], 1)],
            1,
        )
        return observation, observation[:, 0].contiguous()

    def measure(self) -> dict[str, Tensor]:
        memory = self.memory
        return {
            "own_share": memory["own"] / memory["taken"].clamp(min=1.0),
            "coins_per_step": memory["taken"] / (AGENTS * self.length),
            "payoff_mean": memory["paid"] / self.length,
        }
