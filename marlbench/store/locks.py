"""Exclusive locks of the kernel (flock): whoever dies lets go, whatever the cause."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from marlbench.store import durable


class Lock:
    """An exclusive flock on a file that is never deleted, held until `release` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        """Use `take`."""
        self._descriptor = descriptor
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
                taken = _wait(descriptor, patience)
            except BaseException:
                os.close(descriptor)
                raise
        if not taken:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def release(self) -> None:
        """Let go."""
        if self._descriptor >= 0:
            # Closing would do, unless a child that forked a moment ago still has the descriptor.
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1

    def _forget(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_held(path: Path) -> bool:
    """Whether a process holds the lock at `path`; a missing file is free.

    The look takes a shared lock for some microseconds; `take` with some patience is not put off by it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Wait for the lock and hold it."""
    lock = Lock.take(path, patience=None)
    assert lock is not None
    try:
        yield
    finally:
        lock.release()


def _wait(descriptor: int, patience: float | None) -> bool:
    if patience is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock._forget()


# A forked environment worker that outlives its job must not keep the job's lock.
os.register_at_fork(after_in_child=_forget_all)
