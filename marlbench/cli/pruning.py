"""Which final states a store keeps, which of them are still needed, and removing the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from marlbench.cli import words
from marlbench.errors import UsageError, did_you_mean
from marlbench.store import kept, locks
from marlbench.store.states import State
from marlbench.store.store import Store


@dataclass(frozen=True)
class Prunable:
    """The final state of one job.

    Attributes:
        title: its cells in words.
        reason: why it stays; nothing where it can go.
    """

    job: str
    cells: tuple[str, ...]
    title: str
    bytes: int
    reason: str = ""


def prunable(store: Store, suites: Sequence[str]) -> list[Prunable]:
    """The final states that are kept, of all suites or of these.

    Raises:
        UsageError: the store has no cell of such a suite.
    """
    entries = {entry.id: entry for entry in store.cells()}
    known = {entry.cell.suite for entry in entries.values()}
    for suite in suites:
        if suite not in known:
            raise UsageError(f"{store.root} has no cell of a suite '{suite}'.", did_you_mean(suite, known))
    going_on = [entry for entry in entries.values() if entry.cell.source is not None]
    states = store.states(entry.id for entry in going_on)
    # A continuation that has taken its first checkpoint needs its source no more, but it may be damaged.
    needed = {entry.cell.source: entry for entry in going_on if states[entry.id].state is not State.DONE}
    found = []
    for job in store.jobs():
        record = kept.look(job.directory)
        cells = [entries[cell].cell for cell in job.cells if cell in entries]
        if record is None or not record.kept or not cells:
            continue
        if suites and cells[0].suite not in suites:
            continue
        waiting = next((needed[cell] for cell in job.cells if cell in needed), None)
        reason = "" if waiting is None else f"{words.name(waiting.cell)} goes on from it and is not done"
        title = f"{cells[0].suite}: {words.names(cells)}, {cells[0].steps:,} steps"
        found.append(Prunable(job.id, job.cells, title, kept.size(job.directory), reason))
    return found


def prune(store: Store, one: Prunable) -> Prunable:
    """Remove a final state that can go; returns what became of it.

    Raises:
        StoreError: the store cannot be written.
    """
    if one.reason:
        return one
    directory = store.job_directory(one.job)
    lock = locks.Lock.take(directory / "lock", patience=0.05)
    if lock is None:
        return replace(one, reason="its job is running")
    try:
        kept.drop(directory, "it was removed by `marlbench prune`")
    finally:
        lock.release()
    return one
