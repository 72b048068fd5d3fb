"""Final training states of finished jobs, kept so that a longer training can go on from them.

    jobs/<job id>/state.pt     the last checkpoint, in which the training is finished
    jobs/<job id>/replay/      as that state speaks of it
    jobs/<job id>/state.json   whether both are kept, and why not; without it nothing is

`retire` is done when every member of a job has its result, and may be done again after a crash at any point of it:
progress.json, which says that there is something to do, goes last.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marlbench.store import checkpoint, durable

SCHEMA = 1
STATE = "state.pt"
RECORD = "state.json"
REPLAY = "replay"
# What a job may leave behind by default.
DEFAULT_LIMIT = 256 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Kept:
    """What became of a job's final state: its size, and why it is not kept where it is not."""

    kept: bool
    reason: str
    bytes: int


def look(directory: Path) -> Kept | None:
    """What state.json says; None where there is none: the job is not finished, or was by an older marlbench."""
    try:
        document = durable.read(directory / RECORD)
    except ValueError:
        return None
    if document is None or document.get("schema") != SCHEMA:
        return None
    return Kept(
        bool(document.get("kept")), str(document.get("reason") or ""), int(document.get("bytes") or 0)
    )


def retire(directory: Path, limit: int, finished: bool = False) -> None:
    """Keep the final state of a job whose members are all done, if it has at most `limit` bytes; remove the rest.

    Args:
        finished: the caller knows that checkpoint.pt is the state at the end of the training.

    Raises:
        Unwritable: it can be done again.
    """
    record = look(directory)
    if record is None:
        record = _decide(directory, limit, finished)
    if record is None or not record.kept:
        _remove(directory)
    checkpoint.clean(directory)


def drop(directory: Path, reason: str) -> int:
    """Give the final state up; returns the bytes that this made free.

    Raises:
        Unwritable: it is still there, or can be given up again.
    """
    before = size(directory)
    # Said first: a state is never believed that is half removed.
    _write(directory, Kept(False, reason, before))
    _remove(directory)
    return before


def forget(directory: Path) -> None:
    """Remove the final state and what is said of it, because its job starts again."""
    with durable.told(directory, "clear"), contextlib.suppress(FileNotFoundError):
        (directory / RECORD).unlink()
        durable.sync_directory(directory)
    _remove(directory)


def size(directory: Path) -> int:
    """Bytes of the final state of a job, replay included."""
    files = [directory / STATE, directory / checkpoint.NAME]
    if (directory / REPLAY).is_dir():
        files += (directory / REPLAY).iterdir()
    return sum(_size(path) for path in files)


def load(directory: Path, cells: Sequence[str]) -> dict[str, Any]:
    """The final state of the job with these cells, which must be all its members, by seed.

    Raises:
        Corrupt: there is none, or it cannot be used.
        StoreError: it cannot be read.
    """
    record = look(directory)
    if record is None or not record.kept:
        raise checkpoint.Corrupt(record.reason if record else "it was not kept")
    document = checkpoint.load(directory / STATE)
    if document is None:
        raise checkpoint.Corrupt(f"{directory / STATE} is missing")
    if document.get("cells") != list(cells) or not document.get("finished"):
        raise checkpoint.Corrupt("it belongs to other cells")
    return document


def copy_replay(source: Path, target: Path) -> None:
    """Copy the replay of a job's final state to another job, durably; the copy is changed, the original is not.

    Raises:
        Unwritable: the disk is full; the copy is made again from the start.
    """
    shutil.rmtree(target / REPLAY, ignore_errors=True)
    if not (source / REPLAY).is_dir():
        return
    durable.make_directory(target / REPLAY)
    for path in sorted((source / REPLAY).iterdir()):
        _copy(path, target / REPLAY / path.name)
    with durable.told(target / REPLAY, "sync"):
        durable.sync_directory(target / REPLAY)


def _decide(directory: Path, limit: int, finished: bool) -> Kept | None:
    if limit == 0:
        return _write(directory, Kept(False, "--keep-states 0", 0))
    path = directory / checkpoint.NAME
    if path.exists():
        if not (finished or _is_finished(path)):
            return None
        total = size(directory) - _size(directory / STATE)
        if total > limit:
            reason = f"its {total / 2**20:,.0f} MiB are more than --keep-states, {limit / 2**20:g} MiB"
            return _write(directory, Kept(False, reason, total))
        durable.move(path, directory / STATE)
    elif not (directory / STATE).exists():
        return None
    return _write(directory, Kept(True, "", size(directory)))


def _is_finished(path: Path) -> bool:
    try:
        document = checkpoint.load(path)
    except checkpoint.Corrupt:
        return False
    return bool(document and document.get("finished"))


def _write(directory: Path, record: Kept) -> Kept:
    durable.write_json(directory / RECORD, {"schema": SCHEMA, **vars(record)})
    return record


def _remove(directory: Path) -> None:
    shutil.rmtree(directory / REPLAY, ignore_errors=True)
    # Room that is not given back now is given back when the same is asked for again.
    with contextlib.suppress(OSError):
        (directory / STATE).unlink()


def _copy(source: Path, target: Path) -> None:
    with durable.told(target), source.open("rb") as stream:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            while block := stream.read(_BLOCK):
                durable.write_all(descriptor, block)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
