"""Sequences of joint steps for recurrent learners, with the recurrent state that was there when they began.

Kapturowski et al. 2019 (R2D2): fixed lengths, the state stored, neighbours overlapping by half. States are kept only
where a sequence may begin.

A sequence consists of `length` elements of one row. An element is a joint step, or what an episode that was cut
showed last: it stands between the last step of that episode and the first of the next, and is no transition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marlbench.training.replay import Drawn, Replay
from marlbench.training.storage import Field, Storage


@dataclass(frozen=True)
class Sequences:
    """Sampled sequences, time before the batch.

    Attributes:
        fields: name -> [member, time, batch, *shape]; those that are not chained mean nothing at a final element.
        final: bool [member, time, batch]: what an episode showed last; no step was taken from it.
        cut: bool [member, time, batch]: the row's episode ended with this step.
        fresh: bool [member, time, batch]: an episode begins here, so the memory starts again.
        memory: recurrent state before the first element, [member, batch, *shape].
    """

    fields: dict[str, Tensor]
    final: Tensor
    cut: Tensor
    fresh: Tensor
    memory: Tensor


class SequenceReplay(Replay):
    """A replay of which sequences of `length` elements are sampled.

    Args:
        memory: shape of what one row's recurrent state is, stored as float32.
        Others as for `Replay`, of which `stride` and `span` are chosen here.
    """

    def __init__(
        self,
        directory: Path | None,
        fields: Mapping[str, Field],
        members: int,
        rows: int,
        capacity: int,
        slack: int,
        *,
        chained: tuple[str, ...],
        length: int,
        memory: tuple[int, ...],
        device: torch.device = torch.device("cpu"),  # noqa: B008
        prioritised: bool = False,
    ) -> None:
        super().__init__(
            directory,
            fields,
            members,
            rows,
            capacity,
            slack,
            chained=chained,
            device=device,
            stride=self.stride_of(length),
            span=length - 1,
            prioritised=prioritised,
        )
        self.length = length
        entries = self.slots // self.stride + 2
        stored = {"memory": Field(memory)}
        self._memories = Storage(
            directory, stored, entries, (members, rows), device, on_device=self._on_device
        )

    @staticmethod
    def stride_of(length: int) -> int:
        """Joint steps between the starts of sequences of `length` elements."""
        return max(1, (length - 1) // 2)

    def remember(self, memory: Tensor) -> None:
        """Tell the recurrent state [member, row, *shape] before the joint step that is appended next."""
        if self.written % self.stride == 0:
            entry = self.written // self.stride % self._memories.entries
            self._memories.write(entry, {"memory": memory})

    def sequences(self, drawn: Drawn) -> Sequences:
        """What was drawn as sequences."""
        steps = torch.arange(self.length, device=self.place).view(1, -1, 1)
        start, row = drawn.start.unsqueeze(1), drawn.row.unsqueeze(1)
        row = row.expand(-1, self.length, -1)
        # A step whose episode was cut, with its end kept, is followed by one element more.
        followed = self.flags("kept", self.index(start + steps, row))
        position = steps + followed.cumsum(1)
        final = torch.zeros(
            self.members, 2 * self.length + 1, drawn.row.shape[1], dtype=torch.bool, device=self.place
        ).scatter_(1, position, followed)[:, : self.length]
        number = start + steps - final.cumsum(1)
        index = self.index(number, row)
        cut = self.flags("cut", index)
        fields = {name: self.steps.read(name, index) for name in self.fields}
        chained = {name: fields[name] for name in self.chained}
        self.put_finals(chained, number, row, final)
        fields |= chained
        # An episode begins after a final element, and after a cut that none follows.
        fresh = torch.zeros_like(final)
        fresh[:, 1:] = cut[:, :-1] & ~final[:, 1:]
        entry = start.squeeze(1) // self.stride % self._memories.entries
        member = torch.arange(self.members, device=self.place).unsqueeze(1)
        memory = self._memories.read("memory", (entry * self.members + member) * self.rows + drawn.row)
        there = {"final": final, "cut": cut, "fresh": fresh}
        if self.place != self.device:
            there = {n: v.pin_memory().to(self.device, non_blocking=True) for n, v in there.items()}
        return Sequences(fields, memory=memory, **there)

    def _storages(self) -> list[Storage]:
        return [*super()._storages(), self._memories]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._memories.reload()
