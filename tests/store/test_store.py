from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

from marlbench.errors import STORE, StoreError
from marlbench.store import journal, validity
from marlbench.store.index import Index, Verdict
from marlbench.store.journal import Journal
from marlbench.store.states import CellState, Damaged, State
from marlbench.store.store import Store

from .fake_cells import make_cell


def finish(store: Store, seed: int = 0, job: str = "0" * 16, speed: float = 100.0) -> str:
    """Write the files of a done cell as a job does, without training; returns its id."""
    cell = make_cell(seed)
    folder = store.root / "cells" / cell.id
    folder.mkdir(parents=True, exist_ok=True)
    lines = Journal.begin(folder / journal.NAME, cell.id, 1, 1)
    evaluations = [{"step": step, "values": {"return_mean": float(step)}} for step in (4, 8, 12)]
    outcome = {"status": "completed", "steps": 12, "evaluations": evaluations}
    execution = {
        "job": job,
        "attempts": 2,
        "device": "cpu",
        "steps_per_second": speed,
        "finished_ms": 1_700_000_000_000,
    }
    result = validity.make(cell.id, cell.identity(), outcome, lines.sync(), execution)
    lines.close()
    (folder / validity.NAME).write_text(json.dumps(result))
    age(folder)
    return cell.id


def age(folder: Path) -> None:
    """Verdicts are kept for files that are older than a second."""
    then = time.time() - 60
    for path in folder.iterdir():
        os.utime(path, (then, then))


def test_open_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store") as raised:
        Store.open(tmp_path / "none")
    assert raised.value.exit_code == STORE
    assert "--results" in raised.value.hint
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot make"):
        Store.open(tmp_path / "file" / "results", create=True)
    for text, match in (("{", "cannot be read"), ("{}", "does not say"), ("[1]", "cannot be read")):
        (tmp_path / "store.json").write_text(text)
        with pytest.raises(StoreError, match=match):
            Store.open(tmp_path, create=True)


def test_a_directory_with_other_files_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "reference").mkdir()
    store = Store.open(tmp_path, create=True)
    assert json.loads((tmp_path / "store.json").read_text())["schema"] == 1
    created = (tmp_path / "store.json").read_bytes()
    Store.open(tmp_path, create=True)
    assert (tmp_path / "store.json").read_bytes() == created
    assert list(store.cells()) == []
    assert list(store.jobs()) == []


@pytest.mark.parametrize(("schema", "word"), [(2, "newer"), (0, "older")])
def test_other_formats_are_read_and_never_written(store: Store, schema: int, word: str) -> None:
    cell_id = finish(store)
    (store.root / "store.json").write_text(json.dumps({"schema": schema}))
    opened = Store.open(store.root)
    assert opened.result(cell_id)["outcome"]["status"] == "completed"
    assert not opened.writable
    with pytest.raises(StoreError, match=word):
        opened.claim([make_cell(1)], slots=1)
    with pytest.raises(StoreError, match=word):
        Store.open(store.root, create=True)
    assert not (store.root / "jobs").exists()


def test_locate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MARLBENCH_RESULTS", raising=False)
    assert Store.locate(None) == tmp_path / "results"
    monkeypatch.setenv("MARLBENCH_RESULTS", "elsewhere")
    assert Store.locate(None) == tmp_path / "elsewhere"
    assert Store.locate(Path("here")) == tmp_path / "here"


def test_a_done_cell_and_the_index_that_remembers_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cell_id = finish(store)
    first = store.states([cell_id])[cell_id]
    assert first.state is State.DONE
    assert (first.outcome, first.attempts, first.job) == ("completed", 2, "0" * 16)
    assert first.detail == "completed at step 12 with 3 evaluations, 2023-11-14 22:13:20 UTC"
    with monkeypatch.context() as patch:
        patch.setattr(
            validity, "verify", lambda directory: pytest.fail("read again although nothing changed")
        )
        assert store.states([cell_id])[cell_id] == first
    assert store.covered(cell_id) == (store.root / "cells" / cell_id / "journal.jsonl").stat().st_size
    assert store.speed("tests", "task", "builtin", "fake", "cpu") == 100.0
    assert store.speed("tests", "task", "builtin", "fake", "cuda") is None


@pytest.mark.parametrize("name", ["result.json", "journal.jsonl"])
@pytest.mark.parametrize("change", ["longer", "replaced", "touched"])
def test_the_index_notices_every_change(store: Store, name: str, change: str) -> None:
    cell_id = finish(store)
    assert store.states([cell_id])[cell_id].state is State.DONE
    path = store.root / "cells" / cell_id / name
    stat, content = path.stat(), path.read_bytes()
    changed = content + b"x" if change == "longer" else content.replace(b"1", b"2", 2)
    if change == "replaced":
        path.unlink()
        # Take the old inode's number, so that only a new one can be given.
        (path.parent / "taken").write_text("")
    path.write_bytes(changed)
    if change != "touched":
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.states([cell_id])[cell_id].state is State.DAMAGED


def test_the_identity_of_a_cell_is_computed_once_for_each_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell_id = make_cell().id
    store.claim([make_cell()], slots=1)
    path = store.root / "cells" / cell_id / "cell.json"
    age(path.parent)
    (entry,) = store.cells()
    with monkeypatch.context() as patch:
        patch.setattr("marlbench.store.store.identity_id", lambda identity: pytest.fail("computed again"))
        assert list(store.cells()) == [entry]
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    age(path.parent)
    assert list(store.cells()) == []
    with pytest.raises(Damaged, match="not that of this cell"):
        store.cell(cell_id)


def test_young_files_are_not_remembered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cell_id = finish(store)
    path = store.root / "cells" / cell_id / "result.json"
    os.utime(path)
    stat = path.stat()
    assert store.states([cell_id])[cell_id].state is State.DONE
    # The same length within the same tick of the clock: no signature could tell.
    path.write_bytes(path.read_bytes().replace(b'"completed"', b'"c0mpleted"'))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.states([cell_id])[cell_id].state is State.DAMAGED


def corrupt_text(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 100)


def corrupt_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:] = os.urandom(len(content) - 100)
    path.write_bytes(content)


def other_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 77")


def other_columns(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE verdicts (cell TEXT)")


@pytest.mark.parametrize("damage", [corrupt_text, corrupt_pages, other_version, other_columns, Path.unlink])
def test_a_lost_index_is_built_anew(
    store: Store, damage: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell_id = finish(store)
    expected = store.states([cell_id])
    damage(store.root / "index.sqlite")  # type: ignore[operator]
    assert store.states([cell_id]) == expected
    said = capsys.readouterr().err
    assert said.count("built anew") == (damage is not Path.unlink)
    monkeypatch.setattr(validity, "verify", lambda directory: pytest.fail("the new index is not used"))
    assert store.states([cell_id]) == expected


def test_an_index_that_cannot_be_made_is_done_without(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    cell_id = finish(store)
    (store.root / "index.sqlite").mkdir()
    assert store.states([cell_id])[cell_id].state is State.DONE
    assert capsys.readouterr().err == ""
    assert store.speed("tests", "task", "builtin", "fake", "cpu") is None


def test_states_keep_the_order_and_know_the_unknown(store: Store) -> None:
    done = finish(store)
    planned, claimed = make_cell(7).id, make_cell(8)
    store.claim([claimed], slots=1)
    states = store.states([planned, done, claimed.id])
    assert list(states) == [planned, done, claimed.id]
    assert [state.state for state in states.values()] == [State.PLANNED, State.DONE, State.PLANNED]
    assert all(state.detail for state in states.values())


def test_a_done_cell_without_cell_json_gets_one_and_no_job(store: Store) -> None:
    cell_id = finish(store)
    assert store.claim([make_cell()], slots=1) == []
    assert store.cell(cell_id).cell == make_cell()
    assert list(store.jobs()) == []


def test_a_result_that_was_taken_away(store: Store) -> None:
    from marlbench.store import attempts

    cell = make_cell()
    (job,) = store.claim([cell], slots=1)
    folder = store.root / "cells" / cell.id
    attempts.begin([folder], 1, job.id, "local", "cpu")
    attempts.end([folder], 1, "completed")
    found = store.states([cell.id])[cell.id]
    assert found.state is State.DAMAGED
    assert "result.json is gone" in found.detail


def test_find(store: Store) -> None:
    store.claim([make_cell(seed) for seed in range(30)], slots=1)
    cell_id = make_cell(3).id
    assert store.find(cell_id[:10]) == cell_id
    with pytest.raises(StoreError, match="no cell's id begins with 'xyz'"):
        store.find("xyz")
    with pytest.raises(StoreError, match="30 cells' ids begin"):
        store.find("")


@pytest.mark.parametrize("name", ["..", "../../etc", "", "A" * 64])
def test_names_that_are_no_ids_reach_no_file(store: Store, name: str) -> None:
    for ask in (store.cell, store.result, store.job, store.log_path, store.progress, store.running):
        with pytest.raises(StoreError, match="is not the id"):
            ask(name)


def test_the_end_of_a_log(store: Store) -> None:
    (job,) = store.claim([make_cell()], slots=1)
    assert store.log_tail(job.id) == []
    text = "".join(f"line {number} {'x' * 100}\n" for number in range(3000))
    store.log_path(job.id).write_text(text)
    assert store.log_tail(job.id, 1500) == text.splitlines()[-1500:]
    assert store.log_tail(job.id, 9999) == text.splitlines()
    assert store.log_tail(job.id, 0) == []
    store.log_path(job.id).write_bytes(b"\xff no newline at the end")
    assert store.log_tail(job.id, 3) == ["\ufffd no newline at the end"]


def test_ten_thousand_cells_take_less_than_two_seconds(machine: Path) -> None:
    """9,000 done, 1,000 not started; with a warm index, in processor time, because machines are shared."""
    store = Store.open(machine / "results", create=True)
    done = CellState(State.DONE, "completed at step 12", "completed", job="0" * 16, attempts=1)
    ids = [f"{number:064x}" for number in range(10_000)]
    verdicts = []
    for cell_id in ids[:9_000]:
        folder = store.root / "cells" / cell_id
        folder.mkdir(parents=True)
        signature = []
        for name in ("result.json", "journal.jsonl"):
            (folder / name).write_text("never read")
            stat = (folder / name).stat()
            signature.append(f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ino}")
        verdicts.append((cell_id, Verdict(" ".join(signature), done)))
    Index(store.root / "index.sqlite").keep(verdicts)
    began = time.process_time()
    states = store.states(ids)
    seconds = time.process_time() - began
    assert [state.state for state in states.values()] == [State.DONE] * 9_000 + [State.PLANNED] * 1_000
    assert seconds < 2.0
