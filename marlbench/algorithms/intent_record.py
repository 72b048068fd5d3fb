"""What iPLAN's inference learns from: some joint steps in a row, with whom every agent saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from marlbench.algorithms.base import Setting
from marlbench.algorithms.intent_memory import Recollection, of_rows, with_rows
from marlbench.algorithms.intent_policy import Inferred
from marlbench.algorithms.sharing import Sharing
from marlbench.environments.contract import Step


class IntentRecord:
    """The joint steps since inference learnt last: [member, time, row, agent, ...], at most `length` of them.

    Args:
        recollection: how memories read.
        length: joint steps.
    """

    def __init__(self, setting: Setting, recollection: Recollection, length: int) -> None:
        self.recollection, self.length = recollection, length
        self.members, self.rows = setting.members, setting.rows
        seen, features = recollection.entities.seen, len(recollection.entities.features)
        (_, behaviour), (_, instant) = (recollection.shapes[name] for name in ("behaviour", "instant"))
        lead = (setting.members, length, setting.rows, setting.agents)

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(*lead, *shape, dtype=dtype, device=setting.device)

        self.values = {
            "seen": zeros(seen, features),
            "identity": zeros(seen, dtype=torch.int64),
            "behaviour": zeros(seen, behaviour),
            "instant": zeros(seen, instant),
            "acting": zeros(dtype=torch.bool),
            # Whether the memory was emptied after the step.
            "cut": zeros(dtype=torch.bool),
        }
        self.time = 0
        self.before: Tensor | None = None

    @property
    def full(self) -> bool:
        return self.time == self.length

    def add(self, step: Step, recalled: Tensor, inferred: Inferred, following: Step) -> None:
        """One joint step, acted on with the recollection `recalled` [row, agent, size]."""
        if self.time == 0:
            self.before = self._split(recalled).clone()
        lead = step.observation.shape[:2]
        identity = self.recollection.identity(step.identity, lead, step.observation.device)
        found = {
            "seen": step.observation.view(*lead, *self.values["seen"].shape[-2:]),
            "identity": identity,
            "behaviour": inferred.behaviour,
            "instant": inferred.instant,
            "acting": step.acting,
            "cut": following.ended.unsqueeze(1) | following.new_occupant,
        }
        for name, value in found.items():
            self.values[name][:, self.time] = self._split(value)
        self.time += 1

    def _split(self, values: Tensor) -> Tensor:
        return values.view(self.members, self.rows, *values.shape[1:])

    def clear(self) -> None:
        self.time, self.before = 0, None

    def state_dict(self) -> dict[str, Any]:
        return {
            "time": self.time,
            "before": None if self.before is None else self.before.clone(),
            "values": {name: value[:, : self.time].clone() for name, value in self.values.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.time = int(state["time"])
        before = state["before"]
        self.before = None if before is None else before.to(self.values["seen"].device, copy=True)
        for name, value in state["values"].items():
            self.values[name][:, : self.time] = value.to(self.values[name].device)


class Lesson:
    """A full record by learner: [stack, time, slot, ...], a slot being a row's agent.

    Attributes:
        seen: [stack, time, slot, seen, features].
        identity: whom the rows show, int64 [stack, time, slot, seen]; `total` for nobody.
        behaviour, instant: latents before the step of whom the rows show, [stack, time, slot, seen, latent].
        start: behavioural latents of everybody before the first step, [stack, slot, entity, latent].
        course: what everybody showed, [stack, history - 1 + time, slot, entity, features]: the steps before the first
            come from the memory; zeros where somebody was not seen.
        fresh: bool [stack, time, slot]: the memory was emptied before the step.
        episode: int64 [stack, history - 1 + time, slot], which differs between episodes.
        shows: bool [stack, time, slot, seen]: an agent that acts sees somebody there.
        acting: bool [stack, time, slot].
    """

    def __init__(self, record: IntentRecord, sharing: Sharing) -> None:
        assert record.before is not None
        values, total = record.values, record.recollection.entities.total
        self.time = record.length

        def folded(value: Tensor) -> Tensor:
            """[member, time, row, agent, *shape] -> [stack, time, slot, *shape]."""
            members, times, rows = value.shape[:3]
            shape = value.shape[4:]
            lead = (members * sharing.groups, times, rows * sharing.group_size)
            if not value.numel():
                return value.new_zeros(*lead, *shape)
            return sharing.fold(value.flatten(4) if shape else value.unsqueeze(-1)).view(*lead, *shape)

        self.seen, self.identity = folded(values["seen"]), folded(values["identity"])
        self.behaviour, self.instant = folded(values["behaviour"]), folded(values["instant"])
        self.acting = folded(values["acting"])
        self.shows = (self.identity < total) & self.acting.unsqueeze(-1)
        parts = record.recollection.split(record.before)
        self.start = folded(parts["behaviour"].unsqueeze(1))[:, 0]
        nobody = self.seen.new_zeros(*self.seen.shape[:3], total, self.seen.shape[-1])
        shown = with_rows(nobody, self.identity, self.seen)
        past = folded(parts["history"][..., 1:, :, :].unsqueeze(1))[:, 0].transpose(1, 2)
        self.course = torch.cat([past, shown], 1)
        cut = folded(values["cut"])
        self.fresh = torch.cat([torch.zeros_like(cut[:, :1]), cut[:, :-1]], 1)
        self.past = past.shape[1]
        # What is remembered from before the record is of the episode that the record begins with.
        numbers = self.fresh.cumsum(1)
        self.episode = torch.cat([torch.zeros_like(numbers[:, :1]).expand(-1, self.past, -1), numbers], 1)

    def histories(self, times: Tensor, length: int) -> Tensor:
        """What those whom the rows show at `times` [n] did in the `length` steps up to then: [stack, n, slot, seen,
        length, features], zeros before their episode."""
        first = times + self.past - (length - 1)
        same = self._same(first, times, length)
        return self._stretch(first, times, length) * same.unsqueeze(-1).unsqueeze(-3)

    def futures(self, times: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """What they do in the `length` steps after, and whether that counts: bool [stack, n, slot, seen, length].

        What counts is of the same episode, while the agent acts and where the row shows somebody.
        """
        first = times + self.past + 1
        alive = self.acting.unfold(1, length, 1)[:, times + 1] & self._same(first, times, length)
        counts = alive.unsqueeze(-2) & self.shows[:, times].unsqueeze(-1)
        return self._stretch(first, times, length), counts

    def _stretch(self, first: Tensor, times: Tensor, length: int) -> Tensor:
        """[stack, n, slot, seen, length, features] of the course from `first` on, for whom the rows show at `times`."""
        stretches = self.course.unfold(1, length, 1)[:, first]
        flat = of_rows(stretches.flatten(-2), self.identity[:, times])
        return flat.unflatten(-1, (-1, length)).transpose(-1, -2)

    def _same(self, first: Tensor, times: Tensor, length: int) -> Tensor:
        """bool [stack, n, slot, length]: of the episode of `times`."""
        now = self.episode[:, times + self.past]
        return self.episode.unfold(1, length, 1)[:, first] == now.unsqueeze(-1)
