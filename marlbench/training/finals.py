"""What rows showed last where their episodes were cut, beside a ring of joint steps: a smaller ring, which grows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marlbench.training.storage import Field, Storage

FIRST_ENTRIES = 16


class Finals:
    """An entry for every joint step at which some row's episode was cut, and how many came before each joint step.

    Like the ring of joint steps it keeps what the last checkpoint speaks of, whatever is written after it: where the
    entries do not suffice they are moved to a ring of twice the size, in files of their own.

    Args:
        directory: where the files lie; None keeps them in memory.
        fields: what is shown, name -> Field.
        slots: of the ring of joint steps.
        lead: members and rows.
        device: where what is read is wanted.
        on_device: whether the arrays live in its memory.

    Attributes:
        written: entries so far.
    """

    def __init__(
        self,
        directory: Path | None,
        fields: Mapping[str, Field],
        slots: int,
        lead: tuple[int, int],
        device: torch.device,
        on_device: bool,
    ) -> None:
        self._directory, self._fields, self._on_device = directory, dict(fields), on_device
        self._lead, self._device = lead, device
        self.written = 0
        # A joint step has an entry where the next slot counts more.
        counts = {"finals_before": Field((), "int64")}
        self._before = Storage(directory, counts, slots, (), device, on_device=on_device)
        self._ring = self._make(FIRST_ENTRIES)
        # The first entry that is still needed.
        self._needed = 0
        self._outgrown: list[Storage] = []
        self._unneeded: list[Storage] = []

    def _make(self, entries: int) -> Storage:
        prefix = f"final-{entries}-"
        return Storage(
            self._directory, self._fields, entries, self._lead, self._device, prefix, self._on_device
        )

    @staticmethod
    def size(fields: Mapping[str, Field], rows: int, slots: int, episode_limit: int | None) -> int:
        """Bytes of the files, estimated from above where episodes are cut by nothing but their limit."""
        # Rows may end at different times, and the ring is doubled when it is full.
        share = 1.0 if episode_limit is None else min(1.0, rows / episode_limit)
        entries = max(FIRST_ENTRIES, 2 * int(share * slots))
        return 8 * slots + sum(field.bytes for field in fields.values()) * rows * entries

    def count(self, slot: int) -> None:
        """Note for the joint step of a slot how many entries came before it."""
        self._before.write(slot, {"finals_before": self.written})

    def _counted(self, slot: int) -> int:
        return int(self._before.at_place("finals_before", torch.tensor(slot, device=self._before.place)))

    def write(self, values: Mapping[str, Tensor], oldest: int | None) -> None:
        """Record the entry of the newest joint step.

        Args:
            values: name -> [member, row, *shape].
            oldest: slot of the oldest joint step that is needed; None where none is.
        """
        if self.written - self._needed >= self._ring.entries:
            self._needed = 0 if oldest is None else self._counted(oldest)
        if self.written - self._needed >= self._ring.entries:
            larger = self._make(2 * self._ring.entries)
            larger.take_over(self._ring, range(self._needed, self.written))
            # The checkpoint still speaks of the smaller ring.
            self._outgrown.append(self._ring)
            self._ring = larger
        self._ring.write(self.written % self._ring.entries, values)
        self.written += 1

    def take_back(self, slot: int) -> dict[str, Tensor] | None:
        """Forget the entry of the newest joint step, which lies in `slot`, and return it; None where it has none."""
        before = self._counted(slot)
        if self.written == before:
            return None
        self.written = before
        index = self._ring.every_row(before % self._ring.entries)
        return {name: self._ring.read(name, index) for name in self._fields}

    def put(self, values: dict[str, Tensor], slot: Tensor, row: Tensor, wanted: Tensor) -> None:
        """Replace `values`, name -> [member, ..., *shape], by the entries of joint steps in slots where `wanted`.

        Args:
            slot, row: int64, broadcast to `wanted`.
            wanted: bool [member, ...].
        """
        if not self.written:
            return
        members = self._lead[0]
        if self._ring.place.type == "cuda":
            member = torch.arange(members, device=self._ring.place).view(-1, *(1,) * (slot.dim() - 1))
            index = self._index(slot, row, member)
            for name in values:
                values[name] = where(wanted, self._ring.read(name, index), values[name])
            return
        chosen = wanted.flatten().nonzero().squeeze(1)
        if not chosen.numel():
            return
        slot, row = (flat.expand(wanted.shape).flatten().index_select(0, chosen) for flat in (slot, row))
        index = self._index(slot, row, chosen // (wanted.numel() // members))
        chosen = chosen.to(self._device)
        for name, value in values.items():
            flat = value.view(-1, *self._fields[name].shape)
            flat.index_copy_(0, chosen, self._ring.read(name, index))

    def _index(self, slot: Tensor, row: Tensor, member: Tensor) -> Tensor:
        members, rows = self._lead
        entry = self._before.at_place("finals_before", slot) % self._ring.entries
        return (entry * members + member) * rows + row

    @property
    def storages(self) -> list[Storage]:
        """What has to be flushed."""
        return [self._before, self._ring]

    def flushed(self) -> None:
        """The next checkpoint speaks of the present ring."""
        self._unneeded, self._outgrown = self._unneeded + self._outgrown, []

    def checkpoint_done(self) -> None:
        """That checkpoint is durable."""
        for storage in self._unneeded:
            for path in storage.paths:
                path.unlink(missing_ok=True)
        self._unneeded = []

    def state_dict(self) -> dict[str, Any]:
        return {"written": self.written, "entries": self._ring.entries}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.written, self._needed = int(state["written"]), 0
        self._ring = self._make(int(state["entries"]))
        self._ring.reload()
        self._before.reload()


def where(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """`one` where `chosen`, which lacks their last axes, and `other` elsewhere."""
    return torch.where(chosen.view(*chosen.shape, *(1,) * (one.dim() - chosen.dim())), one, other)
