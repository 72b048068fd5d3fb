"""How jobs end, what they leave behind, and what they make of damage."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from marlbench.catalog.cell import Cell
from marlbench.store import locks
from marlbench.store.journal import measure
from marlbench.store.states import Damaged, Failure, Job, State
from marlbench.store.store import Store
from marlbench.store.validity import hash_outcome

from .conftest import Server, check_tidy, content
from .fake_cells import make_cell

# Long enough to be interrupted half way, with a checkpoint every 7 steps.
CELLS = [make_cell(seed, steps=60, delay=0.01, replay=7) for seed in range(2)]


@pytest.fixture(scope="module")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("undisturbed") / "results"
    assert server.run(root, CELLS) == 0
    return content(root, CELLS)


@pytest.fixture(scope="module")
def stopped(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose job was stopped by SIGTERM half way."""
    root = tmp_path_factory.mktemp("stopped") / "results"
    assert server.run(root, CELLS, at_step=20, signal=signal.SIGTERM) == 143
    return root


@pytest.fixture
def interrupted(stopped: Path, machine: Path) -> Store:
    shutil.copytree(stopped, machine / "results")
    return Store.open(machine / "results")


@pytest.fixture(scope="module")
def finished(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished") / "results"
    assert server.run(root, CELLS) == 0
    return root


@pytest.fixture
def done(finished: Path, machine: Path) -> Store:
    shutil.copytree(finished, machine / "results")
    return Store.open(machine / "results")


def state(store: Store, cell: Cell = CELLS[0]) -> Any:
    return store.states([cell.id])[cell.id]


def stamp(path: Path) -> tuple[int, int, int]:
    """Changes whenever a file is written or replaced."""
    return path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino


def only(store: Store) -> Job:
    (job,) = store.jobs()
    return job


def log(store: Store) -> str:
    return store.log_path(only(store).id).read_text()


@pytest.mark.parametrize(
    ("fail", "code", "failure", "reason"),
    [
        ("exception", 10, Failure.EXCEPTION, "ValueError: cannot learn from https://example.org/data"),
        ("memory", 11, Failure.MEMORY, "MemoryError: no more"),
        ("exit", 10, Failure.EXCEPTION, "SystemExit: 3"),
        ("crash", -signal.SIGSEGV, Failure.SIGNAL, "killed"),
    ],
)
def test_failures_are_told_apart(
    server: Server, machine: Path, fail: str, code: int, failure: Failure, reason: str
) -> None:
    cell = make_cell(fail=fail)
    assert server.run(machine / "results", [cell]) == code
    store = Store.open(machine / "results")
    found = state(store, cell)
    assert (found.state, found.failure, found.attempts) == (State.FAILED, failure, 1)
    assert reason in found.detail
    everything = log(store) + server.said() + json.dumps(store.attempts(cell.id))
    assert "secret" not in everything
    assert "Traceback" in log(store) or "Segmentation fault" in log(store)
    assert not store.running(only(store).id)


def test_what_a_caller_knows_of_an_end_is_recorded(server: Server, machine: Path) -> None:
    cell = make_cell(fail="crash")
    server.run(machine / "results", [cell])
    store = Store.open(machine / "results")
    assert store.attempts(cell.id)[0]["outcome"] is None
    assert store.reconcile(only(store).id, Failure.TIMEOUT, "no progress for an hour")
    (record,) = store.attempts(cell.id)
    assert (record["outcome"], record["failure"]) == ("failed", "timeout")
    assert record["reason"] == "no progress for an hour"
    assert store.reconcile(only(store).id, Failure.MEMORY, "later is too late")
    assert store.attempts(cell.id) == [record]
    assert state(store, cell).detail == "timeout: no progress for an hour"


@pytest.mark.parametrize(
    ("disturbance", "code", "reason"),
    [
        ({"signal": signal.SIGTERM}, 143, "SIGTERM"),
        ({"signal": signal.SIGINT}, 130, "SIGINT"),
        ({}, 143, "the process that started the job is gone"),
    ],
)
def test_a_job_that_is_told_to_leave_checkpoints_and_resumes(
    server: Server,
    machine: Path,
    undisturbed: dict[str, Any],
    disturbance: dict[str, int],
    code: int,
    reason: str,
) -> None:
    root = machine / "results"
    assert server.run(root, CELLS, at_step=20, **disturbance) == code
    store = Store.open(root)
    found = state(store)
    assert found.state is State.INTERRUPTED
    assert reason in found.detail
    assert only(store).resumes
    progress = store.progress(only(store).id)
    assert progress is not None
    assert 0 < progress["steps"] < progress["total_steps"] == 60
    # The last checkpoint covers everything that the journal holds.
    size = (root / "cells" / CELLS[0].id / "journal.jsonl").stat().st_size
    assert store.covered(CELLS[0].id) == size > 0
    assert server.run(root, CELLS) == 0
    assert content(root, CELLS) == undisturbed
    assert {line["attempt"] for line in store.journal(CELLS[0].id)} == {1, 2}
    check_tidy(root, CELLS)


def test_a_job_that_does_not_leave_is_killed_with_its_workers(server: Server, machine: Path) -> None:
    cell = make_cell(fail="hang")
    assert server.run(machine / "results", [cell], at_step=6, signal=signal.SIGTERM) == -signal.SIGKILL
    store = Store.open(machine / "results")
    worker = int((only(store).directory / "worker").read_text())
    deadline = time.monotonic() + 30
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "a worker survived its job"
        time.sleep(0.01)
    assert state(store, cell).state is State.INTERRUPTED
    assert "no step boundary" in state(store, cell).detail


def test_a_signal_to_a_forked_worker_is_not_one_to_the_job(server: Server, machine: Path) -> None:
    assert server.run(machine / "results", [make_cell(fail="worker")]) == 0


def test_one_writer(server: Server, machine: Path) -> None:
    root, cell = machine / "results", make_cell()
    store = Store.open(root, create=True)
    (job,) = store.claim([cell], slots=1)
    lock = locks.Lock.take(job.directory / "lock", patience=0)
    assert lock is not None
    assert store.running(job.id)
    assert not store.reconcile(job.id)
    assert server.run(root, [], job=job.id) == 75
    assert "run by another process" in server.said()
    assert state(store, cell).state is State.RUNNING
    assert not (job.directory / "log.txt").exists()
    lock.release()
    assert server.run(root, [], job=job.id) == 0
    assert server.run(root, [], job=job.id) == 0
    assert state(store, cell).attempts == 1


def test_two_processes_fight_for_one_job(server: Server, machine: Path, tmp_path: Path) -> None:
    root, other = machine / "results", Server(tmp_path)
    codes: list[int] = []
    try:
        for number in range(4):
            (job,) = Store.open(root, create=True).claim([make_cell(steps=12 * number + 12)], slots=1)
            threads = [
                threading.Thread(target=lambda s=s, j=job: codes.append(s.run(root, [], job=j.id)))  # type: ignore[misc]
                for s in (server, other)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        other.close()
    assert set(codes) <= {0, 75}
    store = Store.open(root)
    assert all(len(store.attempts(entry.id)) == 1 for entry in store.cells())
    assert all(found.state is State.DONE for found in store.states(e.id for e in store.cells()).values())


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Change one bit of a tensor, which torch would not notice."""
    with zipfile.ZipFile(path) as archive:
        info = next(i for i in archive.infolist() if "/data/" in i.filename)
    content = bytearray(path.read_bytes())
    # The local header's two lengths say where the content begins.
    names = sum(content[info.header_offset + 26 + k] << (8 * (k % 2)) for k in range(4))
    content[info.header_offset + 30 + names] ^= 1
    path.write_bytes(content)


def newer_schema(path: Path) -> None:
    torch.save(torch.load(path, weights_only=True) | {"schema": 2}, path)


def lacks_a_tensor(path: Path) -> None:
    document = torch.load(path, weights_only=True)
    del document["trainer"]["walk"]
    torch.save(document, path)


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def pickled_code(path: Path) -> None:
    torch.save({"schema": 1, "code": Evil()}, path)


@pytest.mark.parametrize(
    "damage", [truncate, flip, newer_schema, lacks_a_tensor, pickled_code, lambda path: path.write_bytes(b"")]
)
def test_a_corrupt_checkpoint_is_set_aside(
    server: Server, interrupted: Store, undisturbed: dict[str, Any], damage: Callable[[Path], None]
) -> None:
    directory, cell = only(interrupted).directory, CELLS[0]
    old_journal = (interrupted.root / "cells" / cell.id / "journal.jsonl").read_bytes()
    damage(directory / "checkpoint.pt")
    damaged = (directory / "checkpoint.pt").read_bytes()
    assert server.run(interrupted.root, CELLS) == 0
    said = [line for line in server.said().splitlines() if "cannot be used" in line]
    assert len(said) == 1
    assert "Traceback" not in server.said()
    assert (directory / "checkpoint.pt.damaged-1").read_bytes() == damaged
    assert content(interrupted.root, CELLS) == undisturbed
    header = next(interrupted.journal(cell.id))
    assert header["generation"] == 2
    kept = interrupted.root / "cells" / cell.id / "attempts" / "2.journal.jsonl"
    assert kept.read_bytes() == old_journal
    assert not Path("evil").exists()


def test_a_torn_line_is_cut_off(server: Server, interrupted: Store, undisturbed: dict[str, Any]) -> None:
    folder = interrupted.root / "cells" / CELLS[0].id
    with (folder / "journal.jsonl").open("ab") as stream:
        stream.write(b'{"seq":99,"attem')
    assert state(interrupted).state is State.INTERRUPTED
    assert server.run(interrupted.root, CELLS) == 0
    assert "torn" in log(interrupted)
    assert (folder / "attempts" / "2.tail.jsonl").read_bytes() == b'{"seq":99,"attem'
    assert content(interrupted.root, CELLS) == undisturbed


def shorten(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]))


def blank_a_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[5] = b" " * (len(lines[5]) - 1) + b"\n"
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("damage", [shorten, blank_a_line, Path.unlink])
def test_a_damaged_journal_makes_the_job_start_again(
    server: Server, interrupted: Store, undisturbed: dict[str, Any], damage: Callable[[Path], None]
) -> None:
    damage(interrupted.root / "cells" / CELLS[0].id / "journal.jsonl")
    if damage is not Path.unlink:
        assert state(interrupted).state is State.DAMAGED
    assert server.run(interrupted.root, CELLS) == 0
    assert "starts from zero" in server.said()
    assert content(interrupted.root, CELLS) == undisturbed


def edit(store: Store, change: Callable[[dict[str, Any]], Any], cell: Cell = CELLS[0]) -> None:
    path = store.root / "cells" / cell.id / "result.json"
    result = json.loads(path.read_text())
    change(result)
    path.write_text(json.dumps(result))


def drop_an_evaluation(result: dict[str, Any]) -> None:
    """With a hash that fits: somebody who knows how."""
    result["outcome"]["evaluations"].pop()
    result["outcome"]["reasons"] = {}
    result["outcome_sha256"] = hash_outcome(result["outcome"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r["outcome"]["final"].update(return_mean=1e9), "its hash does not match"),
        (lambda r: r["outcome"].update(status="great"), "its hash does not match"),
        (lambda r: r["identity"].update(seed=5), "is not that of this cell"),
        (lambda r: r["identity"].update(seed=2**70), "cannot be read"),
        (lambda r: r.update(cell=CELLS[1].id), "is not that of this cell"),
        (lambda r: r.update(schema=2), "schema 2, which is not known"),
        (lambda r: r.pop("execution"), "lacks"),
        (lambda r: r["journal"].update(bytes=3), "is not the one"),
        (lambda r: r["outcome"].update(x=float("nan")), "cannot be read"),
        (drop_an_evaluation, "2 evaluations where the protocol asks for 3"),
    ],
)
def test_a_result_that_does_not_hold_is_set_aside_and_run_again(
    server: Server,
    done: Store,
    undisturbed: dict[str, Any],
    change: Callable[[dict[str, Any]], Any],
    reason: str,
) -> None:
    edit(done, change)
    folder, other = (done.root / "cells" / cell.id for cell in CELLS)
    edited = (folder / "result.json").read_bytes()
    untouched = {path: stamp(path) for path in other.rglob("*")}
    found = state(done)
    assert found.state is State.DAMAGED
    assert reason in found.detail
    with pytest.raises(Damaged, match=reason.replace("(", "\\(")):
        done.result(CELLS[0].id)
    assert server.run(done.root, CELLS[:1]) == 0
    assert reason in server.said()
    assert (folder / "result.json.damaged-1").read_bytes() == edited
    assert content(done.root, CELLS) == undisturbed
    # The other member was trained along and never written.
    assert {path: stamp(path) for path in other.rglob("*")} == untouched


def test_what_was_set_aside_is_never_overwritten(server: Server, done: Store) -> None:
    folder = done.root / "cells" / CELLS[0].id
    contents = [b"{", b"[]", b"\xff\xfe"]
    for number, text in enumerate(contents):
        (folder / "result.json").write_bytes(text)
        assert state(done).state is State.DAMAGED
        assert server.run(done.root, CELLS) == 0
        assert (folder / f"result.json.damaged-{number + 1}").read_bytes() == text
    assert [(folder / f"result.json.damaged-{n}").read_bytes() for n in (1, 2, 3)] == contents


def test_an_edited_journal_makes_the_cell_damaged(server: Server, done: Store) -> None:
    path = done.root / "cells" / CELLS[0].id / "journal.jsonl"
    truncate(path)
    assert "is not the one" in state(done).detail
    broken = path.read_bytes()
    assert server.run(done.root, CELLS) == 0
    assert state(done).state is State.DONE
    assert (path.parent / "attempts" / "2.journal.jsonl").read_bytes() == broken


def test_a_member_damaged_while_its_job_is_interrupted(
    server: Server, interrupted: Store, undisturbed: dict[str, Any]
) -> None:
    """A done member whose job's checkpoint knows no journal of it cannot be resumed."""
    assert server.run(interrupted.root, CELLS) == 0
    shutil.rmtree(interrupted.root / "cells" / CELLS[1].id)
    assert server.run(interrupted.root, CELLS, at_step=20, signal=signal.SIGTERM) == 143
    edit(interrupted, lambda result: result.update(schema=9))
    assert server.run(interrupted.root, CELLS[:1]) == 0
    assert "it knows no journal" in server.said()
    assert content(interrupted.root, CELLS) == undisturbed


def test_stale_temporary_files_do_not_matter(
    server: Server, interrupted: Store, undisturbed: dict[str, Any]
) -> None:
    folder, directory = interrupted.root / "cells" / CELLS[0].id, only(interrupted).directory
    for path in (folder / ".result.json.tmp", folder / ".policy.pt.tmp", directory / ".checkpoint.pt.tmp"):
        path.write_bytes(b"half of something" * 1000)
    assert server.run(interrupted.root, CELLS) == 0
    assert content(interrupted.root, CELLS) == undisturbed
    assert not (directory / ".checkpoint.pt.tmp").exists()
    assert not (folder / ".result.json.tmp").exists()


def test_a_file_that_cannot_grow_is_a_full_disk(
    server: Server, machine: Path, undisturbed: dict[str, Any]
) -> None:
    root = machine / "results"
    assert server.run(root, CELLS, file_limit=3000) == 12
    store = Store.open(root)
    found = state(store)
    assert (found.state, found.failure) == (State.FAILED, Failure.DISK_FULL)
    assert "Make room" in found.detail
    assert server.said().count("error:") == 1
    assert "Traceback" not in server.said()
    assert server.run(root, CELLS) == 0
    assert content(root, CELLS) == undisturbed


def test_a_full_disk_loses_nothing(server: Server, machine: Path, undisturbed: dict[str, Any]) -> None:
    disk = machine / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        root = disk / "results"
        assert server.run(root, CELLS, at_step=20, signal=signal.SIGTERM) == 143
        with (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                try:
                    filler.write(b"x" * 4096)
                except OSError:
                    break
        before = {path: path.read_bytes() for path in root.rglob("*.jsonl")}
        assert server.run(root, CELLS) == 12
        assert "Make room" in server.said()
        for path, written in before.items():
            assert path.read_bytes().startswith(written)
        (disk / "filler").unlink()
        assert server.run(root, CELLS) == 0
        assert content(root, CELLS) == undisturbed
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_unwritable_store_is_told_in_one_line(server: Server, interrupted: Store) -> None:
    before = {path: stamp(path) for path in interrupted.root.rglob("*")}
    user = {"user": 65534} if os.getuid() == 0 else {}
    if not user:
        for path in interrupted.root.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = {path: stamp(path) for path in interrupted.root.rglob("*")}
    assert server.run(interrupted.root, [], job=only(interrupted).id, **user) == 12
    assert len(server.said().splitlines()) == 1
    assert "Permission denied" in server.said()
    assert {path: stamp(path) for path in interrupted.root.rglob("*")} == before


def test_a_job_whose_cell_is_gone_says_so(server: Server, interrupted: Store) -> None:
    shutil.rmtree(interrupted.root / "cells" / CELLS[1].id)
    job = only(interrupted)
    assert server.run(interrupted.root, [], job=job.id) == 10
    assert "there is no cell.json" in server.said()
    # Asking for the other member is enough to repair it.
    assert server.run(interrupted.root, CELLS[:1]) == 0
    assert state(interrupted, CELLS[1]).state is State.DONE


def test_unknown_jobs_and_foreign_formats_are_refused(server: Server, interrupted: Store) -> None:
    assert server.run(interrupted.root, [], job="0" * 16) == 10
    assert "there is no job" in server.said()
    assert server.run(interrupted.root, [], job="../../x") == 10
    job = only(interrupted).id
    (interrupted.root / "store.json").write_text('{"schema": 2}')
    assert server.run(interrupted.root, [], job=job) == 10
    assert "format 2, newer" in server.said()


def test_execution_says_how_the_result_came_about(interrupted: Store, server: Server) -> None:
    assert server.run(interrupted.root, CELLS) == 0
    execution = interrupted.result(CELLS[0].id)["execution"]
    assert execution["attempts"] == 2
    assert execution["members"] == [cell.id for cell in CELLS]
    assert execution["versions"]["torch"] == torch.__version__
    assert execution["started_ms"] < execution["finished_ms"]
    # The delay alone takes 0.6 s, of which the first attempt did a part.
    assert execution["seconds"] >= 0.6
    assert 0 < execution["steps_per_second"] <= 60 / 0.6
    assert execution["cpu_seconds"] > 0
    assert execution["peak_memory_bytes"] > 10_000_000
    speed = interrupted.speed("tests", "task", "builtin", "fake", "cpu")
    assert speed is None or speed > 0
    assert measure(interrupted.root / "cells" / CELLS[0].id / "journal.jsonl").records == 60 + 2 * 3
