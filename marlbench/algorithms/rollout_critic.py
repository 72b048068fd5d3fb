"""A critic over rollouts: what it sees, what it says, and the advantages and targets that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from marlbench.algorithms.critic_inputs import CriticInputs
from marlbench.algorithms.networks import AgentNetwork
from marlbench.algorithms.on_policy import (
    Advantages,
    Rollout,
    advantages_over_decisions,
    generalised_advantages,
)
from marlbench.algorithms.sharing import Common, Sharing
from marlbench.algorithms.stack import ParameterStack
from marlbench.algorithms.value_normalisation import ValueNormalisation


@dataclass(frozen=True)
class Judgement:
    """What a critic made of a rollout; a slot is a row's agent, or a row where the critic judges all agents at once.

    Attributes:
        features: what it saw, [stack, time x slot, features].
        value: what it said, in its own units, [stack, time x slot, 1].
        advantage: of the agents' actions, [stack, time x row's agent, 1].
        target: what it is to say, in its own units, [stack, time x slot, 1].
        weight: of the samples in its loss, [stack, time x slot, 1]; None where all weigh the same.
        memory: at the start of each sequence, [stack, sequence, units], sequences over time, then slots; None for a
            memoryless critic.
    """

    features: Tensor
    value: Tensor
    advantage: Tensor
    target: Tensor
    weight: Tensor | None
    memory: Tensor | None


class RolloutCritic:
    """A network that values what `inputs` shows it, with its memory from rollout to rollout.

    Args:
        network: of the critic, with parameters in `stack`.
        inputs: makes its features.
        rows: of each member.
        normalises: whether it learns normalised targets.
        sequence_length: joint steps between those at which the memory is told.
        discount, trace_decay: gamma and lambda of the advantages.
        reward_scale: factor of rewards, which values are then in units of.
        preserves_values: whether the last layer is rescaled when the statistics of targets move, so that what the
            critic says in units of the rewards stays as it is (PopArt: van Hasselt et al. 2016, arXiv 1602.07714).

    Attributes:
        folding: of what it sees and says for each agent: into learners' samples, one for each agent or for all.
        slots: its samples of one joint step.
        memory: before the next step, [stack, slot, units]; None for a memoryless critic.
    """

    def __init__(
        self,
        network: AgentNetwork,
        stack: ParameterStack,
        sharing: Sharing,
        inputs: CriticInputs,
        rows: int,
        normalises: bool,
        sequence_length: int,
        discount: float,
        trace_decay: float,
        reward_scale: float = 1.0,
        preserves_values: bool = False,
    ) -> None:
        self.network, self.stack, self.sharing, self.inputs = network, stack, sharing, inputs
        self.folding = Common(sharing) if inputs.common else sharing
        self.slots = rows if inputs.common else rows * sharing.group_size
        self.sequence_length = sequence_length
        self.discount, self.trace_decay, self.reward_scale = discount, trace_decay, reward_scale
        device = stack.flat.device
        self.normalisation = ValueNormalisation(stack.size, device) if normalises else None
        self.preserves_values = preserves_values
        self.memory: Tensor | None = None
        if network.memory_size:
            self.memory = torch.zeros(stack.size, self.slots, network.memory_size, device=device)

    def judge(self, rollout: Rollout, seen: Tensor, fresh: Tensor | None, weight: Tensor | None) -> Judgement:
        """Judge a full rollout, and move the memory and the statistics of targets on.

        Args:
            seen: what the actor saw, [stack, time x row's agent, features].
            fresh: float [stack, time x slot, 1], whether memory is emptied before the step; None without memory.
            weight: of the samples of this critic, [stack, time x slot, 1]; None where all weigh the same.
        """
        features = self._features(rollout, seen)
        value, following, starts = self._values(rollout, features, fresh)
        advantages = self._advantages(rollout, self._in_rewards(rollout, value), following)
        target = self.folding.fold(advantages.target.unsqueeze(-1))
        if self.normalisation is not None:
            weights = None if weight is None else weight.squeeze(-1)
            said = self.normalisation.restore(value.squeeze(-1))
            before = self.normalisation.mean, self.normalisation.deviation
            self.normalisation.update(target.squeeze(-1), weights)
            if self.preserves_values:
                self._preserve_values(self.normalisation, *before)
                value = self.normalisation.normalise(said).unsqueeze(-1)
            target = self.normalisation.normalise(target.squeeze(-1)).unsqueeze(-1)
        advantage = self.sharing.fold(advantages.advantage.unsqueeze(-1))
        return Judgement(features, value, advantage, target, weight, starts)

    def _preserve_values(self, now: ValueNormalisation, mean: Tensor, deviation: Tensor) -> None:
        """W <- W sigma / sigma', b <- (sigma b + mu - mu') / sigma' from mean mu and deviation sigma [stack, 1]."""
        name = f"{self.network.head.name}.{len(self.network.head.sizes) - 2}"
        weight, bias = self.stack.parameters[f"{name}.weight"], self.stack.parameters[f"{name}.bias"]
        weight.mul_((deviation / now.deviation).unsqueeze(-1))
        moved = (mean - now.mean).unsqueeze(-1)
        bias.mul_(deviation.unsqueeze(-1)).add_(moved).div_(now.deviation.unsqueeze(-1))

    def _features(self, rollout: Rollout, seen: Tensor) -> Tensor:
        if not self.inputs.central:
            return seen
        state = rollout.filled("state") if rollout.keep_state else None
        acting = rollout.filled("acting") if rollout.skips else None
        return self.folding.fold(self.inputs(rollout.filled("observation"), state, acting))

    def _beyond(self, rollout: Rollout) -> Tensor:
        """Features after the rollout: [stack, slot, features]."""
        last = rollout.last
        assert last is not None
        lead = (rollout.members, 1, rollout.rows)
        observation = last.observation.view(*lead, *last.observation.shape[1:])
        state = last.state.view(*lead, -1) if rollout.keep_state else None
        acting = last.acting.view(*lead, -1) if rollout.skips else None
        return self.folding.fold(self.inputs(observation, state, acting))

    def _finals(self, rollout: Rollout) -> Tensor | None:
        """Features of the last moments of episodes: [stack, time x slot, features]; None where no row ended."""
        if not rollout.ended:
            return None
        observation = torch.stack(rollout.final_observations, 1)
        state = torch.stack(rollout.final_states, 1) if rollout.keep_state else None
        # Who did not act at the last step is taken not to act after it either.
        acting = rollout.filled("acting")[:, rollout.ended] if rollout.skips else None
        return self.folding.fold(self.inputs(observation, state, acting))

    def _values(
        self, rollout: Rollout, features: Tensor, fresh: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values in its own units [stack, time x slot, 1]; values after each step in units of the rewards [member,
        time, row, agent]; the memory at the start of each sequence [stack, sequence, units]."""
        network, parameters = self.network, self.stack.parameters
        beyond, finals = self._beyond(rollout), self._finals(rollout)
        starts = None
        if self.memory is None or fresh is None:
            value, beyond = network(parameters, features), network(parameters, beyond)
            finals = None if finals is None else network(parameters, finals)
        else:
            split = (features.shape[0], rollout.time, self.slots)
            emptied = fresh.view(split) > 0.5
            memories = network.memories(parameters, features.view(*split, -1), self.memory, emptied)
            value = network.head(parameters, memories.flatten(1, 2))
            length = self.sequence_length
            later = memories[:, length - 1 : -1 : length]
            starts = torch.cat([self.memory.unsqueeze(1), later], 1).flatten(1, 2)
            if finals is not None:
                finals = self._remembered(rollout, finals, memories)
            cut = self.folding.fold(rollout.filled("cut")[:, -1:].unsqueeze(-1).to(value.dtype))
            self.memory = memories[:, -1].masked_fill(cut > 0.0, 0.0)
            beyond, _ = network.step(parameters, beyond, self.memory)
        within = self._in_rewards(rollout, value)
        following = torch.cat([within[:, 1:], self._in_rewards(rollout, beyond)], 1)
        if finals is not None:
            last = self._in_rewards(rollout, finals)
            if self.memory is not None:
                last = torch.where(_bootstraps(rollout), last, following[:, rollout.ended])
            following[:, rollout.ended] = last
        return value, following, starts

    def _remembered(self, rollout: Rollout, finals: Tensor, memories: Tensor) -> Tensor:
        """Values at the last moments of episodes, [stack, time x slot, 1], by the memories [stack, time, slot, units].

        They are asked for where an episode was cut by a limit alone, and 0 elsewhere.
        """
        bootstraps = self.folding.fold(_bootstraps(rollout).unsqueeze(-1).to(finals.dtype))
        asked = (bootstraps.squeeze(-1) > 0.0).any(0).nonzero().squeeze(-1)
        found = finals.new_zeros(*finals.shape[:2], 1)
        if len(asked):
            remembered = memories[:, rollout.ended].flatten(1, 2)[:, asked]
            found[:, asked], _ = self.network.step(self.stack.parameters, finals[:, asked], remembered)
        return found

    def _in_rewards(self, rollout: Rollout, value: Tensor) -> Tensor:
        """Values in its own units [stack, time x slot, 1] in units of the rewards: [member, time, row, agent]."""
        if self.normalisation is not None:
            value = self.normalisation.restore(value.squeeze(-1)).unsqueeze(-1)
        times = value.shape[1] // self.slots
        return self.folding.unfold(value, (times, rollout.rows)).squeeze(-1)

    def _advantages(self, rollout: Rollout, value: Tensor, following: Tensor) -> Advantages:
        ends = rollout.filled("terminated"), rollout.filled("truncated")
        reward = rollout.filled("reward")
        if self.reward_scale != 1.0:
            reward = reward * self.reward_scale
        experience = (reward, value, following, *ends)
        if rollout.skips:
            decisions = rollout.filled("acting"), rollout.filled("new_occupant")
            return advantages_over_decisions(*experience, *decisions, self.discount, self.trace_decay)
        return generalised_advantages(*experience, self.discount, self.trace_decay)

    def forget(self) -> None:
        """Empty the memory: the rows started fresh episodes."""
        if self.memory is not None:
            self.memory.zero_()

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": None if self.memory is None else self.memory.clone(),
            "normalisation": None if self.normalisation is None else self.normalisation.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.memory is not None:
            self.memory = state["memory"].to(self.memory.device, copy=True)
        if self.normalisation is not None:
            self.normalisation.load_state_dict(state["normalisation"])


def _bootstraps(rollout: Rollout) -> Tensor:
    """bool [member, ended time, row, agent]: whether the value after the step counts though the episode is over."""
    truncated, terminated = rollout.filled("truncated"), rollout.filled("terminated")
    return (truncated & ~terminated)[:, rollout.ended]
