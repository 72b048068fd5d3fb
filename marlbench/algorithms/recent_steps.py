"""The last joint steps of every row, in memory: a replay out of which transitions of single agents are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Returns:
    """What a transition brought and where it led.

    Attributes:
        reward: the discounted sum, [...].
        discount: factor of the value that follows, [...].
        whole: bool [...]; True where all n steps belong to it, False where it is one step.
    """

    reward: Tensor
    discount: Tensor
    whole: Tensor


def discounts(discount: float, steps: int, device: torch.device) -> Tensor:
    """gamma^0 to gamma^n: [n + 1]."""
    return discount ** torch.arange(steps + 1, device=device, dtype=torch.float32)


def whole_or_single(reward: Tensor, cut: Tensor | None, taken: Tensor, powers: Tensor) -> Returns:
    """n-step returns where the sequence has n steps, and 1-step returns where it is shorter (arXiv 2601.05509 [code]).

    Args:
        reward: of n consecutive steps, [..., n].
        cut: bool [..., n - 1]: the agent's episode ended with the step; None where no episode ends.
        taken: bool [...]: all n steps have been taken.
        powers: what `discounts` made of gamma and n.
    """
    steps, whole = reward.shape[-1], taken
    if cut is not None and steps > 1:
        whole = whole & ~cut.any(-1)
    summed = torch.where(whole, reward @ powers[:-1], reward[..., 0])
    return Returns(summed, torch.where(whole, powers[-1], powers[1]), whole)


class RecentSteps:
    """A ring over joint steps; every field is [member, step, row, agent, ...].

    Args:
        capacity: joint steps that are kept.
        fields: name -> shape and dtype of what is kept of one agent at one step.

    Attributes:
        written: joint steps so far.
    """

    def __init__(
        self,
        members: int,
        rows: int,
        agents: int,
        capacity: int,
        fields: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
        device: torch.device,
    ) -> None:
        self.members, self.rows, self.agents, self.capacity = members, rows, agents, capacity
        self.device = device
        self.values = {name: self._room(shape, dtype) for name, (shape, dtype) in fields.items()}
        self.written = 0
        self._steps = torch.arange(capacity, device=device) * (rows * agents)

    def _room(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        lead = (self.members, self.capacity, self.rows, self.agents)
        return torch.zeros(*lead, *shape, dtype=dtype, device=self.device)

    @property
    def count(self) -> int:
        """Joint steps that are kept now."""
        return min(self.written, self.capacity)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Keep one joint step: name -> [member x row, agent, ...]."""
        slot = self.written % self.capacity
        for name, value in values.items():
            self.values[name].select(1, slot).copy_(value.view(self.members, self.rows, *value.shape[1:]))
        self.written += 1

    def replace(self, name: str, values: Tensor) -> None:
        """Put a field of another kind, [member, step, row, agent, ...], in the place of one."""
        self.values[name] = values

    def sequences(self, member: Tensor, start: Tensor, steps: int) -> Tensor:
        """Where consecutive steps of an agent are kept, int64 [..., steps], for `take`; those not taken yet are any.

        Args:
            member: int64, broadcast against `start`.
            start: the first of them, (age x rows + row) x agents + agent, int64 [...]; the oldest kept has the age 0.
        """
        width = self.rows * self.agents
        first = (self.written - self.count) % self.capacity * width
        place = (start.unsqueeze(-1) + (self._steps[:steps] + first)).remainder_(self.capacity * width)
        return place if self.members == 1 else place.add_((member * (self.capacity * width)).unsqueeze(-1))

    def take(self, name: str, index: Tensor) -> Tensor:
        """Of the places `index` [...]: [..., *shape]."""
        kept = self.values[name]
        return kept.take(index) if kept.dim() == 4 else kept.flatten(0, 3)[index]

    def cut_newest(self, name: str) -> None:
        """Set the flag of every agent at the newest step."""
        if self.written:
            self.values[name][:, (self.written - 1) % self.capacity] = True

    def state_dict(self) -> dict[str, Any]:
        return {
            "values": {name: value[:, : self.count].clone() for name, value in self.values.items()},
            "written": self.written,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.written = int(state["written"])
        for name, saved in state["values"].items():
            if saved.shape[4:] != self.values[name].shape[4:]:
                self.values[name] = self._room(saved.shape[4:], saved.dtype)
            self.values[name][:, : self.count] = saved.to(self.device)
