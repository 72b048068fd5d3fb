"""Which agents learn together when they are assigned to groups at random, as arXiv 2601.05509 does [code]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from marlbench.algorithms.base import generators
from marlbench.algorithms.sharing import Sharing


class Assignment:
    """A `Sharing` whose agents are shuffled first, each member's in an order of its own.

    Args:
        shuffled: False leaves the agents in their order, which is all the same for one learner or one for each.

    Attributes:
        sharing: of the shuffled agents.
        learner: of each agent, among those of all members: int64 [member, agent].
        size: agents of each learner, int64 [stack, 1].
    """

    def __init__(self, sharing: Sharing, seeds: Sequence[int], shuffled: bool, device: torch.device) -> None:
        self.sharing, self.members = sharing, len(seeds)
        agents, groups = sharing.agents, sharing.groups
        group = torch.tensor([sharing.group_of(agent) for agent in range(agents)])
        self.shuffled = shuffled and 1 < groups < agents
        order = torch.arange(agents).repeat(self.members, 1)
        if self.shuffled:
            order = torch.stack([torch.randperm(agents, generator=g) for g in generators(seeds, stream=4)])
        place = order.argsort(1)
        learner = group[place] + groups * torch.arange(self.members).unsqueeze(1)
        size = torch.bincount(group, minlength=groups)
        self.learner = learner.to(device)
        self.size = size.repeat(self.members).unsqueeze(1).to(device)
        self._start = (size.cumsum(0) - size).repeat(self.members).unsqueeze(1).to(device)
        self._order, self._place = order.to(device), place.to(device)
        self._member = torch.arange(self.members, device=device).repeat_interleave(groups).unsqueeze(1)

    @property
    def member(self) -> Tensor:
        """Of each learner, int64 [stack, 1]."""
        return self._member

    def agent(self, number: Tensor) -> Tensor:
        """A learner's agents by their number among its own: int64 [stack, sample] -> [stack, sample]."""
        place = self._start + number
        return self._order[self._member, place] if self.shuffled else place

    def fold(self, values: Tensor) -> Tensor:
        """[member, row, agent, features] -> [stack, sample, features]."""
        return self.sharing.fold(self._sorted(values, self._order))

    def unfold(self, values: Tensor, rows: int) -> Tensor:
        """[stack, sample, features] -> [member, row, agent, features]; `rows` counts those of a member."""
        return self._sorted(self.sharing.unfold(values, (rows,)), self._place)

    def _sorted(self, values: Tensor, order: Tensor) -> Tensor:
        if not self.shuffled:
            return values
        return values.gather(2, order.view(self.members, 1, -1, 1).expand_as(values))
