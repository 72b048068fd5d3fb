"""How jobs end, and what they leave behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from marlbench.store import locks
from marlbench.store.journal import measure
from marlbench.store.states import Failure, State
from marlbench.store.store import Store

from .conftest import Server, check_tidy, content
from .fake_cells import make_cell
from .long_cells import CELLS, log, only, stamp, state


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
