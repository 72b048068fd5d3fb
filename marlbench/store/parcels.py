"""Results carried from one store to another in a tar file: `cells/<id>/...`, and nothing is believed of it.

Identity, hashes and journal of each cell are recomputed where it arrives, as if a disk had been damaged on the way.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import IO

from marlbench.catalog.cell import Cell
from marlbench.catalog.identity import identity_id
from marlbench.errors import ConfigurationError, StoreError
from marlbench.store import attempts, claims, durable, locks, validity
from marlbench.store.states import CellEntry, Damaged, State
from marlbench.store.store import Store

_MEMBER = re.compile(r"cells/([0-9a-f]{64})/((?:[a-z]{1,32}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127})")
_LEFT_OUT = re.compile(r".+\.damaged-\d+")
_STAGING = "incoming"


class Arrival(StrEnum):
    """What became of a cell that was imported."""

    ADDED = "added"
    PRESENT = "there already"
    DIFFERS = "there already, with another outcome: ours stays"
    BEGUN = "begun here: it was not touched"
    REFUSED = "refused"


@dataclass(frozen=True)
class Imported:
    """One cell of a parcel, and why where it was refused."""

    cell: str
    arrival: Arrival
    reason: str = ""


def write(store: Store, entries: Iterable[CellEntry], path: Path) -> int:
    """Write done cells into a tar file; returns how many.

    Raises:
        Damaged: a result does not hold. Unwritable: the file cannot be written.
    """
    temporary = durable.temporary_name(path)
    count = 0
    with durable.told(path):
        with tarfile.open(temporary, "w") as tar:
            for entry in entries:
                # What is broken must not travel.
                store.result(entry.id)
                for file in _files(entry.directory):
                    name = PurePosixPath("cells", entry.id, file.relative_to(entry.directory).as_posix())
                    _add(tar, str(name), file)
                count += 1
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        durable.move(temporary, path)
    return count


def read(store: Store, path: Path) -> Iterator[Imported]:
    """Take the cells of a parcel into the store, and tell of each what became of it.

    Raises:
        StoreError: the file is no parcel, or the store cannot be written.
    """
    store.require_writable()
    folder = store.root / _STAGING
    durable.make_directory(folder)
    with locks.holding(folder / "lock"):
        try:
            with durable.told(folder):
                arrived = _unpack(path, folder)
            for cell_id in arrived:
                yield _take_in(store, folder / cell_id)
        finally:
            for left in folder.iterdir():
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)


def _files(directory: Path) -> Iterator[Path]:
    for folder in (directory, *sorted(path for path in directory.iterdir() if path.is_dir())):
        for file in sorted(folder.iterdir()):
            name = f"cells/{directory.name}/{file.relative_to(directory).as_posix()}"
            if file.is_file() and _MEMBER.fullmatch(name) and not _LEFT_OUT.fullmatch(file.name):
                yield file


def _add(tar: tarfile.TarFile, name: str, file: Path) -> None:
    content = file.read_bytes()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mtime = int(file.stat().st_mtime)
    tar.addfile(member, io.BytesIO(content))


def _unpack(path: Path, folder: Path) -> list[str]:
    """Write the files of a parcel below `folder`; returns the ids of its cells."""
    found: dict[str, None] = {}
    try:
        with tarfile.open(path, "r:*") as tar:
            for member in tar:
                match = _MEMBER.fullmatch(member.name)
                if match is None or not member.isfile():
                    raise StoreError(f"{path}: '{member.name}' does not belong into a parcel of cells.")
                target = folder / match[1] / match[2]
                target.parent.mkdir(parents=True, exist_ok=True)
                stream = tar.extractfile(member)
                assert stream is not None
                _copy(stream, target)
                found.setdefault(match[1])
    except FileNotFoundError:
        raise StoreError(f"there is no file {path}.") from None
    except (tarfile.TarError, EOFError) as error:
        raise StoreError(f"{path} is not a parcel of cells: {error}.") from None
    return list(found)


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("wb") as stream:
        shutil.copyfileobj(source, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _take_in(store: Store, arrived: Path) -> Imported:
    """Move one cell that has arrived to its place, if everything about it holds."""
    cell_id = arrived.name
    try:
        result = validity.verify(arrived)
        _check_cell(arrived)
    except Damaged as damage:
        return Imported(cell_id, Arrival.REFUSED, damage.reason)
    here = store.cell_directory(cell_id)
    with locks.holding(store.root / "lock"):
        state = store.states([cell_id])[cell_id]
        if state.state is State.DONE:
            same = store.result(cell_id)["outcome"] == result["outcome"]
            return Imported(cell_id, Arrival.PRESENT if same else Arrival.DIFFERS)
        if state.state is State.RUNNING or attempts.read(here) or (here / validity.NAME).exists():
            return Imported(cell_id, Arrival.BEGUN)
        with durable.told(here):
            if here.exists():
                # Planned here: it keeps the job that it has here.
                shutil.copyfile(here / "cell.json", arrived / "cell.json")
                gone = here.with_name(f".removed-{cell_id}")
                shutil.rmtree(gone, ignore_errors=True)
                os.rename(here, gone)
                os.rename(arrived, here)
                shutil.rmtree(gone)
            else:
                durable.make_directory(here.parent)
                os.rename(arrived, here)
            durable.sync_directory(here.parent)
    return Imported(cell_id, Arrival.ADDED)


def _check_cell(arrived: Path) -> None:
    """Raise Damaged where cell.json is not that of this cell."""
    try:
        document = durable.read(arrived / "cell.json")
        if document is None or document.get("schema") != claims.SCHEMA:
            raise Damaged("there is no cell.json that is known")
        if (
            document.get("cell") != arrived.name
            or identity_id(document.get("identity") or {}) != arrived.name
        ):
            raise Damaged("the identity in cell.json is not that of this cell")
        Cell.from_json(document)
    except (ValueError, TypeError, KeyError, ConfigurationError) as error:
        raise Damaged(f"cell.json cannot be read: {error}") from None
