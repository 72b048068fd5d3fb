"""Replay in memory-mapped files: as large as the disk, and consistent after any crash.

The files hold `capacity + slack` joint steps in a ring. The logical content is always the last `capacity` joint steps,
so what is written after a checkpoint goes into the slack, never over a step that the checkpoint's content includes.
Before the slack is used up a checkpoint is demanded (`must_checkpoint`). A resumed job therefore finds every step that
its checkpoint speaks of, whatever was written after it, and samples exactly what it would have sampled.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Field:
    """One recorded quantity: the shape that one row contributes at one joint step, and how it is stored."""

    shape: tuple[int, ...]
    dtype: str = "float32"


class Replay:
    """A ring of joint steps for several members, each of which samples its own rows.

    Args:
        directory: where the files lie; created. None keeps them in memory (nothing may then be resumed).
        fields: name -> Field.
        members: leading axis of what is appended.
        rows: environment rows of each member.
        capacity: joint steps of the logical content.
        slack: joint steps that may be written between two checkpoints; at least one.
    """

    def __init__(
        self,
        directory: Path | None,
        fields: Mapping[str, Field],
        members: int,
        rows: int,
        capacity: int,
        slack: int,
    ) -> None:
        self.members, self.rows = members, rows
        self.capacity, self.slots = capacity, capacity + max(slack, 1)
        self.written = 0
        self._checkpointed = 0
        self._pending = 0
        self._files: list[np.memmap] = []
        self._stored: dict[str, Tensor] = {}
        for name, field in fields.items():
            shape = (self.slots, members, rows, *field.shape)
            if directory is None:
                self._stored[name] = torch.from_numpy(np.zeros(shape, field.dtype))
                continue
            directory.mkdir(parents=True, exist_ok=True)
            path = directory / f"{name}.bin"
            size = prod(shape) * np.dtype(field.dtype).itemsize
            # A file of the right size is the one of the attempt before: its checkpointed steps are still needed.
            if not path.exists() or path.stat().st_size != size:
                with path.open("wb") as created:
                    # A hole in a mapped file would kill the process with SIGBUS when the disk is full.
                    os.posix_fallocate(created.fileno(), 0, size)
            file = np.memmap(path, dtype=field.dtype, mode="r+", shape=shape)
            self._files.append(file)
            self._stored[name] = torch.from_numpy(file)

    @staticmethod
    def size(fields: Mapping[str, Field], members: int, rows: int, capacity: int, slack: int) -> int:
        """Bytes of the files."""
        row = sum(prod(field.shape) * np.dtype(field.dtype).itemsize for field in fields.values())
        return row * members * rows * (capacity + max(slack, 1))

    def __len__(self) -> int:
        """Joint steps of the logical content."""
        return min(self.written, self.capacity)

    @property
    def must_checkpoint(self) -> bool:
        return self.written - self._checkpointed >= self.slots - self.capacity

    def append(self, values: Mapping[str, Tensor]) -> None:
        """Record one joint step: name -> [member, row, *shape]."""
        if self.must_checkpoint and self._files:
            raise RuntimeError("the replay's slack is used up: a checkpoint has to be durable first")
        slot = self.written % self.slots
        for name, value in values.items():
            self._stored[name][slot] = value
        self.written += 1

    def sample(self, generators: Sequence[Generator], batch: int) -> dict[str, Tensor]:
        """`batch` rows of each member's own, uniformly with replacement: name -> [member, batch, *shape]."""
        length = len(self)
        oldest = self.written - length
        drawn = torch.stack([torch.randint(length * self.rows, (batch,), generator=g) for g in generators])
        slot = (oldest + drawn // self.rows) % self.slots
        member = torch.arange(self.members).unsqueeze(1)
        index = ((slot * self.members + member) * self.rows + drawn % self.rows).flatten()
        found: dict[str, Tensor] = {}
        for name, stored in self._stored.items():
            shape = stored.shape[3:]
            rows = stored.view(-1, *shape).index_select(0, index)
            found[name] = rows.view(self.members, batch, *shape)
        return found

    def flush(self) -> None:
        """Make what was appended durable: called before a state that speaks of it is written."""
        for file in self._files:
            file.flush()
        self._pending = self.written

    def checkpoint_done(self) -> None:
        """The state that was last flushed for is durable."""
        self._checkpointed = self._pending

    def state_dict(self) -> dict[str, int]:
        return {"written": self.written}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.written = self._checkpointed = self._pending = int(state["written"])
