"""Small simulators with the awkward properties that real ones have."""

from __future__ import annotations

import torch
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import Discrete, EnvironmentSpecification, Step
from marlbench.environments.keys import derive, uniform
from marlbench.environments.simulator import TensorSimulator


class Ragged(TensorSimulator):
    """Episodes of 1 to 9 steps, drawn at their start; the reward is 1 a step, so the return is the length.

    Action 0 is always available, each other one half of the time.
    """

    class Parameters(contract.Parameters):
        pass

    def __init__(self, parameters: contract.Parameters, rows: int, device: torch.device) -> None:
        self.specification = EnvironmentSpecification(
            agents=("a", "b"),
            observation_size=2,
            state_size=4,
            action=Discrete(3),
            metrics=("length",),
            masks_actions=True,
        )
        super().__init__(parameters, rows, device)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        length = 1 + (uniform(keys, 1)[:, 0] * 9).long()
        return {"length": length, "played": torch.zeros_like(length), "keys": keys}

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor]:
        if not bool(self.available_actions().gather(-1, action.unsqueeze(-1)).all()):
            raise ValueError("an unavailable action was taken")
        self.memory["played"] = self.memory["played"] + 1
        return torch.ones(self.rows, 2), self.memory["played"] >= self.memory["length"]

    def available_actions(self) -> Tensor:
        drawn = uniform(derive(self.memory["keys"], self.memory["played"]), 6).view(-1, 2, 3) < 0.5
        drawn[..., 0] = True
        return drawn

    def observe(self) -> tuple[Tensor, Tensor]:
        seen = torch.stack([self.memory["played"], self.memory["length"]], 1).float() / 9
        both = seen.unsqueeze(1).repeat(1, 2, 1)
        return both, both.flatten(1)

    def measure(self) -> dict[str, Tensor]:
        return {"length": self.memory["length"].float()}


class Turns(TensorSimulator):
    """Two agents act in turn; each is paid 1 at once for action 1, and the pay comes a step after its decision.

    Episodes have 8 steps, so each agent decides four times and can earn 4.
    """

    class Parameters(contract.Parameters):
        pass

    def __init__(self, parameters: contract.Parameters, rows: int, device: torch.device) -> None:
        self.specification = EnvironmentSpecification(
            agents=("even", "odd"),
            observation_size=3,
            state_size=1,
            action=Discrete(2),
            episode_limit=8,
            skips_steps=True,
        )
        super().__init__(parameters, rows, device)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        zero = torch.zeros(keys.shape[0])
        return {"time": zero.clone(), "owed": torch.zeros(keys.shape[0], 2)}

    def acting(self) -> Tensor:
        even = self.memory["time"] % 2 == 0
        return torch.stack([even, ~even], 1)

    def advance(self, action: Tensor) -> tuple[Tensor, None]:
        reward = self.memory["owed"]
        pays = (action == 1) & self.acting()
        last = (self.memory["time"] >= 7).unsqueeze(1)
        self.memory["owed"] = pays.float() * ~last
        self.memory["time"] = self.memory["time"] + 1
        # The last decision is paid at once: there is no step after it.
        return reward + pays.float() * last, None

    def observe(self) -> tuple[Tensor, Tensor]:
        time = self.memory["time"]
        seen = torch.stack([time / 8, self.memory["owed"][:, 0], self.memory["owed"][:, 1]], 1)
        return seen.unsqueeze(1).repeat(1, 2, 1), time.unsqueeze(1) / 8

    def _show(self, reward: Tensor | None = None) -> Step:
        step = super()._show(reward)
        step.acting = self.acting()
        return step
