"""Locks for file systems without flock: a file that its holder keeps young.

A lease is held while its file is younger than LEASE_SECONDS. Its age is the difference of two times that the file
system itself wrote, so the clocks of the machines do not matter. The holder makes the file young again every few
seconds; one that finds that it could not do so in time, or that another has the lease, ends at once, because what it
would write is another's to write now.

What the kernel does for flock is only approached here: after a death on another machine the lease stays for a minute.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from marlbench.errors import StoreError
from marlbench.store.attempts import boot_id

VARIABLE = "MARLBENCH_LOCKS"
LEASE_SECONDS = 60.0
_BEAT_SECONDS = 10.0
# What a system says that has no flock, or whose lock server does not answer.
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class Lost(StoreError):
    """Another process may hold the lease."""


def wanted() -> bool:
    """Whether MARLBENCH_LOCKS=leases asks for leases although flock seems to work."""
    return os.environ.get(VARIABLE, "") == "leases"


def path_of(lock: Path) -> Path:
    """The lease beside a lock's file."""
    return lock.with_name(f"{lock.name}.lease")


class Lease:
    """A lease that this process holds; use `take`."""

    def __init__(self, path: Path, token: dict[str, Any]) -> None:
        self.path = path
        self._token = token
        self._confirmed = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._let_go = threading.Event()
        threading.Thread(target=self._beat, name="lease", daemon=True).start()

    @classmethod
    def take(cls, path: Path) -> Lease | None:
        """The lease, None where another has it.

        Raises:
            OSError: the directory cannot be written.
        """
        if held(path) or not _clear(path):
            return None
        token = {**_place(), "key": secrets.token_hex(16)}
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            return None
        try:
            os.write(descriptor, json.dumps(token).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return cls(path, token)

    def confirm(self) -> None:
        """Make the lease young.

        Raises:
            Lost: it is another's, or was too old for too long.
        """
        late = time.clock_gettime(time.CLOCK_BOOTTIME) - self._confirmed
        try:
            token = _read(self.path)[0]
            if late > LEASE_SECONDS / 2 or token != self._token:
                raise Lost(f"the lease {self.path} was lost: this process was stopped for too long.")
            os.utime(self.path)
        except OSError as error:
            if late > LEASE_SECONDS / 2:
                raise Lost(f"the lease {self.path} was lost: it could not be kept ({error}).") from error
            # The file system is away. Nobody else takes what was young half a minute ago.
            return
        self._confirmed = time.clock_gettime(time.CLOCK_BOOTTIME)

    def release(self) -> None:
        """Let go."""
        self._let_go.set()
        if _token(self.path) == self._token:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def forget(self) -> None:
        """In a forked child: it is the parent's."""
        self._let_go.set()

    def _beat(self) -> None:
        while not self._let_go.wait(_BEAT_SECONDS):
            try:
                self.confirm()
            except Lost as lost:
                if not self._let_go.is_set():
                    _end(str(lost))


def held(path: Path) -> bool:
    """Whether somebody holds the lease."""
    token, written = _look(path)
    if written is None or (token is not None and _died_here(token)):
        return False
    return _now(path) - written <= LEASE_SECONDS


def _clear(path: Path) -> bool:
    """Take an old lease away; False where another is just doing so."""
    old = _token(path)
    if old is None and not path.exists():
        return True
    # Of several who found it old, one may have taken it away and another may have made a new one since.
    gate = path.with_name(f"{path.name}.taking")
    try:
        gate.mkdir()
    except FileExistsError:
        with contextlib.suppress(OSError):
            if _now(path) - gate.stat().st_mtime > LEASE_SECONDS:
                gate.rmdir()
        return False
    try:
        if held(path) or _token(path) != old:
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        with contextlib.suppress(OSError):
            gate.rmdir()


def _now(path: Path) -> float:
    """The file system's time: what it writes when it is asked to."""
    probe = path.with_name(f".{path.name}.clock")
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.utime(descriptor)
            return os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)
    except OSError:
        # Only to be looked at: then this machine's clock has to do.
        return time.time()


def _read(path: Path) -> tuple[dict[str, Any] | None, float | None]:
    """What a lease says, None where that makes no sense, and when it was last made young, None where there is none.

    Raises:
        OSError: it may be there, and cannot be read.
    """
    try:
        with path.open("rb") as file:
            # NFS asks its server anew when a file is opened, and answers a mere stat from what it knew a minute ago.
            written = os.fstat(file.fileno()).st_mtime
            token = json.loads(file.read())
    except FileNotFoundError:
        return None, None
    except ValueError:
        return None, path.stat().st_mtime
    return (token if isinstance(token, dict) else None), written


def _look(path: Path) -> tuple[dict[str, Any] | None, float | None]:
    """The same, as far as it can be found out."""
    try:
        return _read(path)
    except OSError:
        try:
            return None, path.stat().st_mtime
        except OSError:
            return None, None


def _token(path: Path) -> dict[str, Any] | None:
    return _look(path)[0]


def _place() -> dict[str, Any]:
    """This process among all those of all machines."""
    try:
        names = os.readlink("/proc/self/ns/pid")
    except OSError:
        names = ""
    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "boot": boot_id(),
        "names": names,
        "pid": process.pid,
        "started": process.create_time(),
    }


def _died_here(token: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    here = _place()
    if not here["boot"] or any(token.get(key) != here[key] for key in ("host", "boot", "names")):
        return False
    try:
        process = psutil.Process(int(token["pid"]))
        return process.create_time() != token["started"] or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _end(reason: str) -> None:
    """End this process and what it leads: nothing that it still writes could be right."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"error: {reason}\n")
        sys.stderr.flush()
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
