"""What a store can say of a cell and of a job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from marlbench.catalog.cell import Cell
from marlbench.errors import StoreError


class State(StrEnum):
    """The state of a cell; `done` means a valid result.json and nothing else."""

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    DAMAGED = "damaged"


class Failure(StrEnum):
    """Why an attempt failed; all but `exception` are worth trying again at once."""

    SIGNAL = "signal"
    MEMORY = "memory"
    TIMEOUT = "timeout"
    DISK_FULL = "disk full"
    EXCEPTION = "exception"


@dataclass(frozen=True)
class CellState:
    """The state of one cell.

    Attributes:
        detail: one line that says why the cell is in this state, for people; never empty.
        outcome: "completed" or "diverged" where the cell is done.
        failure: the kind of failure where it failed.
        job: the job that the cell belongs to; None where none was claimed yet.
        attempts: how often the cell was started.
    """

    state: State
    detail: str
    outcome: str | None = None
    failure: Failure | None = None
    job: str | None = None
    attempts: int = 0


@dataclass(frozen=True)
class CellEntry:
    """What cell.json holds. `job` is the job it belongs to, `directory` is cells/<id>."""

    id: str
    cell: Cell
    job: str
    created_ms: int
    directory: Path


@dataclass(frozen=True)
class Job:
    """Cells that train together in one process; which ones is fixed when the job is made.

    Attributes:
        cells: ids of all members, by seed.
        pending: those of them that are not done; the others are trained along and never written again.
        resumes: whether there is a checkpoint to go on from.
        running: whether a process held the job's lock when this was read.
    """

    id: str
    cells: tuple[str, ...]
    pending: tuple[str, ...]
    resumes: bool
    running: bool
    directory: Path


class Damaged(StoreError):
    """A file of a cell that is not what it was when it was written; `reason` says why, in one line."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason, hint)
        self.reason = reason
