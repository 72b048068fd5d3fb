"""What a rollout was turned into for learning, dealt out in minibatches of samples or of sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Batch:
    """What one update learns from: [stack, sample, ...].

    Samples of sequences run over time, then over sequences, so that a view makes [stack, time, sequence, ...] of them.

    The critic may have samples of its own, fewer than the actor has; which belong to it is said below.

    Attributes:
        length: joint steps of a sequence; 1 for samples that stand alone.
        observation: what the actor sees, [..., features].
        critic_input: what the critic sees, [..., features], of its own samples.
        action: [..., 1] for discrete actions, [..., dim] for continuous ones.
        available: bool [..., action]; None where every action is always available.
        log_probability: of the action when it was taken; None for methods that do not compare policies.
        advantage: of the action.
        target: of the critic, in its own units; of its own samples.
        value: what the critic said before learning, likewise; None where nobody asks for it.
        weight: of a sample in the means over actions; None where all weigh the same.
        critic_weight: of a sample in the means over values; None where all weigh the same.
        fresh: bool: the memory is emptied before the step; None for memoryless networks.
        critic_fresh: the same of the critic's samples.
        memory: [stack, sequence, units] of the actor before the first step; None for memoryless networks.
        critic_memory: the same of the critic.
    """

    length: int
    observation: Tensor
    critic_input: Tensor
    action: Tensor
    advantage: Tensor
    target: Tensor
    available: Tensor | None = None
    log_probability: Tensor | None = None
    value: Tensor | None = None
    weight: Tensor | None = None
    critic_weight: Tensor | None = None
    fresh: Tensor | None = None
    critic_fresh: Tensor | None = None
    memory: Tensor | None = None
    critic_memory: Tensor | None = None


VECTORS = ("observation", "critic_input", "action", "available")
FLAGS = ("available", "fresh", "critic_fresh")
# What the critic is told of the actor's samples where it is told nothing else.
_ALIKE = {"critic_input": "observation", "critic_weight": "weight", "critic_fresh": "fresh"}
# What belongs to the critic's samples.
CRITIC = ("target", "value", "critic_weight", "critic_fresh", "critic_input", "critic_memory")


class Samples:
    """Columns side by side in one tensor, so that one gathering shuffles them all.

    Args:
        columns: fields of `Batch` -> [stack, time x slot, width]; a slot is a row's agent. Without `critic_input` the
            critic sees what the actor sees; without `critic_weight` it weighs samples as the actor does, and without
            `critic_fresh` it forgets when the actor does.
        length: joint steps of a sequence, a divisor of the rollout's.
        slots: samples of one joint step and learner.
        discrete: whether actions are integers.
        memories: `memory` and `critic_memory` -> [stack, sequence, units]; sequences run over time, then over slots.
        of_critic: the critic's samples, where it has its own: dealt in an order of theirs, in as many parts.
    """

    def __init__(
        self,
        columns: Mapping[str, Tensor],
        length: int,
        slots: int,
        discrete: bool,
        memories: Mapping[str, Tensor],
        of_critic: Samples | None = None,
    ) -> None:
        self.of_critic = of_critic
        self.length, self.slots, self.discrete = length, slots, discrete
        self.widths = {name: column.shape[-1] for name, column in columns.items()}
        some = next(column for column in columns.values() if column.is_floating_point())
        self.packed = torch.cat([column.to(some.dtype) for column in columns.values()], -1)
        self.memory_widths = {name: memory.shape[-1] for name, memory in memories.items()}
        self.memories = torch.cat(list(memories.values()), -1) if memories else None
        self.sequences = some.shape[1] // length

    def whole(self) -> Batch:
        """Everything as one batch."""
        return self._batch(self._in_order(), None if self.of_critic is None else self.of_critic._in_order())

    def shuffled(self, generators: Sequence[Generator], groups: int, count: int) -> Iterator[Batch]:
        """`count` batches that together are everything, each learner's in an order of its own.

        Args:
            generators: one for each member, which draws the orders of all its learners.
            groups: learners of a member.
        """
        parts = self._dealt(generators, groups, count)
        if self.of_critic is None:
            for part in parts:
                yield self._batch(part, None)
            return
        of_critic = self.of_critic._dealt(generators, groups, count)
        for part, other in zip(parts, of_critic, strict=True):
            yield self._batch(part, other)

    def _in_order(self) -> Tensor:
        """All sequences, [stack, sequence]."""
        return torch.arange(self.sequences, device=self.packed.device).expand(self.packed.shape[0], -1)

    def _dealt(self, generators: Sequence[Generator], groups: int, count: int) -> tuple[Tensor, ...]:
        orders = [torch.randperm(self.sequences, generator=g) for g in generators for _ in range(groups)]
        order = torch.stack(orders).to(self.packed.device)
        return torch.tensor_split(order, count, dim=1)

    def _batch(self, order: Tensor, of_critic: Tensor | None) -> Batch:
        """The sequences with these numbers, [stack, sequence], of the actor and of the critic."""
        found = self._gathered(order)
        if self.of_critic is None or of_critic is None:
            for name, of_actor in _ALIKE.items():
                if of_actor in found:
                    found.setdefault(name, found[of_actor])
        else:
            found.update(self.of_critic._gathered(of_critic))
        return Batch(length=self.length, **found)

    def _gathered(self, order: Tensor) -> dict[str, Tensor]:
        """What sequences with these numbers hold, by the names of `Batch`'s fields."""
        learners, samples, columns = self.packed.shape
        learner = torch.arange(learners, device=order.device).unsqueeze(1)
        rows = order
        if self.length > 1:
            start = order + order.div(self.slots, rounding_mode="floor") * ((self.length - 1) * self.slots)
            time = torch.arange(self.length, device=order.device).view(1, -1, 1)
            rows = (start.unsqueeze(1) + time * self.slots).flatten(1)
        index = (rows + learner * samples).flatten()
        gathered = self.packed.view(-1, columns).index_select(0, index).view(learners, -1, columns)
        found = _split(gathered, self.widths)
        if self.memories is not None:
            index = (order + learner * self.sequences).flatten()
            remembered = self.memories.flatten(0, 1).index_select(0, index)
            found.update(_split(remembered.view(*order.shape, -1), self.memory_widths))
        for name in FLAGS:
            if name in found:
                found[name] = found[name] > 0.5
        if self.discrete and "action" in found:
            found["action"] = found["action"].long()
        for name in self.widths:
            if name not in VECTORS:
                found[name] = found[name].squeeze(-1)
        return found


def _split(packed: Tensor, widths: Mapping[str, int]) -> dict[str, Tensor]:
    return dict(zip(widths, packed.split(list(widths.values()), -1), strict=True))


def mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """[stack, sample] -> [stack], over samples that weigh something."""
    if weight is None:
        return values.mean(1)
    return (values * weight).sum(1) / weight.sum(1).clamp(min=1.0)


def normalised(advantage: Tensor, weight: Tensor | None) -> Tensor:
    """Advantages [stack, sample] brought to mean 0 and deviation 1 in each learner, over all its agents."""
    centred = advantage - mean(advantage, weight).unsqueeze(1)
    return centred / (mean(centred.square(), weight).sqrt().unsqueeze(1) + 1e-8)
