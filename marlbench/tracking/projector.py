"""One pass over a store: whatever is covered and not yet in MLflow goes there."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import uuid
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlbench.errors import StoreError
from marlbench.store import durable, pictures, validity
from marlbench.store import journal as journals
from marlbench.store.locks import Lock
from marlbench.store.states import CellState, Damaged, State
from marlbench.store.store import CELL_ID, Store
from marlbench.tracking import comparisons, content, database, views
from marlbench.tracking.client import CallFailed, Failure, connect
from marlbench.tracking.ledger import Ledger
from marlbench.tracking.matrices import Matrices
from marlbench.tracking.runs import Runs
from marlbench.tracking.target import ARTIFACTS, Target, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marlbench.catalog.cell import Cell
    from marlbench.store.states import CellEntry
    from marlbench.tracking.content import Page
    from marlbench.tracking.runs import Live

LOCK = "tracking.lock"
NAME = "tracking.json"
# Marks of another number are not believed: raise it when runs shall show something they did not before.
VERSION = 1
# So many cells in a row that MLflow does not understand are its fault, not theirs.
_TOO_MANY = 5
# Cells between two writings of the ledger, which wait for the disk.
_FLUSH = 20


@dataclass(frozen=True)
class Work:
    """A cell that has something to show.

    Attributes:
        covered: bytes of the journal that will last, where the cell is not done.
        mark: names its files as they are now.
    """

    state: CellState
    covered: int
    mark: str


@dataclass
class Report:
    """What one pass did.

    Attributes:
        shown: runs that were brought up to date.
        complete: those of them that show everything there will be.
        withdrawn: cells whose runs a person deleted in MLflow; they are left alone.
        damaged: cell id -> one line, for cells that cannot be read now.
        failed: cell id -> one line, for cells that MLflow did not take.
    """

    shown: int = 0
    complete: int = 0
    withdrawn: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Projector:
    """Brings one MLflow up to date with one store. The caller holds the lock (`take_lock`)."""

    def __init__(self, store: Store, target: Target, say: Callable[[str], None]) -> None:
        """`say` is told, in one line, what a person should know of the database in the store.

        Raises:
            StoreError: the store cannot be written.
        """
        self.store = store
        self.target = target
        # Runs that passes brought up to date, also those passes that were cut off.
        self.shown = 0
        self._say = say
        self._matrices = Matrices(store.root)
        self._seen: dict[str, Work] = {}
        self._views: set[tuple[str, views.View]] = set()
        self._runs: Runs | None = None
        self._name = _name_of(store.root)
        with self._ledger_told():
            self._ledger = Ledger(store.root, target.key)
        self._age = self._ledger.age

    def close(self) -> None:
        """Let go of the ledger."""
        with suppress(sqlite3.Error):
            self._ledger.flush()
        self._ledger.close()

    def forget(self) -> None:
        """Disbelieve the ledger: the next pass asks MLflow for every run and every point."""
        with self._ledger_told():
            self._ledger.clear()

    def has_work(self) -> bool:
        """Whether a pass would send anything; answered without importing mlflow."""
        lost = self.target.own and bool(self._ledger.rows) and not path_of(self.store.root).exists()
        return lost or bool(comparisons.pending(self.store.root, self._ledger)) or bool(self._work())

    def sweep(self) -> Report:
        """One pass.

        Raises:
            CallFailed: MLflow is away or refuses; a later pass sends what is missing.
            TrackingError: a person must act before any pass can succeed.
            StoreError: the store cannot be read or written.
        """
        report = Report()
        try:
            self._sweep(report)
        except CallFailed:
            # Next time, look at the database first.
            self._runs = None
            raise
        return report

    def _sweep(self, report: Report) -> None:
        with self._ledger_told():
            runs = self._connect()
            for suite in self._ledger.suites():
                runs.experiment(suite)
            entries = {}
            work = self._work()
            by_suite: dict[str, list[str]] = {}
            for cell in work:
                try:
                    entries[cell] = self.store.cell(cell)
                except Damaged as damage:
                    report.damaged[cell] = str(damage)
                    continue
                by_suite.setdefault(entries[cell].cell.suite, []).append(cell)
            for suite, cells in by_suite.items():
                runs.prefetch(suite, cells)
            strikes = 0
            for number, (cell, entry) in enumerate(entries.items(), 1):
                if number % _FLUSH == 0:
                    self._ledger.flush()
                try:
                    self._show(runs, entry, work[cell], report)
                    strikes = 0
                except Damaged as damage:
                    # Its job may be writing in this moment; the next pass sees what became of it.
                    report.damaged[cell] = str(damage)
                except CallFailed as failed:
                    strikes += 1
                    if failed.failure in (Failure.AWAY, Failure.REFUSED) or strikes == _TOO_MANY:
                        raise
                    report.failed[cell] = str(failed)
            runs.forget()
            self._show_reports(runs, report)
            self._ledger.flush()

    def _show_reports(self, runs: Runs, report: Report) -> None:
        shelf = comparisons.Comparisons(runs.client, self.target, self._ledger, runs, self._name)
        for name, mark in comparisons.pending(self.store.root, self._ledger).items():
            try:
                if not shelf.show(self.store.root, name, mark):
                    report.withdrawn.append(name)
            except CallFailed as failed:
                if failed.failure in (Failure.AWAY, Failure.REFUSED):
                    raise
                report.failed[name] = str(failed)

    def _connect(self) -> Runs:
        if self.target.own and not path_of(self.store.root).exists():
            self._runs = None
        if self._runs is None:
            if self.target.own:
                database.ensure(self.store.root, self._say)
            client = connect(self.target)
            # A database alone would have MLflow keep files in whatever directory this process was started in.
            artifacts = str(self.store.root / ARTIFACTS) if self.target.is_database else None
            self._runs = Runs(client, self.target, self._ledger, self._name, artifacts)
        # What was true of the server some seconds ago may not be now.
        self._runs.experiments.clear()
        return self._runs

    def _work(self) -> dict[str, Work]:
        """The cells whose files or state changed since this process, or the mark of a complete run, saw them."""
        self._matrices.refresh()
        if self._age != self._ledger.age:
            self._age = self._ledger.age
            self._seen.clear()
            self._views.clear()
        marks = {}
        folder = f"{self.store.root}/cells"
        for cell in _names(folder):
            mark = self._mark(f"{folder}/{cell}", cell)
            row = self._ledger.rows.get(cell)
            if mark is not None and (row is None or row.mark != mark):
                marks[cell] = mark
        work = {}
        for cell, state in self.store.states(marks).items():
            covered = 0 if state.state is State.DONE else self.store.covered(cell)
            if state.state in (State.PLANNED, State.RUNNING, State.INTERRUPTED) and covered == 0:
                # Before its first checkpoint a job begins anew after a crash, and the run would be another.
                continue
            if state.state is State.DAMAGED and cell not in self._ledger.rows:
                continue
            found = Work(state, covered, marks[cell])
            if self._seen.get(cell) != found:
                work[cell] = found
        return work

    def _mark(self, directory: str, cell: str) -> str | None:
        """Names the cell's files as they are; None while there is no journal."""
        parts = [str(VERSION)]
        for name in (journals.NAME, validity.NAME, "cell.json"):
            try:
                stat = os.stat(f"{directory}/{name}")
            except OSError:
                if name == journals.NAME:
                    return None
                parts.append("-")
            else:
                parts.append(f"{stat.st_size}:{stat.st_mtime_ns}")
        # Pictures come after the result, if at all.
        with suppress(OSError):
            parts.append(str(os.stat(f"{directory}/{pictures.RECORD}").st_mtime_ns))
        return "|".join([*parts, self._matrices.of(cell)])

    def _show(self, runs: Runs, entry: CellEntry, work: Work, report: Report) -> None:
        cell = entry.id
        state = work.state
        result = self.store.result(cell) if state.state is State.DONE else None
        header, records = self._read(cell, None if result is not None else work.covered)
        if header is None:
            return
        attempts = self.store.attempts(cell)
        page = content.make_page(
            entry, state, header, records, result, attempts, self._matrices.of(cell), self._name
        )
        live = runs.show(page)
        if live is None:
            report.withdrawn.append(cell)
        else:
            report.shown += 1
            self.shown += 1
            self._offer_views(runs, entry.cell)
            if result is not None:
                self._finish(runs, live, page, entry, records, result, work.mark)
                report.complete += 1
        self._seen[cell] = work

    def _read(self, cell: str, limit: int | None) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        lines = self.store.journal(cell, limit)
        header = next(lines, None)
        if header is not None:
            return header, list(lines)
        # Nothing is covered: a cell that failed early shows that it did.
        return next(self.store.journal(cell), None), []

    def _finish(
        self,
        runs: Runs,
        live: Live,
        page: Page,
        entry: CellEntry,
        records: list[dict[str, Any]],
        result: dict[str, Any],
        mark: str,
    ) -> None:
        from marlbench.tracking import artifacts

        with tempfile.TemporaryDirectory(prefix="marlbench-") as folder:
            artifacts.write_all(Path(folder), entry.cell, records, result)
            artifacts.copy(Path(folder), pictures.of(entry.directory, result))
            runs.upload(live, folder)
        runs.complete(page, mark)

    def _offer_views(self, runs: Runs, cell: Cell) -> None:
        fresh = [view for view in views.views_of_cell(cell) if (cell.suite, view) not in self._views]
        if fresh:
            runs.tag_experiment(cell.suite, dict(view.tag for view in fresh))
            self._views.update((cell.suite, view) for view in fresh)

    @contextmanager
    def _ledger_told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"cannot use {self.store.root / 'tracking.sqlite'}: {error}.",
                "Make room, or make the directory writable, and run `marlbench sync`.",
            ) from error


def take_lock(root: Path, patience: float) -> Lock | None:
    """The right to project the store at `root`; None where another process keeps it for `patience` seconds.

    Raises:
        Unwritable: the store cannot be written.
    """
    return Lock.take(root / LOCK, patience)


def _name_of(root: Path) -> str:
    """A name by which runs on a shared server are known to be this store's, made where it is missing."""
    path = root / NAME
    try:
        name = (durable.read(path) or {}).get("store")
    except ValueError:
        name = None
    if not isinstance(name, str):
        name = uuid.uuid4().hex
        durable.write_json(path, {"schema": 1, "store": name})
    return name


def _names(folder: str) -> list[str]:
    try:
        return sorted(filter(CELL_ID.fullmatch, os.listdir(folder)))
    except FileNotFoundError:
        return []
