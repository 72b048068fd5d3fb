"""The checkpoint of a job: one file for all members, replaced atomically, and when it is due."""

from __future__ import annotations

import contextlib
import io
import time
import zipfile
from pathlib import Path
from typing import Any

from marlbench.store import durable
from marlbench.store.failures import is_out_of_memory

SCHEMA = 1
NAME = "checkpoint.pt"

# A checkpoint that took c seconds is followed by 19 c seconds of training: 5 % of the run.
_WORK_PER_COST = 19.0


class Corrupt(Exception):
    """A checkpoint that cannot be used; the text says why, in one line."""


class Spacing:
    """Decides by time when the next checkpoint is due, so that all of them cost at most 5 % of the run."""

    def __init__(self, minimum: float) -> None:
        """`minimum` seconds lie between two checkpoints, however cheap they are."""
        self._minimum = minimum
        self._pause = minimum
        self._last = time.monotonic()

    def due(self, now: float) -> bool:
        """Whether enough was worked until `now` (of time.monotonic) since the last one."""
        return now - self._last >= self._pause

    def done(self, cost: float) -> None:
        """A checkpoint that took `cost` seconds has just been written."""
        self._pause = max(self._minimum, _WORK_PER_COST * cost)
        self._last = time.monotonic()


def save(path: Path, document: dict[str, Any]) -> None:
    """Replace a file of tensors and plain values, durably.

    Raises:
        Unwritable: the old file is still there.
    """
    import torch

    # In memory first: when the disk is full, torch's own writer aborts the process instead of raising.
    buffer = io.BytesIO()
    torch.save(document, buffer)
    durable.write(path, buffer.getbuffer())


def load(path: Path) -> dict[str, Any] | None:
    """The content of a checkpoint, its tensors on the CPU; None where there is none.

    Raises:
        Corrupt: its content is not that of a checkpoint that we know.
        StoreError: it cannot be read.
    """
    document = read(path)
    if document is not None and document.get("schema") != SCHEMA:
        raise Corrupt("its schema is not known")
    return document


def read(path: Path) -> dict[str, Any] | None:
    """What `save` wrote, its tensors on the CPU; None where there is no file.

    Raises:
        Corrupt: it is not such a file, or not whole.
        StoreError: it cannot be read.
    """
    import torch

    try:
        with durable.reading(path):
            # All of it, so that whatever goes wrong below is the content's fault.
            content = io.BytesIO(path.read_bytes())
    except FileNotFoundError:
        return None
    try:
        # torch does not look at the checksums that it wrote.
        with zipfile.ZipFile(content) as archive:
            if (bad := archive.testzip()) is not None:
                raise Corrupt(f"the checksum of {bad} does not match")
        content.seek(0)
        document = torch.load(content, map_location="cpu", weights_only=True)
    except Corrupt:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().split("\n")[0]
        raise Corrupt(f"{type(error).__name__}: {reason}") from None
    if not isinstance(document, dict):
        raise Corrupt("it holds no names")
    return document


def clean(directory: Path) -> None:
    """Remove what a job needs only while it is unfinished; progress.json, which says so, goes last.

    Its replay is what `marlbench.store.kept` decides on.
    """
    for path in (directory / NAME, directory / "progress.json"):
        for file in (durable.temporary_name(path), path):
            # Room that is not given back now is given back by the next claim of these cells.
            with contextlib.suppress(OSError):
                file.unlink()


def compact(value: Any) -> Any:
    """Plain values and tensors, each tensor on the CPU and with no more storage than it shows."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True).contiguous()
    if isinstance(value, dict):
        return {key: compact(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(compact(inner) for inner in value)
    return value
