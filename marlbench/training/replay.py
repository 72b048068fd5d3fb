"""Replay: a ring of joint steps as large as the disk, and consistent after any crash.

The ring holds `capacity + slack` joint steps. The logical content is always the last `capacity` joint steps, so what
is written after a checkpoint goes into the slack, never over a step that the checkpoint's content includes. Before the
slack is used up a checkpoint is demanded (`must_checkpoint`). A resumed job therefore finds every step that its
checkpoint speaks of, whatever was written after it, and samples exactly what it would have sampled.

What follows a joint step is not stored again: the following value of a `chained` field is that of the next slot. Only
where a row's episode was cut does a second, smaller ring keep what the row showed last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from marlbench.training.finals import Finals, where
from marlbench.training.priorities import Priorities
from marlbench.training.storage import Field, Storage

__all__ = ["Drawn", "Field", "Replay", "Transitions"]

FLAGS = ("cut", "kept")


@dataclass(frozen=True)
class Drawn:
    """What was sampled: all [member, batch], where the replay's indices live.

    Attributes:
        start: number of the first joint step, counted from the beginning of training.
        row: of the member's rows.
        leaf: of the priorities; None where sampling is uniform.
        probability: with which it was drawn times the number of what could be drawn; None where sampling is uniform.
    """

    start: Tensor
    row: Tensor
    leaf: Tensor | None = None
    probability: Tensor | None = None


@dataclass(frozen=True)
class Transitions:
    """Sampled transitions over `steps` joint steps, or over fewer where an episode ended within them.

    Attributes:
        first: every field at the first joint step, name -> [member, batch, *shape].
        following: chained fields after the last joint step, name -> [member, batch, *shape].
        later: for k = 1 ... steps - 1 the fields that are not chained at step k, and `going`, bool [member, batch]:
            the episode had not ended before it.
    """

    first: dict[str, Tensor]
    following: dict[str, Tensor]
    later: list[dict[str, Tensor]]


class Replay:
    """A ring of joint steps for several members, each of which samples its own rows.

    Args:
        directory: where the files lie; created. None keeps them in memory (nothing may then be resumed).
        fields: name -> Field.
        members: leading axis of what is appended.
        rows: environment rows of each member.
        capacity: joint steps of the logical content.
        slack: joint steps that may be written between two checkpoints; at least one.
        chained: fields of which the following value is the next joint step's.
        device: where samples are wanted.
        stride, span: samples begin at multiples of `stride` and reach `span` joint steps further.
        prioritised: sample by priorities that `reprioritise` sets; else uniformly.
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
        chained: Sequence[str] = (),
        device: torch.device = torch.device("cpu"),  # noqa: B008
        stride: int = 1,
        span: int = 1,
        prioritised: bool = False,
    ) -> None:
        self.members, self.rows = members, rows
        self.capacity, self.slack = capacity, max(slack, 1)
        self.chained, self.stride, self.span = tuple(chained), stride, span
        # One slot more for what follows the last joint step.
        self.slots = capacity + self.slack + bool(chained)
        self.written = 0
        self._checkpointed = 0
        self._pending = 0
        self.device, self._directory = device, directory
        self.fields = dict(fields)
        lead = (members, rows)
        flags = {name: Field((), "bool") for name in FLAGS} if chained else {}
        self.steps = Storage(directory, self.fields | flags, self.slots, lead, device)
        self.place = self.steps.place
        self._on_device = self.place.type == "cuda"
        self._head: dict[str, Tensor] = {}
        self._head_written = True
        last = {name: self.fields[name] for name in self.chained}
        self._finals = Finals(directory, last, self.slots, lead, device, self._on_device) if chained else None
        self.priorities = None
        if prioritised:
            # Samples that a crash brings back may begin in the slack as well.
            self._ring = self.slots // stride + 2
            self.priorities = Priorities(members, self._ring * rows, self.place)
            self._ready = self._expired = 0

    @staticmethod
    def size(
        fields: Mapping[str, Field],
        members: int,
        rows: int,
        capacity: int,
        slack: int,
        chained: Sequence[str] = (),
        episode_limit: int | None = None,
    ) -> int:
        """Bytes of the files, estimated from above where episodes are cut by nothing but their limit."""
        row = sum(field.bytes for field in fields.values())
        slots = capacity + max(slack, 1)
        if not chained:
            return row * members * rows * slots
        last = {name: fields[name] for name in chained}
        return (row + 1) * members * rows * (slots + 1) + Finals.size(
            last, members * rows, slots, episode_limit
        )

    def __len__(self) -> int:
        """Joint steps of the logical content."""
        return min(self.written, self.capacity)

    @property
    def must_checkpoint(self) -> bool:
        return self.written - self._checkpointed >= self.slack

    def append(
        self,
        values: Mapping[str, Tensor],
        following: Mapping[str, Tensor] | None = None,
        cut: Tensor | None = None,
        kept: Tensor | None = None,
        final: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Record one joint step.

        Args:
            values: every field, name -> [member, row, *shape].
            following: chained fields as the rows show them next; to be left as they are until the next call.
            cut: bool [member, row], where what follows is another episode; None for nowhere.
            kept: bool [member, row], of these where what the episode showed last is what followed; None for nowhere.
            final: chained fields as they were then; needed where a row is `kept`.
        """
        if self.must_checkpoint and self._directory is not None:
            raise RuntimeError("the replay's slack is used up: a checkpoint has to be durable first")
        slot = self.written % self.slots
        self.steps.write(slot, values)
        if self.chained:
            assert following is not None
            assert self._finals is not None
            self.steps.write(slot, {"cut": 0 if cut is None else cut, "kept": 0 if kept is None else kept})
            self._finals.count(slot)
            if final is not None:
                self._finals.write(final, self._oldest_needed())
            self._head, self._head_written = dict(following), False
        self.written += 1

    def _oldest_needed(self) -> int | None:
        """The slot of the oldest joint step that the last checkpoint speaks of, where there is one."""
        oldest = max(0, self._checkpointed - self.capacity)
        return oldest % self.slots if oldest < self.written else None

    def _write_head(self) -> None:
        if self._finals is not None and not self._head_written:
            slot = self.written % self.slots
            self.steps.write(slot, self._head)
            self._finals.count(slot)
            self._head_written = True

    def cut_all(self) -> None:
        """What comes next belongs to other episodes in every row: the interrupted ones end, cut, with what they
        showed last."""
        if self._finals is None or not self.written:
            return
        last = (self.written - 1) % self.slots
        cut, kept = (self._flag_at(name, last) for name in FLAGS)
        final = self._head
        own = self._finals.take_back(last)
        if own is not None:
            # Rows that ended at the last joint step themselves keep their own.
            final = {name: where(cut, own[name], value) for name, value in self._head.items()}
        self._finals.write(final, self._oldest_needed())
        self.steps.write(last, {"cut": 1, "kept": kept | ~cut})
        self._head_written = False
        self._write_head()

    def _flag_at(self, name: str, slot: int) -> Tensor:
        return self.flags(name, self.steps.every_row(slot))

    def _units(self) -> tuple[int, int]:
        """The samples that exist: from the first to before the last, in multiples of `stride`."""
        oldest = self.written - len(self)
        return -(-oldest // self.stride), (self.written - self.span) // self.stride + 1

    @property
    def available(self) -> bool:
        """Whether there is anything to sample."""
        low, high = self._units()
        return high > low

    def draw(self, generators: Sequence[Generator], batch: int) -> Drawn:
        """`batch` samples of each member's own, with replacement."""
        self._write_head()
        low, high = self._units()
        if self.priorities is None:
            count = (high - low) * self.rows
            drawn = torch.stack([torch.randint(count, (batch,), generator=g) for g in generators])
            if self.place.type == "cuda":
                drawn = drawn.pin_memory().to(self.place, non_blocking=True)
            return Drawn((low + drawn // self.rows) * self.stride, drawn % self.rows)
        self._keep_priorities(low, high)
        leaf, probability = self.priorities.draw(generators, batch)
        unit, row = leaf // self.rows, leaf % self.rows
        # The number of a unit from its place in the ring: the only one of its remainder within the content.
        unit = low + (unit - low) % self._ring
        return Drawn(unit * self.stride, row, leaf, probability * ((high - low) * self.rows))

    def _keep_priorities(self, low: int, high: int) -> None:
        """What is new gets the largest priority so far, what is no longer content none."""
        assert self.priorities is not None
        largest = self.priorities.largest
        for first, last, priority in (
            (self._expired, min(low, self._ready), torch.zeros_like(largest)),
            (max(self._ready, low), high, largest),
        ):
            if last > first:
                unit = torch.arange(first, last, device=self.place).view(-1, 1) % self._ring
                leaf = (unit * self.rows + torch.arange(self.rows, device=self.place)).flatten()
                leaf = leaf.expand(self.members, -1)
                self.priorities.set(leaf, priority.expand(-1, leaf.shape[1]))
        self._expired, self._ready = max(low, self._expired), max(high, self._ready)

    def reprioritise(self, drawn: Drawn, priority: Tensor) -> None:
        """Set the priorities of what was drawn: [member, batch], positive."""
        assert self.priorities is not None
        assert drawn.leaf is not None
        self.priorities.update(drawn.leaf, priority.to(self.place))

    def index(self, number: Tensor, row: Tensor) -> Tensor:
        """Where the rows of joint steps lie: int64 [member, ...] of joint step and row."""
        if self.members == 1:
            return number % self.slots * self.rows + row
        return (number % self.slots * self.members + self._member(number.dim())) * self.rows + row

    def _member(self, axes: int) -> Tensor:
        return torch.arange(self.members, device=self.place).view(-1, *(1,) * (axes - 1))

    def transitions(self, drawn: Drawn) -> Transitions:
        """What was drawn as transitions over `span` joint steps."""
        index = self.index(drawn.start, drawn.row)
        first = {name: self.steps.read(name, index) for name in self.fields}
        last, later = drawn.start, []
        going = torch.ones_like(drawn.row, dtype=torch.bool)
        for _ in range(1, self.span):
            going = going & ~self.flags("cut", self.index(last, drawn.row))
            last = torch.where(going, last + 1, last)
            index = self.index(last, drawn.row)
            fields = {n: self.steps.read(n, index) for n in self.fields if n not in self.chained}
            later.append(fields | {"going": going.to(self.device, non_blocking=True)})
        following = {}
        if self.chained:
            after = self.index(last + 1, drawn.row)
            following = {name: self.steps.read(name, after) for name in self.chained}
            # `index` is still that of the last step.
            self.put_finals(following, last, drawn.row, self.flags("kept", index))
        return Transitions(first, following, later)

    def flags(self, name: str, index: Tensor) -> Tensor:
        """A field where the indices live, not where samples are wanted."""
        return self.steps.at_place(name, index)

    def put_finals(self, values: dict[str, Tensor], number: Tensor, row: Tensor, wanted: Tensor) -> None:
        """Replace the chained fields of `values` by the final ones where `wanted`."""
        if self._finals is not None:
            self._finals.put(values, number % self.slots, row, wanted)

    def flush(self) -> None:
        """Make what was appended durable: called before a state that speaks of it is written."""
        self._write_head()
        for storage in self._storages():
            storage.flush()
        self._pending = self.written
        if self._finals is not None:
            self._finals.flushed()

    def _storages(self) -> list[Storage]:
        return [self.steps] if self._finals is None else [self.steps, *self._finals.storages]

    def checkpoint_done(self) -> None:
        """The state that was last flushed for is durable."""
        self._checkpointed = self._pending
        if self._finals is not None:
            self._finals.checkpoint_done()

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"written": self.written}
        if self._finals is not None:
            state["finals"] = self._finals.state_dict()
            state["head"] = {name: value.clone() for name, value in self._head.items()}
            if self.written:
                # What the first joint step after an interrupted episode may have changed before a crash.
                last = (self.written - 1) % self.slots
                state["flags"] = {name: self._flag_at(name, last) for name in FLAGS}
        if self.priorities is not None:
            state["priorities"] = self.priorities.state_dict()
            state["units"] = [self._expired, self._ready]
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.written = self._checkpointed = self._pending = int(state["written"])
        self.steps.reload()
        if self._finals is not None:
            self._finals.load_state_dict(state["finals"])
            self._head = {n: v.to(self.device, copy=True) for n, v in state["head"].items()}
            self._head_written = not self.written
            if self.written:
                self.steps.write((self.written - 1) % self.slots, state["flags"])
            self._write_head()
        if self.priorities is not None:
            self.priorities.load_state_dict(state["priorities"])
            self._expired, self._ready = state["units"]
