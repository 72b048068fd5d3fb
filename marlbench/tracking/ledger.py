"""Which MLflow run shows which cell: a cache that MLflow's own tags can restore.

A ledger that is missing, corrupt or of another version is begun anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from marlbench.store import durable
from marlbench.store.local_files import database_folder

NAME = "tracking.sqlite"
_VERSION = 1
_TABLES = (
    """CREATE TABLE IF NOT EXISTS runs (
        target TEXT, cell TEXT, experiment TEXT NOT NULL, run TEXT NOT NULL, journal TEXT NOT NULL, mark TEXT,
        PRIMARY KEY (target, cell)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS experiments (
        target TEXT, suite TEXT, experiment TEXT NOT NULL, created TEXT NOT NULL,
        PRIMARY KEY (target, suite)) WITHOUT ROWID""",
)


@dataclass(frozen=True)
class Row:
    """The run of a cell.

    Attributes:
        experiment, run: MLflow's ids.
        journal: names the journal that the run shows, see `content.journal_key`.
        mark: names the files whose content the run shows completely; None while something is missing.
    """

    experiment: str
    run: str
    journal: str
    mark: str | None = None


class Ledger:
    """The runs of one target. Used by the holder of the projector's lock only."""

    def __init__(self, root: Path, target: str) -> None:
        """Raises sqlite3.Error where the file cannot be used (read-only, disk full)."""
        folder = database_folder(root)
        if folder != root:
            durable.make_directory(folder)
        self._path = folder / NAME
        self._target = target
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            for name in (NAME, f"{NAME}-journal"):
                (folder / name).unlink(missing_ok=True)
            self._connection = self._open()
        self.rows = {row[0]: Row(*row[1:]) for row in self._select()}
        self._changed: set[str] = set()
        # Counts how often rows were forgotten in bulk.
        self.age = 0

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=10)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"version {version}")
            with connection:
                for table in _TABLES:
                    connection.execute(table)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _select(self) -> Iterator[tuple[str, str, str, str, str | None]]:
        query = "SELECT cell, experiment, run, journal, mark FROM runs WHERE target = ?"
        yield from self._connection.execute(query, (self._target,))

    def put(self, cell: str, row: Row) -> None:
        """Set the row of a cell; durable with the next `flush`."""
        self.rows[cell] = row
        self._changed.add(cell)

    def drop(self, cell: str) -> None:
        """Forget the run of a cell; durable with the next `flush`."""
        self.rows.pop(cell, None)
        self._changed.add(cell)

    def flush(self) -> None:
        """Make every `put` and `drop` durable; one that is lost costs a question to MLflow, no more."""
        if not self._changed:
            return
        kept = [(cell, self.rows[cell]) for cell in self._changed if cell in self.rows]
        with self._connection:
            self._connection.executemany(
                "DELETE FROM runs WHERE target = ? AND cell = ?", [(self._target, c) for c in self._changed]
            )
            self._connection.executemany(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)",
                [(self._target, cell, r.experiment, r.run, r.journal, r.mark) for cell, r in kept],
            )
        self._changed.clear()

    def clear(self) -> None:
        """Forget every run of the target."""
        self._changed.clear()
        with self._connection:
            self._connection.execute("DELETE FROM runs WHERE target = ?", (self._target,))
            self._connection.execute("DELETE FROM experiments WHERE target = ?", (self._target,))
        self.rows.clear()
        self.age += 1

    def suites(self) -> list[str]:
        """The suites whose experiments were recognised before."""
        query = "SELECT suite FROM experiments WHERE target = ? ORDER BY suite"
        return [suite for (suite,) in self._connection.execute(query, (self._target,))]

    def recognise(self, suite: str, experiment: str, created: str) -> None:
        """Tell which experiment MLflow has for a suite, and when that was created.

        What was remembered of the runs of another one, or of one in another database, is forgotten.
        """
        query = "SELECT experiment, created FROM experiments WHERE target = ? AND suite = ?"
        known = self._connection.execute(query, (self._target, suite)).fetchone()
        if known == (experiment, created):
            return
        self.flush()
        lost = {experiment} | ({known[0]} if known else set())
        with self._connection:
            self._connection.executemany(
                "DELETE FROM runs WHERE target = ? AND experiment = ?", [(self._target, old) for old in lost]
            )
            self._connection.execute(
                "INSERT OR REPLACE INTO experiments VALUES (?, ?, ?, ?)",
                (self._target, suite, experiment, created),
            )
        self.rows = {cell: row for cell, row in self.rows.items() if row.experiment not in lost}
        self.age += 1

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
