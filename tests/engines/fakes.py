"""A store in miniature for the scheduler's tests: one JSON file per cell, one lock file per job."""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from marlbench.engines.jobs import CellFailure, Report, Tracked
from marlbench.engines.scheduler import Scheduler
from marlbench.engines.slots import CpuSlots, Slot, Slots
from marlbench.store.states import CellState, Failure, Job, State

FAKE_JOB = Path(__file__).with_name("fake_job.py")


class FakeStore:
    """See the docstring of fake_job.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.words: dict[str, str] = {}

    def job(self, name: str, words: str, members: int = 1) -> Job:
        """A job whose attempts do what `words` say, one after the other; the last word stays."""
        self.words[name] = words
        cells = tuple(f"{name}-{seed}" for seed in range(members))
        return Job(name, cells, cells, resumes=False, running=False, directory=self.folder)

    def command(self, job: Job, slot: Slot) -> list[str]:
        return [
            sys.executable,
            str(FAKE_JOB),
            str(self.folder),
            job.id,
            ",".join(job.cells),
            self.words[job.id],
        ]

    def states(self, cell_ids: Sequence[str]) -> dict[str, CellState]:
        return {cell: self._state(cell) for cell in cell_ids}

    def _state(self, cell: str) -> CellState:
        path = self.folder / f"{cell}.json"
        if not path.exists():
            return CellState(State.PLANNED, "never started")
        said = json.loads(path.read_text())
        failure = Failure(said["failure"]) if said["failure"] else None
        return CellState(State(said["state"]), said["detail"], failure=failure, attempts=said["attempts"])

    def running(self, job_id: str) -> bool:
        path = self.folder / f"{job_id}.lock"
        if not path.exists():
            return False
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def reconcile(self, job_id: str, failure: Failure | None = None, reason: str = "") -> bool:
        for path in self.folder.glob(f"{job_id}-*.json"):
            said = json.loads(path.read_text())
            if said["state"] == "running":
                ended = {
                    "state": "failed" if failure else "interrupted",
                    "failure": failure,
                    "detail": reason,
                }
                path.write_text(json.dumps(said | ended))
        return True

    def progress(self, job_id: str) -> dict[str, Any] | None:
        return None

    def cancelled(self, job_id: str) -> bool:
        return (self.folder / f"{job_id}.cancelled").exists()

    def starts(self, name: str) -> int:
        """How often the job was started."""
        path = self.folder / f"{name}.attempts"
        return len(path.read_text()) if path.exists() else 0


class Witness:
    """An observer that writes down what it sees: (what, job) and more where there is more."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.most_at_once = 0
        self.ticks = 0
        self.blocked = False
        self._now: set[str] = set()

    def started(self, tracked: Tracked) -> None:
        self._now.add(tracked.job.id)
        self.most_at_once = max(self.most_at_once, len(self._now))
        self.seen.append(("started", tracked.job.id))

    def done(self, tracked: Tracked) -> None:
        self._now.discard(tracked.job.id)
        self.seen.append(("done elsewhere" if tracked.elsewhere else "done", tracked.job.id))

    def retrying(self, tracked: Tracked, failure: Failure, reason: str, pause: float) -> None:
        self._now.discard(tracked.job.id)
        self.seen.append(("retrying", tracked.job.id, str(failure), reason))

    def failed(self, tracked: Tracked, failures: Sequence[CellFailure]) -> None:
        self._now.discard(tracked.job.id)
        self.seen.append(("failed", tracked.job.id, [failure.cell for failure in failures]))

    def said(self, tracked: Tracked, lines: Sequence[str]) -> None:
        self.seen.append(("said", tracked.job.id, *lines))

    def deferred(self, tracked: Tracked) -> None:
        self._now.discard(tracked.job.id)
        self.seen.append(("deferred", tracked.job.id))

    def stopping(self, running: int, kill: bool) -> None:
        self.seen.append(("killing" if kill else "stopping", running))

    def held(self, reason: str) -> None:
        self.seen.append(("held" if reason else "released", ""))

    def tick(self, all_jobs: Sequence[Tracked], no_free_slot: bool) -> None:
        self.ticks += 1
        self.blocked = self.blocked or no_free_slot

    def words(self, name: str) -> list[str]:
        """What happened to one job, in order."""
        return [line[0] for line in self.seen if line[1] == name]


Run = Callable[..., tuple[Report, Witness]]


def make(
    store: FakeStore, engine: Any, slots: Slots | None = None, **options: Any
) -> tuple[Scheduler, Witness]:
    witness = Witness()
    options = {"pauses": {}, "grace": 5.0, "cwd": store.folder} | options
    return Scheduler(store, engine, slots or CpuSlots(4), store.command, witness, **options), witness
