"""Arrays that may be larger than memory: in mapped files, in memory, or on a GPU with files behind them.

An entry holds what every row of every member contributes at one time: [entry, member, row, *shape]. Numbers are stored
as `Field.dtype` says and come back as float32, int64 or bool.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# Mapped files larger than this give their pages back whenever so many may have become resident; the system keeps them
# cached.
LARGE_BYTES = 512 << 20
RESIDENT_BYTES = 192 << 20
# A page fault brings in the pages around it, so much on Linux.
_FAULT_BYTES = 64 << 10
# Of the GPU memory that is free when a replay is made, the share that it may take.
_DEVICE_SHARE = 0.4

_READ_AS = {"bool": torch.bool, "float32": torch.float32, "float16": torch.float32, "int8": torch.float32}


@dataclass(frozen=True)
class Field:
    """One recorded quantity.

    Attributes:
        shape: what one row contributes to an entry.
        dtype: how it is stored: `float32` (exact), `float16`, `int8` (real numbers in steps of 1/127 of the largest
            magnitude of their last axis), `bool`, or `uint8`, `int16`, `int32`, `int64` for whole numbers.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def parts(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Arrays that hold it: suffix of the name -> shape, dtype."""
        if self.dtype == "int8":
            return {"": (self.shape, "int8"), ".scale": (self.shape[:-1], "float32")}
        return {"": (self.shape, self.dtype)}

    @property
    def bytes(self) -> int:
        """Of what one row contributes to an entry."""
        return sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in self.parts.values())


def whole_number_dtype(count: int) -> str:
    """The smallest dtype that holds the integers [0, count)."""
    return "uint8" if count <= 1 << 8 else "int16" if count <= 1 << 15 else "int32"


class Storage:
    """Named arrays [entries, *lead, *shape].

    Args:
        directory: where the files lie; created. None keeps the arrays in memory.
        fields: name -> Field.
        entries: leading axis.
        lead: axes between the entries and a field's own: members and rows.
        device: where what is read is wanted.
        prefix: of the names of the files.
        on_device: whether the arrays live in the device's memory; by default where they fit.

    Attributes:
        place: where the arrays live and indices are wanted: the device or the CPU.
    """

    def __init__(
        self,
        directory: Path | None,
        fields: Mapping[str, Field],
        entries: int,
        lead: tuple[int, ...],
        device: torch.device,
        prefix: str = "",
        on_device: bool | None = None,
    ) -> None:
        self.fields, self.entries, self.lead, self.device = dict(fields), entries, lead, device
        self.paths: list[Path] = []
        self._maps: list[np.memmap] = []
        self._host: dict[str, Tensor] = {}
        self._touched = 0
        size = sum(field.bytes for field in fields.values()) * entries * prod(lead)
        self._large = directory is not None and size > LARGE_BYTES
        if on_device is None:
            on_device = device.type == "cuda" and size <= _DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
        self.place = device if on_device else torch.device("cpu")
        for name, field in fields.items():
            for suffix, (shape, dtype) in field.parts.items():
                whole = (entries, *lead, *shape)
                if directory is None:
                    self._host[name + suffix] = torch.zeros(whole, dtype=getattr(torch, dtype))
                else:
                    self._host[name + suffix] = self._map(
                        directory / f"{prefix}{name}{suffix}.bin", whole, dtype
                    )
        self._arrays = {name: host.to(self.place) if on_device else host for name, host in self._host.items()}
        # Entries and rows as one axis.
        self._flat = {
            name + suffix: self._arrays[name + suffix].view(-1, *shape)
            for name, field in fields.items()
            for suffix, (shape, _) in field.parts.items()
        }
        self._dirty: list[int] = []

    def _map(self, path: Path, shape: tuple[int, ...], dtype: str) -> Tensor:
        path.parent.mkdir(parents=True, exist_ok=True)
        size = prod(shape) * np.dtype(dtype).itemsize
        # A file of the right size is the one of the attempt before: its checkpointed entries are still needed.
        if not path.exists() or path.stat().st_size != size:
            with path.open("wb") as created:
                # A hole in a mapped file would kill the process with SIGBUS when the disk is full.
                os.posix_fallocate(created.fileno(), 0, size)
        mapped = np.memmap(path, dtype=dtype, mode="r+", shape=shape)
        self.paths.append(path)
        self._maps.append(mapped)
        return torch.from_numpy(mapped)

    def write(self, entry: int, values: Mapping[str, Tensor | int]) -> None:
        """name -> [*lead, *shape] into one entry."""
        for name, value in values.items():
            if self.fields[name].dtype == "int8":
                assert isinstance(value, Tensor)
                scale = value.abs().amax(-1) / 127.0
                self._arrays[f"{name}.scale"][entry] = scale
                value = (value / scale.clamp(min=1e-30).unsqueeze(-1)).round()
            self._arrays[name][entry] = value
        if self.place.type == "cuda":
            self._dirty.append(entry)
        elif self._large:
            self._touch(len(values))

    def every_row(self, entry: int) -> Tensor:
        """Where every row of an entry lies, int64 [*lead]: what `read` and `at_place` take."""
        rows = prod(self.lead)
        return torch.arange(entry * rows, (entry + 1) * rows, device=self.place).view(self.lead)

    def read(self, name: str, index: Tensor) -> Tensor:
        """Rows of a field, on the device: [*index, *shape] for int64 `index` into [entry x lead] flattened."""
        field = self.fields[name]
        found = self._rows(name, index)
        kind = _READ_AS.get(field.dtype, torch.int64)
        if found.dtype != kind:
            found = found.to(kind)
        if field.dtype == "int8":
            found *= self._rows(f"{name}.scale", index).unsqueeze(-1)
        return found

    def at_place(self, name: str, index: Tensor) -> Tensor:
        """Rows as they are stored, where the arrays live."""
        flat = self._flat[name]
        return flat.index_select(0, index.flatten()).view(index.shape + flat.shape[1:])

    def _rows(self, name: str, index: Tensor) -> Tensor:
        if self._large and self.place.type == "cpu":
            self._touch(index.numel())
        found = self.at_place(name, index)
        if self.place != self.device:
            found = found.pin_memory().to(self.device, non_blocking=True)
        return found

    def _touch(self, rows: int) -> None:
        """Give mapped pages back before they count for too much; what was written stays in the system's cache."""
        self._touched += rows * _FAULT_BYTES
        if self._touched > RESIDENT_BYTES:
            self._touched = 0
            for mapped in self._maps:
                _mapping(mapped).madvise(mmap.MADV_DONTNEED)

    def take_over(self, other: Storage, entries: range) -> None:
        """Copy entries of a storage of the same fields, each to its number modulo the entries here."""
        number = torch.tensor(entries, dtype=torch.int64, device=self.place)
        for name, array in self._arrays.items():
            array[number % self.entries] = other._arrays[name][number % other.entries]
        if self.place.type == "cuda":
            self._dirty += [entry % self.entries for entry in entries]

    def flush(self) -> None:
        """Make what was written durable."""
        if self._dirty:
            entries = torch.tensor(sorted(set(self._dirty)))
            for name, host in self._host.items():
                host[entries] = self._arrays[name][entries.to(self.place)].cpu()
            self._dirty = []
        for mapped in self._maps:
            mapped.flush()

    def reload(self) -> None:
        """Read the files again into the GPU's memory: they are what a checkpoint speaks of."""
        if self.place.type == "cuda":
            for name, host in self._host.items():
                self._arrays[name].copy_(host)
            self._dirty = []


def _mapping(array: np.memmap) -> mmap.mmap:
    mapping = array._mmap  # type: ignore[attr-defined]
    assert isinstance(mapping, mmap.mmap)
    return mapping
