"""Exclusive locks of the kernel (flock): whoever dies lets go, whatever the cause.

Where the file system has no flock, or MARLBENCH_LOCKS=leases says that it holds on one machine only, a lease beside
the file does its work (`marlbench.store.leases`). A lease is respected by everyone, asked for or not.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from marlbench.store import durable, leases


class Lock:
    """An exclusive lock on a file that is never deleted, held until `release` or the end of the process."""

    def __init__(self, descriptor: int, lease: leases.Lease | None = None) -> None:
        """Use `take`."""
        self._descriptor = descriptor
        self._lease = lease
        _held.add(self)

    @classmethod
    def take(cls, path: Path, patience: float | None) -> Lock | None:
        """The lock; None where another holds it for more than `patience` seconds (None: wait for ever).

        Raises:
            Unwritable: the file cannot be made.
        """
        with durable.told(path, "lock"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                taken, lease = _wait(descriptor, path, patience)
            except BaseException:
                os.close(descriptor)
                raise
        if not taken:
            os.close(descriptor)
            return None
        return cls(descriptor, lease)

    def release(self) -> None:
        """Let go."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None
        if self._descriptor >= 0:
            # Closing would do, unless a child that forked a moment ago still has the descriptor.
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1

    def confirm(self) -> None:
        """Be sure that it is still held.

        Raises:
            Lost: a lease ran out while this process was stopped.
        """
        if self._lease is not None:
            self._lease.confirm()

    def _forget(self) -> None:
        if self._lease is not None:
            self._lease.forget()
            self._lease = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_held(path: Path) -> bool:
    """Whether a process holds the lock at `path`; a missing file is free.

    A lease beside it counts as well. The look takes a shared lock for some microseconds; `take` with some patience
    is not put off by it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in leases.UNSUPPORTED:
            return False
    finally:
        os.close(descriptor)
    return leases.held(leases.path_of(path))


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Wait for the lock and hold it."""
    lock = Lock.take(path, patience=None)
    assert lock is not None
    try:
        yield
    finally:
        lock.release()


def confirm_all() -> None:
    """Be sure, before something is written that must have one writer, that every lock is still held.

    Raises:
        Lost: a lease ran out while this process was stopped.
    """
    for lock in list(_held):
        lock.confirm()


def _wait(descriptor: int, path: Path, patience: float | None) -> tuple[bool, leases.Lease | None]:
    """Whether the lock was taken in time, and the lease that goes with it, if one does."""
    deadline = None if patience is None else time.monotonic() + patience
    while True:
        supported = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            taken, lease = False, None
        except OSError as error:
            if error.errno not in leases.UNSUPPORTED:
                raise
            supported = False
            taken, lease = _with_lease(path, wanted=True)
        else:
            taken, lease = _with_lease(path, wanted=leases.wanted())
        if taken:
            return True, lease
        if supported:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        if deadline is not None and time.monotonic() >= deadline:
            return False, None
        time.sleep(0.02)


def _with_lease(path: Path, wanted: bool) -> tuple[bool, leases.Lease | None]:
    lease = leases.path_of(path)
    if not wanted:
        return not leases.held(lease), None
    taken = leases.Lease.take(lease)
    return taken is not None, taken


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock._forget()


# A forked environment worker that outlives its job must not keep the job's lock.
os.register_at_fork(after_in_child=_forget_all)
