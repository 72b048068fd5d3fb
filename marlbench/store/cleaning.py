"""What lies in a store that nothing needs any more, and removing it.

Whatever is removed is renamed first, so that a crash leaves no half of anything under a name that means something.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from marlbench.engines.queues import Ticket
from marlbench.store import durable, locks, tickets
from marlbench.store.states import CellEntry, CellState, State
from marlbench.store.store import Store

_TEMPORARY = re.compile(r"\..+\.tmp|\.removed-.*")
_DAMAGED = re.compile(r".+\.damaged-\d+")
_RECORDS = re.compile(r"\d+\.(tail|journal)\.jsonl")


class Kind(StrEnum):
    """Why something can go; the first two are rubbish, the others go only when they are named."""

    TEMPORARY = "left by a write that was cut off"
    SUBMISSION = "files of an ended submission"
    DAMAGED = "damaged file that was set aside"
    ATTEMPTS = "journal of an attempt that was given up"
    UNFINISHED = "cell without a result"
    RESULT = "cell with its result"


RUBBISH = (Kind.TEMPORARY, Kind.SUBMISSION)


@dataclass(frozen=True)
class Removable:
    """One file or directory, its bytes, and the job whose lock must be held to remove it."""

    kind: Kind
    path: Path
    bytes: int
    job: str | None = None


def find(
    store: Store,
    kinds: Iterable[Kind],
    entries: Iterable[CellEntry],
    results: Iterable[CellEntry],
    queued: Iterable[Ticket],
) -> list[Removable]:
    """What can go of these kinds.

    Args:
        entries: the cells that are looked at.
        results: cells that go with their results.
        queued: tickets that a queue still has.
    """
    wanted = set(kinds)
    entries = list(entries)
    states = store.states(entry.id for entry in entries)
    found = [one for entry in entries for one in _of_cell(entry, states[entry.id]) if one.kind in wanted]
    jobs = dict.fromkeys(entry.job for entry in entries)
    found += [one for job in jobs for one in _of_job(store, job) if one.kind in wanted]
    if Kind.SUBMISSION in wanted:
        found += _submissions(store, {ticket.batch for ticket in queued})
    found += [Removable(Kind.RESULT, entry.directory, _size(entry.directory), entry.job) for entry in results]
    taken = {one.path for one in found if one.kind in (Kind.RESULT, Kind.UNFINISHED)}
    return [one for one in found if one.path in taken or not taken & set(one.path.parents)]


def remove(store: Store, one: Removable) -> bool:
    """Remove it; False where a process has its job.

    Raises:
        Unwritable: it is still there.
    """
    lock = None
    if one.job is not None and store.job_directory(one.job).is_dir():
        lock = locks.Lock.take(store.job_directory(one.job) / "lock", patience=0.05)
        if lock is None:
            return False
    try:
        with durable.told(one.path, "remove"):
            if one.path.is_dir():
                gone = one.path.with_name(f".removed-{one.path.name}")
                shutil.rmtree(gone, ignore_errors=True)
                os.rename(one.path, gone)
                durable.sync_directory(gone.parent)
                shutil.rmtree(gone)
            else:
                one.path.unlink(missing_ok=True)
    finally:
        if lock is not None:
            lock.release()
    return True


def _of_cell(entry: CellEntry, state: CellState) -> Iterator[Removable]:
    if state.state is State.RUNNING:
        return
    if state.state is not State.DONE:
        yield Removable(Kind.UNFINISHED, entry.directory, _size(entry.directory), entry.job)
    for path in _files(entry.directory):
        if _TEMPORARY.fullmatch(path.name):
            yield _removable(Kind.TEMPORARY, path, entry.job)
        elif _DAMAGED.fullmatch(path.name):
            yield _removable(Kind.DAMAGED, path, entry.job)
        elif path.parent.name == "attempts" and _RECORDS.fullmatch(path.name) and state.state is State.DONE:
            yield _removable(Kind.ATTEMPTS, path, entry.job)


def _of_job(store: Store, job_id: str) -> Iterator[Removable]:
    directory = store.job_directory(job_id)
    job = next(store.jobs([job_id]), None)
    if job is None or job.running:
        return
    for path in _files(directory):
        if _TEMPORARY.fullmatch(path.name):
            yield _removable(Kind.TEMPORARY, path, job_id)
        elif _DAMAGED.fullmatch(path.name):
            yield _removable(Kind.DAMAGED, path, job_id)


def _submissions(store: Store, queued: set[str]) -> Iterator[Removable]:
    """Folders of batches that no queue has and no unfinished job was last submitted with."""
    folder = store.root / tickets.FOLDER
    if not folder.is_dir():
        return
    waiting = set(queued)
    for job in store.jobs():
        submission = tickets.read(job.directory)
        if submission is not None and job.pending:
            waiting.add(submission.ticket.batch)
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in waiting:
            yield Removable(Kind.SUBMISSION, path, _size(path))


def _removable(kind: Kind, path: Path, job: str) -> Removable:
    return Removable(kind, path, _size(path), job)


def _files(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory):
        for name in sorted(names):
            yield Path(folder) / name


def _size(path: Path) -> int:
    files = _files(path) if path.is_dir() else iter((path,))
    return sum(file.lstat().st_size for file in files if file.exists())
