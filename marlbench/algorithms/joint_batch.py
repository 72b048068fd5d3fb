"""Samples of a replay as methods with joint critics learn from them: transitions of the team, or steps of sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from marlbench.algorithms.continuous_actors import normalised
from marlbench.algorithms.experience import Experience
from marlbench.algorithms.joint_critic import CriticInput
from marlbench.environments.contract import Continuous, EnvironmentSpecification
from marlbench.training.sequences import Sequences

TeamReward = Literal["mean", "sum"] | None


@dataclass(frozen=True)
class Moment:
    """What there was at one end of the transitions; [member, *batch, ...].

    Attributes:
        observation: [..., agent, features].
        joint: x, [..., features].
        available: bool [..., agent, action]; None where every action is always available.
        acting: [..., agent], 0 for who does not act; None where every agent always acts.
    """

    observation: Tensor
    joint: Tensor
    available: Tensor | None
    acting: Tensor | None

    def during(self, times: slice) -> Moment:
        """A part of sequences, [member, time, row, ...]."""
        available = None if self.available is None else self.available[:, times]
        acting = None if self.acting is None else self.acting[:, times]
        return Moment(self.observation[:, times], self.joint[:, times], available, acting)


@dataclass(frozen=True)
class Unrolled:
    """Sequences that memory has to be carried along; their steps are the transitions' beginnings and, one later, ends.

    Attributes:
        observation: [member, time, row, agent, features].
        joint: x, [member, time, row, features].
        memory: of the actors before the first step, [member, row, agent, memory_size].
        fresh: bool [member, time, row]: an episode begins.
        fresh_agent: bool [member, time, row, agent]: the agent's memory begins.
    """

    observation: Tensor
    joint: Tensor
    memory: Tensor
    fresh: Tensor
    fresh_agent: Tensor


@dataclass(frozen=True)
class Batch:
    """Transitions sampled for one update; [member, *batch, ...], where batch is row, or time and row of sequences.

    Attributes:
        now, following: where they begin and end.
        action: [..., agent, width], normalised to [-1, 1], or a one-hot; without meaning for who did not act.
        reward: [..., agent].
        discount: of what follows, [..., agent]: 0 where nothing does.
        weight: [..., agent], 0 for what is no transition; None where everything is one.
        unrolled: the sequences; None for memoryless networks.
    """

    now: Moment
    following: Moment
    action: Tensor
    reward: Tensor
    discount: Tensor
    weight: Tensor | None
    unrolled: Unrolled | None = None

    @property
    def decides(self) -> Tensor | None:
        """Weight of what actors learn from: [..., agent], 0 where an agent did not act."""
        if self.now.acting is None or self.weight is None:
            return self.weight if self.now.acting is None else self.now.acting
        return self.weight * self.now.acting


class JointBatches:
    """Makes batches of what a replay of the team holds.

    Args:
        specification: of the task.
        experience: the replay, kept with `Keep.joint`.
        critic_input: what x is.
        team_reward: what every agent is paid; None for its own reward.
        discount: gamma.
        burn_in: elements at the beginning of sequences that nothing is learnt from.
    """

    def __init__(
        self,
        specification: EnvironmentSpecification,
        experience: Experience,
        critic_input: CriticInput,
        team_reward: TeamReward,
        discount: float,
        burn_in: int,
    ) -> None:
        self.action, self.agents = specification.action, len(specification.agents)
        self.experience, self.burn_in = experience, burn_in
        self.critic_input, self.team_reward, self.discount = critic_input, team_reward, discount

    def sample(self, generators: Sequence[Generator], count: int) -> Batch:
        """`count` transitions or sequences of each member's own."""
        drawn = self.experience.replay.draw(generators, count)
        if self.experience.keep.sequence is not None:
            return self._sequences(self.experience.sequences(drawn))
        found = self.experience.transitions(drawn)
        now, following = self._moment(found, ""), self._moment(found, "following_")
        weight = found["valid"].to(torch.float32) if "valid" in found else None
        return self._batch(found, now, following, weight)

    def _sequences(self, found: Sequences) -> Batch:
        """Every element and the one after it, unless it is the last thing that an episode showed."""
        whole = self._moment(found.fields, "")
        fresh_agent = found.fresh.unsqueeze(-1).expand(*found.fresh.shape, self.agents)
        if "new_occupant" in found.fields:
            fresh_agent = fresh_agent | found.fields["new_occupant"]
        unrolled = Unrolled(whole.observation, whole.joint, found.memory, found.fresh, fresh_agent)
        counts = ~found.final[:, :-1]
        counts[:, : self.burn_in] = False
        fields = {name: value[:, :-1] for name, value in found.fields.items()}
        weight = counts.to(torch.float32).unsqueeze(-1).expand_as(fields["reward"])
        now, following = whole.during(slice(None, -1)), whole.during(slice(1, None))
        return self._batch(fields, now, following, weight, unrolled)

    def _moment(self, found: Mapping[str, Tensor], when: str) -> Moment:
        observation, acting = found[f"{when}observation"], found.get(f"{when}acting")
        return Moment(
            observation,
            found[f"{when}state"] if self.critic_input == "state" else observation.flatten(-2),
            found.get(f"{when}available_actions"),
            None if acting is None else acting.to(observation.dtype),
        )

    def _batch(
        self,
        found: Mapping[str, Tensor],
        now: Moment,
        following: Moment,
        weight: Tensor | None,
        unrolled: Unrolled | None = None,
    ) -> Batch:
        reward, over = found["reward"], found["over"].unsqueeze(-1)
        alive = ~(found["terminated"] | over)
        if self.team_reward is not None:
            total = reward.sum(-1, keepdim=True)
            paid = total if self.team_reward == "sum" else total / self.agents
            # The team goes on without the agents that are gone.
            reward, alive = paid.expand_as(reward), ~over.expand_as(reward)
        discount = self.discount * alive.to(reward.dtype)
        if unrolled is not None and following.acting is not None:
            # One discount for each decision of the team.
            decided = following.acting.amax(-1, keepdim=True) > 0.0
            discount = torch.where(decided, discount, alive.to(reward.dtype))
        action = self._encoded(found["action"])
        return Batch(now, following, action, reward, discount, weight, unrolled)

    def _encoded(self, action: Tensor) -> Tensor:
        """Actions as the critics see them: one-hot, or normalised to [-1, 1]."""
        if isinstance(self.action, Continuous):
            return normalised(action, self.action)
        return one_hot(action.long(), self.action.count).to(torch.float32)


def acted(action: Tensor, acting: Tensor | None) -> Tensor:
    """Actions [..., agent, width] with zeros for those who do not act."""
    return action if acting is None else action * acting.unsqueeze(-1)
