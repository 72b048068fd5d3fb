"""Sums over episodes: what came back, how long it took, and the task's own measures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from marlbench.environments.contract import Step


class EpisodeSums:
    """Running return and length of the present episode of every row.

    Metrics of an episode: `return_mean` and `return_sum` are the undiscounted sum of rewards, averaged and summed over
    agents; `episode_length` counts joint steps; then the task's own.
    """

    def __init__(self, rows: int, agents: int, device: torch.device) -> None:
        # float64: an episode of thousands of steps must not lose its small rewards.
        self.returns = torch.zeros(rows, agents, dtype=torch.float64, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)

    def add(self, step: Step) -> None:
        """Count one joint step."""
        self.returns += step.reward
        self.lengths += 1

    def metrics(self, step: Step) -> dict[str, Tensor]:
        """name -> float64 [row], valid where `step.ended`; call before `clear`."""
        return {
            "return_mean": self.returns.mean(1),
            "return_sum": self.returns.sum(1),
            "episode_length": self.lengths.to(torch.float64),
            **{name: value.to(torch.float64) for name, value in step.metrics.items()},
        }

    def clear(self, ended: Tensor) -> None:
        """Start again where a row ended, bool [row]."""
        self.returns.masked_fill_(ended.unsqueeze(1), 0.0)
        self.lengths.masked_fill_(ended, 0)

    def state_dict(self) -> dict[str, Tensor]:
        return {"returns": self.returns.clone(), "lengths": self.lengths.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.returns.copy_(state["returns"])
        self.lengths.copy_(state["lengths"])


class Window:
    """Means per member over everything since the window was opened."""

    def __init__(self, members: int, device: torch.device) -> None:
        self.members, self.device = members, device
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor | float] = {}

    def add(self, name: str, sums: Tensor, counts: Tensor | float) -> None:
        """Add sums of a quantity, [member], and how many values they hold."""
        if name not in self.sums:
            self.sums[name] = torch.zeros(self.members, dtype=torch.float64, device=self.device)
            self.counts[name] = 0.0
        self.sums[name] += sums
        self.counts[name] = self.counts[name] + counts

    def add_rows(self, values: dict[str, Tensor], chosen: Tensor) -> None:
        """Add one value of each chosen row: name -> [member x row], bool [member x row]."""
        mask = chosen.view(self.members, -1)
        counts = mask.sum(1)
        for name, value in values.items():
            per_row = torch.where(mask, value.view(self.members, -1), 0.0)
            self.add(name, per_row.sum(1), counts)

    def means(self) -> list[dict[str, float]]:
        """Per member, name -> mean; names without a value are left out."""
        found: list[dict[str, float]] = [{} for _ in range(self.members)]
        for name, sums in self.sums.items():
            counts = torch.as_tensor(self.counts[name]).expand(self.members)
            for member, (total, count) in enumerate(zip(sums.tolist(), counts.tolist(), strict=True)):
                if count:
                    found[member][name] = total / count
        return found

    def clear(self) -> None:
        self.sums, self.counts = {}, {}

    def state_dict(self) -> dict[str, dict[str, Any]]:
        return {
            "sums": {name: value.clone() for name, value in self.sums.items()},
            "counts": dict(self.counts),
        }

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        self.sums = {name: value.to(self.device, copy=True) for name, value in state["sums"].items()}
        self.counts = {
            name: value.to(self.device) if isinstance(value, Tensor) else value
            for name, value in state["counts"].items()
        }
