"""The journal of a cell: one JSON object a line, in the order in which things happened.

The first line is a header; every other line is a record with consecutive `seq` from 1. What lies beyond the
last durable checkpoint is provisional: a resumed job cuts it off, keeps it under attempts/ and writes it
again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from marlbench.store import durable
from marlbench.store.numbers import decode, encode
from marlbench.store.states import Damaged

SCHEMA = 1
NAME = "journal.jsonl"
# Bytes read at once from the end: more than the episodes of one evaluation take.
_BACKWARDS = 1 << 16


@dataclass(frozen=True)
class Extent:
    """The first `bytes` of a journal: how many records they hold (the header not counted) and their
    sha256."""

    bytes: int
    records: int
    sha256: str


class Journal:
    """The writing end. One process, the holder of the job's lock, has one open per cell."""

    def __init__(self, path: Path, extent: Extent, digest: Any, generation: int) -> None:
        """Use `begin` or `resume`."""
        self.path = path
        self.generation = generation
        self._bytes = extent.bytes
        self._records = extent.records
        self._digest = digest
        with durable.told(path):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    @classmethod
    def begin(cls, path: Path, cell: str, attempt: int, time_ms: int) -> Journal:
        """A journal of nothing but its header, in place of whatever was at `path`."""
        header = {
            "kind": "header",
            "schema": SCHEMA,
            "cell": cell,
            "attempt": attempt,
            "time_ms": time_ms,
            "generation": attempt,
        }
        line = _line(header)
        durable.write(path, line)
        digest = hashlib.sha256(line)
        return cls(path, Extent(len(line), 0, digest.hexdigest()), digest, attempt)

    @classmethod
    def resume(cls, path: Path, extent: Extent, tail: Path) -> tuple[Journal, bytes]:
        """Go on after `extent`: what lies beyond is moved to the file `tail` and returned.

        Raises:
            Damaged: the journal does not begin with what the extent describes.
            Unwritable: the tail cannot be kept or the journal not be cut.
        """
        try:
            with path.open("rb") as stream:
                covered = stream.read(extent.bytes)
                beyond = stream.read()
        except FileNotFoundError:
            raise Damaged(f"{path} is missing") from None
        digest = hashlib.sha256(covered)
        if digest.hexdigest() != extent.sha256:
            raise Damaged(f"the first {extent.bytes} bytes of {path} are not those that its checkpoint knows")
        header = _header(covered.split(b"\n", 1)[0], path.parent.name)
        if beyond:
            # The tail is safe before it is cut; a crash in between keeps it twice, never not at all.
            durable.write(tail, beyond)
            with durable.told(path, "cut"):
                descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.ftruncate(descriptor, extent.bytes)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        return cls(path, extent, digest, header["generation"]), beyond

    def append(
        self,
        *,
        attempt: int,
        time_ms: int,
        kind: str,
        step: int,
        values: dict[str, float],
        episodes: dict[str, list[float]] | None = None,
    ) -> None:
        """Add a record; it is durable after the next `sync`.

        Raises:
            Unwritable: the disk is full; the journal may end in half a line, which the next resume cuts off.
        """
        record: dict[str, Any] = {
            "seq": self._records + 1,
            "attempt": attempt,
            "time_ms": time_ms,
            "kind": kind,
            "step": int(step),
            "values": {name: float(value) for name, value in values.items()},
        }
        if episodes is not None:
            record["episodes"] = {name: [float(value) for value in row] for name, row in episodes.items()}
        line = _line(encode(record))
        with durable.told(self.path):
            durable.write_all(self._descriptor, line)
        self._digest.update(line)
        self._bytes += len(line)
        self._records += 1

    def sync(self) -> Extent:
        """Make every record durable; returns what the journal now holds."""
        with durable.told(self.path):
            os.fsync(self._descriptor)
        return Extent(self._bytes, self._records, self._digest.hexdigest())

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_header(path: Path) -> dict[str, Any] | None:
    """The header; None where there is no journal or its first line is torn.

    Raises:
        Damaged: the first line is not this cell's header.
    """
    try:
        with durable.reading(path), path.open("rb") as stream:
            line = stream.readline()
    except FileNotFoundError:
        return None
    return _header(line, path.parent.name) if line.endswith(b"\n") else None


def read_lines(path: Path, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The header and the records within the first `limit` bytes, NaN and infinities restored.

    A last line that is torn, or that the limit cuts, is left out: whoever writes has not finished it.

    Raises:
        Damaged: a line is not what it must be.
    """
    try:
        with durable.reading(path):
            stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        position = 0
        for number, line in enumerate(stream):
            position += len(line)
            if not line.endswith(b"\n") or (limit is not None and position > limit):
                return
            yield _header(line, path.parent.name) if number == 0 else _record(line, number, path)


def read_last(path: Path, kind: str) -> dict[str, Any] | None:
    """The last record of a kind, NaN and infinities restored; None where there is none.

    Reads backwards from the end: what is asked for is near it, and a journal may be long.

    Raises:
        Damaged: a line on the way is not what it must be.
    """
    try:
        with durable.reading(path):
            stream = path.open("rb")
    except FileNotFoundError:
        return None
    with stream:
        for line in _backwards(stream):
            # Most lines are of another kind and not worth parsing.
            if f'"{kind}"'.encode() not in line:
                continue
            try:
                record = durable.parse(line)
                if record.get("kind") == kind:
                    return decode(record)
            except ValueError as error:
                raise Damaged(f"a line of {path.name} is bad: {error}") from None
    return None


def _backwards(stream: BinaryIO) -> Iterator[bytes]:
    """Whole lines, the last one first."""
    position = stream.seek(0, os.SEEK_END)
    rest, torn = b"", True
    while position > 0:
        size = min(_BACKWARDS, position)
        position -= size
        stream.seek(position)
        rest, *lines = (stream.read(size) + rest).split(b"\n")
        if torn and lines:
            # Whoever writes has not finished what follows the last newline.
            lines.pop()
            torn = False
        yield from reversed(lines)
    if not torn:
        yield rest


def measure(path: Path, limit: int | None = None) -> Extent:
    """Bytes, records and hash of the first `limit` bytes of a journal; of nothing where it is missing."""
    digest, size, lines = hashlib.sha256(), 0, 0
    try:
        with durable.reading(path):
            stream = path.open("rb")
    except FileNotFoundError:
        return Extent(0, 0, digest.hexdigest())
    with stream:
        while block := stream.read(1 << 20 if limit is None else min(1 << 20, limit - size)):
            digest.update(block)
            size += len(block)
            lines += block.count(b"\n")
    return Extent(size, max(0, lines - 1), digest.hexdigest())


def _line(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n").encode()


def _header(line: bytes, cell: str) -> dict[str, Any]:
    try:
        header = durable.parse(line)
        if header.get("kind") != "header" or not isinstance(header.get("generation"), int):
            raise ValueError("not a header")
        if header.get("schema") != SCHEMA:
            raise ValueError(f"schema {header.get('schema')!r} is not known")
        if header.get("cell") != cell:
            raise ValueError("it belongs to another cell")
    except ValueError as error:
        raise Damaged(f"line 1 of {NAME} is bad: {error}") from None
    return header


def _record(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        record = durable.parse(line)
        if record.get("seq") != number:
            raise ValueError(f"seq is {record.get('seq')!r}, not {number}")
        for key, kind in (("kind", str), ("step", int), ("time_ms", int), ("attempt", int), ("values", dict)):
            if not isinstance(record.get(key), kind):
                raise ValueError(f"{key} is {record.get(key)!r}")
        return decode(record)
    except ValueError as error:
        raise Damaged(f"line {number + 1} of {path.name} is bad: {error}") from None
