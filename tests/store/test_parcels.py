from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from marlbench.errors import StoreError
from marlbench.store import parcels
from marlbench.store.cleaning import Kind, find, remove
from marlbench.store.parcels import Arrival
from marlbench.store.states import CellEntry, State
from marlbench.store.store import Store

from .fake_cells import make_cell
from .test_store import finish


@pytest.fixture
def full(tmp_path: Path) -> Store:
    """A store of two claimed cells; that of seed 0 is done."""
    store = Store.open(tmp_path / "full", create=True)
    store.claim([make_cell(0), make_cell(1)], slots=2, seeds_per_job=1)
    finish(store, 0)
    return store


def entries(store: Store, state: State) -> list[CellEntry]:
    found = list(store.cells())
    states = store.states(entry.id for entry in found)
    return [entry for entry in found if states[entry.id].state is state]


def packed(store: Store, path: Path) -> Path:
    assert parcels.write(store, entries(store, State.DONE), path) == 1
    return path


def test_a_result_travels_and_is_the_same(full: Store, tmp_path: Path) -> None:
    cell = make_cell(0).id
    (full.cell_directory(cell) / "pictures").mkdir()
    (full.cell_directory(cell) / "pictures" / "best.gif").write_bytes(b"GIF")
    parcel = packed(full, tmp_path / "part.tar")
    other = Store.open(tmp_path / "other", create=True)
    assert [(one.cell, one.arrival) for one in parcels.read(other, parcel)] == [(cell, Arrival.ADDED)]
    assert other.result(cell) == full.result(cell)
    assert other.cell(cell).cell == make_cell(0)
    assert (other.cell_directory(cell) / "pictures" / "best.gif").read_bytes() == b"GIF"
    assert [one.arrival for one in parcels.read(other, parcel)] == [Arrival.PRESENT]
    assert not [path for path in (other.root / "incoming").iterdir() if path.is_dir()]


def test_a_cell_that_is_planned_keeps_its_job_and_is_not_run_again(full: Store, tmp_path: Path) -> None:
    parcel = packed(full, tmp_path / "part.tar")
    other = Store.open(tmp_path / "other", create=True)
    (job,) = other.claim([make_cell(0), make_cell(1)], slots=1)
    (one,) = parcels.read(other, parcel)
    assert one.arrival is Arrival.ADDED
    assert other.cell(make_cell(0).id).job == job.id
    (job,) = other.claim([make_cell(0), make_cell(1)], slots=1)
    assert job.pending == (make_cell(1).id,)


def test_what_is_begun_and_what_differs_stays(full: Store, tmp_path: Path) -> None:
    parcel = packed(full, tmp_path / "part.tar")
    other = Store.open(tmp_path / "other", create=True)
    finish(other, 0, speed=7.0)
    cell = make_cell(0).id
    assert [one.arrival for one in parcels.read(other, parcel)] == [Arrival.PRESENT]
    assert other.result(cell)["execution"]["steps_per_second"] == 7.0
    (other.cell_directory(cell) / "journal.jsonl").write_text("")
    assert [one.arrival for one in parcels.read(other, parcel)] == [Arrival.BEGUN]


@pytest.mark.parametrize("name", ["result.json", "journal.jsonl", "cell.json"])
def test_what_was_changed_on_the_way_is_refused(full: Store, tmp_path: Path, name: str) -> None:
    parcel = packed(full, tmp_path / "part.tar")
    changed = tmp_path / "changed.tar"
    with tarfile.open(parcel) as source, tarfile.open(changed, "w") as target:
        for member in source:
            stream = source.extractfile(member)
            assert stream is not None
            content = stream.read()
            if member.name.endswith(name):
                changed_content = content.replace(b"12", b"13").replace(b'"seed": 0', b'"seed": 9')
                content = content + b"{}\n" if changed_content == content else changed_content
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    other = Store.open(tmp_path / "other", create=True)
    (one,) = parcels.read(other, changed)
    assert one.arrival is Arrival.REFUSED
    assert one.reason
    assert not list(other.cells())


@pytest.mark.parametrize(
    "name", ["../outside", "cells/x/result.json", "store.json", f"cells/{'0' * 64}/../x"]
)
def test_strange_files_are_refused(full: Store, tmp_path: Path, name: str) -> None:
    path = tmp_path / "strange.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(StoreError, match="does not belong"):
        list(parcels.read(full, path))
    (tmp_path / "text").write_text("hello")
    with pytest.raises(StoreError, match="is not a parcel"):
        list(parcels.read(full, tmp_path / "text"))
    with pytest.raises(StoreError, match="there is no file"):
        list(parcels.read(full, tmp_path / "nothing"))


def kinds(store: Store, *wanted: Kind, results: list[CellEntry] | None = None) -> dict[Kind, list[str]]:
    found = find(store, wanted, store.cells(), results or [], [])
    return {
        kind: sorted(one.path.name for one in found if one.kind is kind) for kind in {o.kind for o in found}
    }


def test_clean_finds_rubbish_and_no_result(full: Store) -> None:
    done, planned = make_cell(0).id, make_cell(1).id
    directory = full.cell_directory(done)
    for name in (".result.json.tmp", "result.json.damaged-1"):
        (directory / name).write_text("x")
    (directory / "attempts").mkdir()
    (directory / "attempts" / "1.tail.jsonl").write_text("x")
    assert kinds(full, Kind.TEMPORARY) == {Kind.TEMPORARY: [".result.json.tmp"]}
    assert kinds(full, Kind.TEMPORARY, Kind.DAMAGED, Kind.ATTEMPTS, Kind.UNFINISHED) == {
        Kind.TEMPORARY: [".result.json.tmp"],
        Kind.DAMAGED: ["result.json.damaged-1"],
        Kind.ATTEMPTS: ["1.tail.jsonl"],
        Kind.UNFINISHED: [planned],
    }
    assert kinds(full, results=entries(full, State.DONE)) == {Kind.RESULT: [done]}
    before = json.dumps(full.result(done), sort_keys=True)
    for one in find(full, Kind, full.cells(), [], []):
        assert remove(full, one)
    assert json.dumps(full.result(done), sort_keys=True) == before
    assert [entry.id for entry in full.cells()] == [done]


def test_clean_leaves_a_job_that_runs(full: Store) -> None:
    from marlbench.store.locks import Lock

    planned = full.cell(make_cell(1).id)
    (one,) = find(full, [Kind.UNFINISHED], full.cells(), [], [])
    lock = Lock.take(full.job_directory(planned.job) / "lock", patience=0.0)
    assert lock is not None
    assert not remove(full, one)
    assert find(full, [Kind.UNFINISHED], full.cells(), [], []) == []
    lock.release()
    assert remove(full, one)
