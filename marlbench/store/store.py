"""The results root: the one door to cells, jobs and their states."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from marlbench.catalog.cell import Cell
from marlbench.catalog.identity import identity_id
from marlbench.errors import ConfigurationError, StoreError
from marlbench.store import attempts, cancelling, claims, durable, inspection, journal, kept, locks, validity
from marlbench.store.index import Index
from marlbench.store.local_files import database_folder
from marlbench.store.states import CellEntry, CellState, Damaged, Failure, Job, State
from marlbench.store.summary import Summary

SCHEMA = 1
CELL_ID = re.compile(r"[0-9a-f]{64}")
JOB_ID = re.compile(r"[0-9a-f]{16}")


class Store:
    """A results directory.

    Reading never writes anything but the index, which is a cache. Numbers that were NaN or infinite come back
    as such from `result` and `journal`.
    """

    def __init__(self, root: Path, refusal: str = "", read_only: bool = False) -> None:
        """Use `open`. `refusal` says why the store may be read but not written."""
        self.root = root
        self._refusal = refusal
        folder = database_folder(root)
        if folder != root:
            # Without it the index is done without.
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
        self._index = Index(folder / "index.sqlite", read_only)

    @classmethod
    def locate(cls, results: Path | None) -> Path:
        """Where the store is: `results`, else MARLBENCH_RESULTS, else ./results; absolute."""
        return Path(results or os.environ.get("MARLBENCH_RESULTS") or "results").expanduser().absolute()

    @classmethod
    def open(cls, root: Path, *, create: bool = False, read_only: bool = False) -> Store:
        """The store at `root`; with `create`, made where missing and refused where it cannot be written.

        With `read_only` not even the index is written.

        Raises:
            StoreError: there is no store, it cannot be read or made, or (with `create`) its format is not
            ours.
        """
        root = root.absolute()
        path = root / "store.json"
        try:
            document = durable.read(path)
        except ValueError as error:
            raise StoreError(
                f"{path} cannot be read: {error}.",
                "Delete it and give the same command again: cells are kept.",
            ) from None
        if document is None:
            if not create:
                raise StoreError(
                    f"there is no store at {root}.",
                    "Name one with --results or MARLBENCH_RESULTS; `marlbench run SUITE` makes one.",
                )
            durable.make_directory(root)
            created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            document = {"schema": SCHEMA, "created": created}
            with locks.holding(root / "lock"):
                if not path.exists():
                    durable.write_json(path, document)
        schema = document.get("schema")
        if not isinstance(schema, int):
            raise StoreError(
                f"{path} does not say which format the store has.", "Is it a store of marlbench?"
            )
        refusal = _refusal(root, schema)
        if read_only:
            refusal = refusal or f"the store {root} was opened to be read, not written."
        store = cls(root, refusal, read_only)
        if create:
            store.require_writable()
        return store

    @property
    def writable(self) -> bool:
        """Whether the store's format is one that this marlbench writes."""
        return not self._refusal

    def require_writable(self) -> None:
        """Raise StoreError where the store's format is not one that this marlbench writes."""
        if self._refusal:
            raise StoreError(
                self._refusal, "Use the marlbench that wrote it, or another directory with --results."
            )

    # cells

    def states(self, cell_ids: Iterable[str]) -> dict[str, CellState]:
        """The state of each cell, in the order given; ids without a directory are `planned`."""
        return inspection.inspect(self.root, list(cell_ids), self._index)[0]

    def summaries(self, cell_ids: Iterable[str]) -> tuple[dict[str, CellState], dict[str, Summary]]:
        """The state of each cell, and of each that is done what came of it, by id.

        Of ten thousand cells this reads the index, not ten thousand files.
        """
        return inspection.inspect(self.root, list(cell_ids), self._index, summaries=True)

    def cells(self) -> Iterator[CellEntry]:
        """Every cell that has a readable cell.json, by id."""
        genuine, settled = self._index.genuine(), time.time_ns() - inspection.SETTLED_NS
        fresh = []
        for name in _names(self.root / "cells", CELL_ID):
            signature, changed = inspection.signature_of(f"{self.root}/cells/{name}/cell.json")
            known = bool(signature) and genuine.get(name) == signature
            try:
                entry = self._cell(name, known)
            except StoreError:
                continue
            if not known and changed < settled:
                fresh.append((name, signature))
            yield entry
        self._index.keep_genuine(fresh)

    def cell(self, cell_id: str) -> CellEntry:
        """One cell; Damaged where its cell.json is missing, cannot be read or is another cell's."""
        return self._cell(cell_id, genuine=False)

    def _cell(self, cell_id: str, genuine: bool) -> CellEntry:
        """`genuine`: its identity was computed before, from the same file."""
        directory = self.cell_directory(cell_id)
        try:
            document = durable.read(directory / "cell.json")
            if document is None:
                raise Damaged("there is no cell.json")
            if document.get("schema") != claims.SCHEMA:
                raise Damaged(f"cell.json has schema {document.get('schema')!r}, which is not known")
            same = document.get("cell") == cell_id
            if not same or not (genuine or identity_id(document.get("identity") or {}) == cell_id):
                raise Damaged("the identity in cell.json is not that of this cell")
            cell = Cell.from_json(document)
            return CellEntry(cell_id, cell, str(document["job"]), int(document["created_ms"]), directory)
        except (ValueError, TypeError, KeyError, ConfigurationError) as error:
            raise Damaged(f"cell.json cannot be read: {error}") from None

    def cell_directory(self, cell_id: str) -> Path:
        """cells/<id>, whether it exists or not; StoreError where that is no id."""
        if not CELL_ID.fullmatch(cell_id):
            raise StoreError(f"'{cell_id}' is not the id of a cell.", "Ids are 64 hexadecimal digits.")
        return self.root / "cells" / cell_id

    def find(self, prefix: str) -> str:
        """The id of the one cell whose id begins with `prefix`; StoreError where there is none or more."""
        found = [name for name in _names(self.root / "cells", CELL_ID) if name.startswith(prefix)]
        if len(found) != 1:
            many = f"{len(found)} cells' ids begin" if found else "no cell's id begins"
            raise StoreError(f"{many} with '{prefix}' in {self.root}.", "`marlbench status` lists the cells.")
        return found[0]

    def result(self, cell_id: str) -> dict[str, Any]:
        """result.json, verified against identity, journal and hashes; Damaged where one does not hold."""
        return validity.verify(self.cell_directory(cell_id))

    def journal(self, cell_id: str, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The lines of the journal, the header first; only whole lines within the first `limit` bytes.

        Raises Damaged at a bad line; a torn last line is left out, a missing journal is empty.
        """
        return journal.read_lines(self.cell_directory(cell_id) / journal.NAME, limit)

    def covered(self, cell_id: str) -> int:
        """Bytes of the journal that the result or a durable checkpoint covers: no resume cuts them off.

        They can still be given up when the checkpoint turns out corrupt: the journal then has another
        `generation` in its header.
        """
        directory = self.cell_directory(cell_id)
        if self.states([cell_id])[cell_id].state is State.DONE:
            return (directory / journal.NAME).stat().st_size
        return inspection.covered(directory)

    def attempts(self, cell_id: str) -> list[dict[str, Any]]:
        """The records of attempts/<n>.json, oldest first; unreadable ones are left out."""
        return attempts.read(self.cell_directory(cell_id))

    # jobs

    def claim(self, cells: Sequence[Cell], slots: int, seeds_per_job: int | None = None) -> list[Job]:
        """The unfinished jobs of these cells; new cells are divided into new jobs. Safe to repeat.

        Existing jobs keep their members, so the jobs returned may train cells that were not asked for. New
        cells of one group (all but the seed equal) are divided into `seeds_per_job` seeds each, or else into
        as many jobs as fill `slots`. Attempts whose process is gone are given their end.

        Raises:
            StoreError: the store cannot be written.
        """
        self.require_writable()
        unique = list({cell.id: cell for cell in cells}.values())
        with locks.holding(self.root / "lock"):
            states = self.states(cell.id for cell in unique)
            job_ids = claims.assign(self.root, unique, states, slots, seeds_per_job)
        for job_id in job_ids:
            cancelling.forget(self.job_directory(job_id))
            self.reconcile(job_id)
        finished = {state.job for state in states.values() if state.state is State.DONE and state.job}
        for job_id in finished.difference(job_ids):
            if (self.job_directory(job_id) / "progress.json").exists():
                self._tidy(job_id)
        return self._jobs(job_ids)

    def job(self, job_id: str) -> Job:
        """One job; StoreError where its job.json cannot be read."""
        if jobs := self._jobs([job_id]):
            return jobs[0]
        raise StoreError(
            f"there is no job {job_id} in {self.root}, or its job.json is damaged.",
            "`marlbench run` with the same suite makes its jobs again.",
        )

    def jobs(self, job_ids: Iterable[str] | None = None) -> Iterator[Job]:
        """Those of the jobs that have a readable job.json; without `job_ids` all of the store, by id."""
        if job_ids is None:
            job_ids = _names(self.root / "jobs", JOB_ID)
        return iter(self._jobs(job_id for job_id in job_ids if JOB_ID.fullmatch(job_id)))

    def job_directory(self, job_id: str) -> Path:
        """jobs/<id>, whether it exists or not; StoreError where that is no id."""
        if not JOB_ID.fullmatch(job_id):
            raise StoreError(f"'{job_id}' is not the id of a job.", "Ids are 16 hexadecimal digits.")
        return self.root / "jobs" / job_id

    def _jobs(self, job_ids: Iterable[str]) -> list[Job]:
        members = {job_id: claims.read_members(self.job_directory(job_id)) for job_id in job_ids}
        states = self.states([cell for cells in members.values() for cell in cells or ()])
        jobs = []
        for job_id, cells in members.items():
            if cells is None:
                continue
            directory = self.job_directory(job_id)
            pending = tuple(cell for cell in cells if states[cell].state is not State.DONE)
            resumes = (directory / "checkpoint.pt").exists()
            jobs.append(Job(job_id, tuple(cells), pending, resumes, self.running(job_id), directory))
        return jobs

    def running(self, job_id: str) -> bool:
        """Whether a process holds the job's lock."""
        return locks.is_held(self.job_directory(job_id) / "lock")

    def cancel(self, job_id: str) -> None:
        """Ask whoever trains the job, now or from a queue, to leave it; the next claim takes that back.

        Raises:
            StoreError: the store cannot be written.
        """
        self.require_writable()
        with locks.holding(self.root / "lock"):
            cancelling.ask(self.job_directory(job_id))

    def cancelled(self, job_id: str) -> bool:
        """Whether that was asked."""
        return cancelling.asked(self.job_directory(job_id))

    def reconcile(self, job_id: str, failure: Failure | None = None, reason: str = "") -> bool:
        """Give attempts without an end, whose process is gone, their end; False where the job is running.

        Args:
            failure: how the process ended, where the caller knows of a failure. reason: one line for people;
            without a failure it says why the attempt was interrupted. Where both are
                missing, a restart of the machine is told from a process that was killed.

        Raises:
            StoreError: the store cannot be written.
        """
        self.require_writable()
        directory = self.job_directory(job_id)
        members = claims.read_members(directory)
        if members is None or not (directory / "lock").exists():
            return True
        lock = locks.Lock.take(directory / "lock", patience=0.05)
        if lock is None:
            return False
        try:
            attempts.reconcile([self.cell_directory(cell) for cell in members], failure, reason)
        finally:
            lock.release()
        return True

    def _tidy(self, job_id: str) -> None:
        """Do what a job that was killed after its last result left undone."""
        directory = self.job_directory(job_id)
        lock = locks.Lock.take(directory / "lock", patience=0.05)
        if lock is None:
            return
        try:
            if all(not job.pending for job in self._jobs([job_id])):
                attempts.reconcile(self.cell_directory(cell) for cell in claims.read_members(directory) or ())
                kept.retire(directory, kept.DEFAULT_LIMIT)
        finally:
            lock.release()

    def progress(self, job_id: str) -> dict[str, Any] | None:
        """jobs/<id>/progress.json; None where there is none yet, or no more because the job is finished."""
        return inspection.read_progress(self.job_directory(job_id))

    def log_path(self, job_id: str) -> Path:
        """jobs/<id>/log.txt, whether it exists or not."""
        return self.job_directory(job_id) / "log.txt"

    def log_tail(self, job_id: str, lines: int = 50) -> list[str]:
        """The last lines of the job's log; none where there is no log."""
        return inspection.tail(self.log_path(job_id), lines)

    # estimates

    def speed(self, suite: str, task: str, backend: str, algorithm: str, device: str) -> float | None:
        """Median environment steps per second and seed of results seen so far on a kind of device ("cpu",
        "cuda")."""
        speeds = self._index.speeds(suite, task, backend, algorithm, device)
        return statistics.median(speeds) if speeds else None


def _refusal(root: Path, schema: int) -> str:
    if schema == SCHEMA:
        return ""
    age = "newer" if schema > SCHEMA else "older"
    return f"the store {root} has format {schema}, {age} than our {SCHEMA}: it can be read, not written."


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if pattern.fullmatch(name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(
            f"cannot read {folder}: {error.strerror}.", "Make it readable for this user."
        ) from error
