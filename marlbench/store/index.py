"""index.sqlite: what was found out about cells, so that ten thousand of them need not be read again.

A cache and nothing more: what it says holds while size, modification time and inode of the cell's files are
those it was found with. A missing index is made, a corrupt one replaced, and one that cannot be written is
done without.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from marlbench.store.states import CellState, Failure, State
from marlbench.store.summary import Summary, pack, unpack

_VERSION = 4
_TABLES = (
    """
CREATE TABLE IF NOT EXISTS verdicts (
    cell TEXT PRIMARY KEY, signature TEXT NOT NULL, state TEXT NOT NULL, detail TEXT NOT NULL, outcome TEXT,
    failure TEXT, job TEXT, attempts INTEGER NOT NULL,
    suite TEXT, task TEXT, backend TEXT, algorithm TEXT, device TEXT, speed REAL,
    summary TEXT, conditions TEXT
) WITHOUT ROWID
""",
    # Thousands of cells are trained under the same few conditions.
    "CREATE TABLE IF NOT EXISTS conditions (key TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID",
    # Cells whose identity was found to be the one that their id says.
    "CREATE TABLE IF NOT EXISTS genuine (cell TEXT PRIMARY KEY, signature TEXT NOT NULL) WITHOUT ROWID",
)
_told: set[Path] = set()


@dataclass(frozen=True)
class Verdict:
    """What was found of a cell whose files had this signature, how fast it was trained, and what came of it."""

    signature: str
    state: CellState
    speed: Speed | None = None
    summary: Summary | None = None


@dataclass(frozen=True)
class Speed:
    """Environment steps per second of one seed, and what they depend on."""

    suite: str
    task: str
    backend: str
    algorithm: str
    device: str
    steps_per_second: float


class Index:
    """Every call opens and closes the database, so that nothing is shared between processes or threads."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only

    def verdicts(self, cells: Sequence[str], summaries: bool = False) -> dict[str, Verdict]:
        """Those of the cells' verdicts that are known; with their summaries only where these are asked for."""

        def query(connection: sqlite3.Connection) -> list[tuple]:
            columns = "cell, signature, state, detail, outcome, failure, job, attempts"
            columns += ", summary, conditions" if summaries else ", NULL, NULL"
            if len(cells) > 500:
                return connection.execute(f"SELECT {columns} FROM verdicts").fetchall()
            marks = ",".join("?" * len(cells))
            return connection.execute(
                f"SELECT {columns} FROM verdicts WHERE cell IN ({marks})", list(cells)
            ).fetchall()

        if not self.path.exists():
            return {}
        conditions = {}
        if summaries:
            conditions = dict(
                self._run(lambda c: c.execute("SELECT key, content FROM conditions").fetchall()) or ()
            )
        found = {}
        for cell, signature, state, detail, outcome, failure, job, attempts, told, key in (
            self._run(query) or ()
        ):
            # A hand may have written anything; what is not ours is as if it were not there.
            with contextlib.suppress(ValueError, TypeError, KeyError):
                known = CellState(
                    State(state), detail, outcome, Failure(failure) if failure else None, job, attempts
                )
                summary = None if told is None else unpack(told, conditions[key])
                found[cell] = Verdict(signature, known, summary=summary)
        return found

    def keep(self, verdicts: Iterable[tuple[str, Verdict]]) -> None:
        """Remember verdicts."""
        if self._read_only:
            return
        rows, conditions = [], {}
        for cell, verdict in verdicts:
            state, speed = verdict.state, verdict.speed
            told = (state.state, state.detail, state.outcome, state.failure, state.job, state.attempts)
            packed: tuple[str | None, str | None] = (None, None)
            if verdict.summary is not None:
                summary, key, content = pack(verdict.summary)
                packed, conditions[key] = (summary, key), content
            rows.append(
                (cell, verdict.signature, *told, *(astuple(speed) if speed else (None,) * 6), *packed)
            )
        if not rows:
            return

        def write(connection: sqlite3.Connection) -> list[tuple]:
            connection.executemany("INSERT OR IGNORE INTO conditions VALUES (?, ?)", conditions.items())
            marks = ",".join("?" * 16)
            return connection.executemany(
                f"INSERT OR REPLACE INTO verdicts VALUES ({marks})", rows
            ).fetchall()

        self._run(write)

    def genuine(self) -> dict[str, str]:
        """Cells that are what their ids say -> the signature of the cell.json that says so."""
        if not self.path.exists():
            return {}
        return dict(self._run(lambda c: c.execute("SELECT cell, signature FROM genuine").fetchall()) or ())

    def keep_genuine(self, signatures: Iterable[tuple[str, str]]) -> None:
        """Remember cells whose identities were checked."""
        rows = list(signatures)
        if rows and not self._read_only:
            query = "INSERT OR REPLACE INTO genuine VALUES (?, ?)"
            self._run(lambda connection: connection.executemany(query, rows).fetchall())

    def speeds(self, suite: str, task: str, backend: str, algorithm: str, device: str) -> list[float]:
        """Speeds of the results that are known."""
        if not self.path.exists():
            return []
        query = (
            "SELECT speed FROM verdicts WHERE suite = ? AND task = ? AND backend = ? AND algorithm = ? "
            "AND device = ? AND speed IS NOT NULL"
        )
        key = (suite, task, backend, algorithm, device)
        return [
            row[0] for row in self._run(lambda connection: connection.execute(query, key).fetchall()) or ()
        ]

    def _run(self, work: Callable[[sqlite3.Connection], list[tuple]]) -> list[tuple] | None:
        for again in (True, False):
            try:
                mode = "ro" if self._read_only else "rwc"
                name = f"{self.path.absolute().as_uri()}?mode={mode}"
                with contextlib.closing(sqlite3.connect(name, timeout=10, uri=True)) as connection:
                    (version,) = connection.execute("PRAGMA user_version").fetchone()
                    if version not in (0, _VERSION):
                        raise sqlite3.DatabaseError(f"it has version {version}")
                    with connection:
                        if version == 0:
                            for table in _TABLES:
                                connection.execute(table)
                            connection.execute(f"PRAGMA user_version = {_VERSION}")
                        return work(connection)
            except sqlite3.Error as error:
                if self._read_only or _out_of_reach(error) or not again:
                    return None
                self._replace(error)
        return None

    def _replace(self, error: sqlite3.Error) -> None:
        if self.path not in _told:
            _told.add(self.path)
            sys.stderr.write(f"note: {self.path} cannot be read ({error}); it is built anew.\n")
        # The rollback journal of the old file must not be played into the new one.
        for name in (self.path.name, f"{self.path.name}-journal"):
            with contextlib.suppress(OSError):
                os.unlink(self.path.with_name(name))


def _out_of_reach(error: sqlite3.Error) -> bool:
    """Whether the database may be sound but cannot be used now: busy, read-only, full, not permitted."""
    codes = (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
    )
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in codes
