"""The MLflow database in the store: made, migrated or replaced under the projector's lock, each in one rename.

It is a projection: one that is corrupt, or that was moved with its store so that its artifacts would go astray, is
set aside, and the projector fills a new one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from marlbench.store import durable
from marlbench.tracking.client import prepare
from marlbench.tracking.target import ARTIFACTS, TrackingError, path_of

_LEFT = ("", "-journal", "-wal", "-shm")


def ensure(root: Path, say: Callable[[str], None]) -> None:
    """See to it that the store at `root` has a database that the installed MLflow can use.

    Args:
        say: is told, in one line, when a database was set aside or migrated.

    Raises:
        TrackingError: the database cannot be used now, or is of a newer MLflow.
        Unwritable: the store cannot be written.
    """
    path = path_of(root)
    if path.parent != root:
        durable.make_directory(path.parent)
    if not path.exists():
        _make(path, root)
        return
    try:
        revision, location = _inspect(path)
    except sqlite3.OperationalError as error:
        raise TrackingError(
            f"{path} cannot be used: {error}.",
            "Make it writable, and make room on its disk; then `marlbench sync`.",
        ) from error
    except sqlite3.DatabaseError as error:
        _replace(path, root, f"it is damaged ({error})", say)
        return
    if revision is None:
        _replace(path, root, "it is not a database of MLflow", say)
        return
    if location is not None and Path(location) != root / ARTIFACTS and not _below(location, root / ARTIFACTS):
        _replace(path, root, "the results directory was moved or copied", say)
        return
    _migrate(path, revision, say)


def _below(location: str, folder: Path) -> bool:
    return Path(location).is_relative_to(folder)


def _inspect(path: Path) -> tuple[str | None, str | None]:
    """The schema's revision, and where the artifacts of one experiment of ours are."""
    # Not read-only: what a killed process left half written is rolled back here.
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
        tables = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if not {"alembic_version", "experiments"} <= tables:
            return None, None
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        location = connection.execute(
            "SELECT artifact_location FROM experiments WHERE name LIKE 'marlbench/%' LIMIT 1"
        ).fetchone()
    return revision and revision[0], location and location[0]


def _make(path: Path, root: Path) -> None:
    prepare()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    temporary = durable.temporary_name(path)
    _remove(temporary)
    with durable.told(path, "make"):
        # MLflow's own road to a new database; it takes some two seconds, and a crash leaves a temporary file.
        store = SqlAlchemyStore(f"sqlite:///{temporary}", str(root / ARTIFACTS))
        store.engine.dispose()
        _publish(temporary, path)


def _migrate(path: Path, revision: str, say: Callable[[str], None]) -> None:
    prepare()
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    script = ScriptDirectory.from_config(utils._get_alembic_config(db_url=""))
    if revision in script.get_heads():
        return
    if revision not in {known.revision for known in script.walk_revisions()}:
        raise TrackingError(
            f"{path} was written by a newer MLflow (schema {revision}).",
            f"Upgrade mlflow, or remove {path.name}: `marlbench sync` fills a new one from the results.",
        )
    temporary = durable.temporary_name(path)
    _remove(temporary)
    with durable.told(path, "migrate"):
        shutil.copyfile(path, temporary)
        engine = utils.create_sqlalchemy_engine(f"sqlite:///{temporary}")
        utils._upgrade_db(engine)
        engine.dispose()
        _publish(temporary, path)
    say(f"{path} was migrated to the installed MLflow.")


def _replace(path: Path, root: Path, why: str, say: Callable[[str], None]) -> None:
    aside = durable.set_aside(path)
    say(f"{path} was set aside as {aside.name}: {why}. A new one is filled from the results.")
    _make(path, root)


def _publish(temporary: Path, path: Path) -> None:
    # The rollback journal of a database that is no more would be played into the new one.
    for suffix in _LEFT[1:]:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    durable.move(temporary, path)


def _remove(temporary: Path) -> None:
    for suffix in _LEFT:
        temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
