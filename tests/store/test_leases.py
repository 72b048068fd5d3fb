from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from marlbench.store import leases, locks
from marlbench.store.leases import Lease, Lost

HOLDER = """
import sys, time, pathlib
from marlbench.store.locks import Lock
lock = Lock.take(pathlib.Path(sys.argv[1]), patience=5.0)
print(lock is not None, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    # It would end this very process when a test takes its lease away.
    monkeypatch.setattr(leases, "_BEAT_SECONDS", 3600.0)


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system whose lock server does not answer."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def taken(path: Path) -> Lease:
    lease = Lease.take(path)
    assert lease is not None
    return lease


def elsewhere(path: Path) -> None:
    """Let the lease be that of a process on another machine, which tells nobody when it dies."""
    token = json.loads(path.read_text())
    path.write_text(json.dumps(token | {"host": "another", "key": "x"}))


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_lock_is_a_lease(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = locks.Lock.take(path, patience=0.0)
    assert first is not None
    assert locks.is_held(path)
    assert locks.Lock.take(path, patience=0.1) is None
    first.confirm()
    first.release()
    assert not locks.is_held(path)
    second = locks.Lock.take(path, patience=0.0)
    assert second is not None
    second.release()


def test_a_lease_is_respected_by_those_who_have_flock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    lease = taken(leases.path_of(path))
    assert locks.is_held(path)
    assert locks.Lock.take(path, patience=0.1) is None
    lease.release()
    lock = locks.Lock.take(path, patience=0.0)
    assert lock is not None
    assert not leases.path_of(path).exists()
    lock.release()


def test_a_death_here_frees_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    environment = {**os.environ, leases.VARIABLE: "leases"}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    assert locks.is_held(path)
    assert locks.Lock.take(path, patience=0.1) is None
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert not locks.is_held(path)
    lock = locks.Lock.take(path, patience=0.0)
    assert lock is not None
    lock.release()


def test_a_death_elsewhere_frees_it_when_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    first = taken(path)
    elsewhere(path)
    assert leases.held(path)
    assert Lease.take(path) is None
    age(path, leases.LEASE_SECONDS + 1)
    assert not leases.held(path)
    second = taken(path)
    assert leases.held(path)
    with pytest.raises(Lost):
        first.confirm()
    first.release()
    assert leases.held(path), "the first has nothing to release any more"
    second.release()


def test_the_age_is_by_the_file_systems_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lease"
    lease = taken(path)
    elsewhere(path)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert leases.held(path), "by this machine's clock it would be decades old"
    written = path.stat().st_mtime - leases.LEASE_SECONDS - 1
    os.utime(path, (written, written))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert not leases.held(path), "by this machine's clock it would come from the future"
    lease.release()


def test_what_a_file_system_remembers_of_its_age_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS, which may answer a stat from memory, and asks its server when a file is opened."""
    path = tmp_path / "lease"
    lease = taken(path)
    elsewhere(path)
    remembered = path.stat().st_mtime - leases.LEASE_SECONDS - 1
    monkeypatch.setattr(Path, "stat", lambda self, **options: SimpleNamespace(st_mtime=remembered))
    assert leases.held(path)
    monkeypatch.undo()
    age(path, leases.LEASE_SECONDS + 1)
    assert not leases.held(path)
    lease.release()


def test_a_process_that_was_stopped_for_too_long_writes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(leases.VARIABLE, "leases")
    lock = locks.Lock.take(tmp_path / "lock", patience=0.0)
    assert lock is not None
    locks.confirm_all()
    real = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + leases.LEASE_SECONDS)
    with pytest.raises(Lost, match="stopped for too long"):
        locks.confirm_all()
    monkeypatch.undo()
    lock.release()


def test_a_file_system_that_is_away_for_a_moment_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = taken(tmp_path / "lease")

    def away(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(leases, "_read", away)
    lease.confirm()
    real = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + leases.LEASE_SECONDS)
    with pytest.raises(Lost, match="could not be kept"):
        lease.confirm()
    monkeypatch.undo()
    # Whatever it was given to do meanwhile, another's lease is not its own.
    elsewhere(lease.path)
    with pytest.raises(Lost, match="stopped"):
        lease.confirm()


def test_whoever_dies_while_taking_an_old_lease_does_not_block_it(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    path.write_text("{}")
    age(path, leases.LEASE_SECONDS + 1)
    gate = tmp_path / "lease.taking"
    gate.mkdir()
    assert Lease.take(path) is None
    age(gate, leases.LEASE_SECONDS + 1)
    assert Lease.take(path) is None
    taken(path).release()


def test_one_of_many_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    environment = {**os.environ, leases.VARIABLE: "leases"}
    program = HOLDER.replace("patience=5.0", "patience=0.5").replace("time.sleep(60)", "time.sleep(3)")
    several = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(4)
    ]
    answers = [process.communicate(timeout=120)[0].strip() for process in several]
    assert "True" in answers
    # Late starters may come when the first is gone; at no time did two have it, or one would have been ended.
    assert all(process.returncode == 0 for process in several)
