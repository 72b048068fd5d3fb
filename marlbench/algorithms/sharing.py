"""Which agents share parameters, as a folding of the agent axis into the stack axis.

`shared`: one learner per seed for all agents. `independent`: one per agent. `groups: k`: k learners, agents dealt to
them in blocks of equal size; where the number of agents is no multiple of k, the last block is filled with copies
whose samples weigh nothing.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from marlbench.errors import ConfigurationError


class Groups(BaseModel):
    """`sharing: {groups: k}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    groups: int = Field(ge=1, description="number of learners that the agents are dealt to")


SharingOption = Literal["shared", "independent"] | Groups


class Sharing:
    """Folds [member, ..., agent, features] into [stack, sample, features] and back; stack = member x group.

    Attributes:
        groups: learners per member.
        group_size: agents per learner, copies included.
        occupants: int64 [group x group_size], who is in each learner's places.
        learner: int64 [agent], each agent's learner among a member's.
        weight: float [group x group_size], 0 for copies; None where there are none.
        share: float [group x group_size], of an agent in the mean over its learner's; 0 for copies.
    """

    def __init__(self, option: SharingOption, agents: int, device: torch.device) -> None:
        if option == "shared":
            self.groups = 1
        elif option == "independent":
            self.groups = agents
        else:
            assert isinstance(option, Groups)
            if option.groups > agents:
                raise ConfigurationError(
                    f"sharing: groups: {option.groups} is more than the task's {agents} agents.",
                    hint=f"Use at most {agents} groups, or `sharing: independent`.",
                )
            self.groups = option.groups
        self.agents = agents
        self.group_size = -(-agents // self.groups)
        slots = self.groups * self.group_size
        # Blocks of the most equal sizes: the first `agents % groups` (or all) blocks are full.
        sizes = [agents // self.groups + (g < agents % self.groups) for g in range(self.groups)]
        members: list[int] = []
        weights: list[float] = []
        home = [0] * agents
        agent = 0
        for group, size in enumerate(sizes):
            for place in range(self.group_size):
                real = place < size
                members.append(agent if real else agent - 1)
                weights.append(float(real))
                if real:
                    home[agent] = group * self.group_size + place
                    agent += 1
        self._identity = slots == agents
        self.occupants = torch.tensor(members, device=device)
        self._home = torch.tensor(home, device=device)
        self.learner = self._home // self.group_size
        self.weight = None if self._identity else torch.tensor(weights, device=device)
        self.share = torch.tensor(weights, device=device).view(self.groups, -1)
        self.share = (self.share / self.share.sum(1, keepdim=True)).flatten()

    def group_of(self, agent: int) -> int:
        """The learner, among a member's, that an agent belongs to."""
        return int(self.learner[agent])

    def fold(self, values: Tensor) -> Tensor:
        """[member, *batch, agent, features] -> [stack, sample, features]; samples run over batch, then agent."""
        if self.groups == 1:
            return values.reshape(values.shape[0], -1, values.shape[-1])
        if not self._identity:
            values = values.index_select(-2, self.occupants)
        members, features = values.shape[0], values.shape[-1]
        split = values.reshape(members, -1, self.groups, self.group_size, features)
        return split.permute(0, 2, 1, 3, 4).reshape(members * self.groups, -1, features)

    def unfold(self, values: Tensor, batch: tuple[int, ...]) -> Tensor:
        """[stack, sample, features] -> [member, *batch, agent, features], where `batch` is as it was folded."""
        features = values.shape[-1]
        members = values.shape[0] // self.groups
        if self.groups == 1:
            return values.reshape(members, *batch, self.agents, features)
        split = values.reshape(members, self.groups, -1, self.group_size, features).permute(0, 2, 1, 3, 4)
        merged = split.reshape(members, *batch, self.groups * self.group_size, features)
        return merged if self._identity else merged.index_select(-2, self._home)

    def sample_weight(self, members: int, samples: int) -> Tensor | None:
        """float [stack, sample]: 0 for the samples of copies; None where there are no copies."""
        if self.weight is None:
            return None
        per_group = self.weight.view(self.groups, self.group_size)
        repeated = per_group.repeat(1, samples // self.group_size)
        return repeated.repeat(members, 1)


class Common:
    """Folds [member, ..., agent, features] into [stack, sample, features], one sample for all agents of a learner.

    Args:
        sharing: of the agents among learners.
    """

    def __init__(self, sharing: Sharing) -> None:
        self.sharing = sharing

    def fold(self, values: Tensor) -> Tensor:
        """The mean over a learner's agents: [member, *batch, agent, features] -> [stack, sample, features].

        An axis of one agent stands for all of them.
        """
        sharing = self.sharing
        if values.shape[-2] == 1:
            mean = values.expand(*values.shape[:-2], sharing.groups, values.shape[-1])
        else:
            members = values.index_select(-2, sharing.occupants).unflatten(-2, (sharing.groups, -1))
            share = sharing.share.view(sharing.groups, -1, 1)
            mean = (members * share).sum(-2)
        split = mean.reshape(values.shape[0], -1, sharing.groups, values.shape[-1])
        return split.transpose(1, 2).reshape(values.shape[0] * sharing.groups, -1, values.shape[-1])

    def unfold(self, values: Tensor, batch: tuple[int, ...]) -> Tensor:
        """[stack, sample, features] -> [member, *batch, agent, features]: to every agent what its learner has."""
        sharing, features = self.sharing, values.shape[-1]
        members = values.shape[0] // sharing.groups
        split = values.reshape(members, sharing.groups, -1, features).transpose(1, 2)
        learners = split.reshape(members, *batch, sharing.groups, features)
        return learners.index_select(-2, sharing.learner)
