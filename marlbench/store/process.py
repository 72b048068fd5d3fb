"""What makes a job a process of its own: signals, the scheduler's lifeline, the end of its group, its log."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marlbench.store import durable
from marlbench.store.uris import cut

LIFELINE = "MARLBENCH_LIFELINE"
GRACE = 10.0
TERMINATED = 128 + signal.SIGTERM
INTERRUPTED = 128 + signal.SIGINT


class Guard:
    """Knows when the job must leave, and sees to it that it does.

    SIGTERM, SIGINT and the end of the scheduler set `code`, which the job reads at step boundaries. If the
    process is still there ten seconds later, its whole group is killed, so that no environment worker
    survives it.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self.reason = ""
        self.last_words: Callable[[], None] | None = None
        self._deadline: float | None = None
        self._closed = threading.Event()

    def stop(self, code: int, reason: str) -> None:
        """Ask the job to leave with `code`; only the first request counts."""
        if self.code is None:
            self._deadline = time.monotonic() + GRACE
            self.reason = reason
            self.code = code

    def install(self) -> None:
        """Watch signals and the lifeline from now on, and lead a process group. Main thread only."""
        if os.getpgrp() != os.getpid():
            os.setpgid(0, 0)
        # The C handler writes the signal's number at once, while a Python handler waits for the main thread,
        # which may be inside a library for longer than the grace.
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, _nothing)
        _installed.append(self)
        threading.Thread(target=self._watch, args=(reader, _lifeline()), name="guard", daemon=True).start()

    def close(self) -> None:
        """The job is over: no more deadline."""
        self._closed.set()

    def _watch(self, signals: int, lifeline: int | None) -> None:
        watched = [signals] if lifeline is None else [signals, lifeline]
        while not self._closed.is_set():
            left = None if self._deadline is None else self._deadline - time.monotonic()
            if left is not None and left <= 0:
                self._expire()
            try:
                ready, _, _ = select.select(watched, [], [], 1.0 if left is None else min(left, 1.0))
            except OSError:
                watched.remove(lifeline if lifeline is not None and len(watched) > 1 else signals)
                continue
            if signals in ready:
                for number in _read(signals):
                    if number in _SIGNALS:
                        self.stop(128 + number, f"stopped by {signal.Signals(number).name}")
            if lifeline is not None and lifeline in ready and not _read(lifeline):
                watched.remove(lifeline)
                self.stop(TERMINATED, "the process that started the job is gone")

    def _expire(self) -> None:
        if self._closed.is_set():
            return
        if self.last_words is not None:
            # A disk that hangs may be the very reason.
            words = threading.Thread(target=self.last_words, daemon=True)
            words.start()
            words.join(1.0)
        os.killpg(os.getpgrp(), signal.SIGKILL)


def leave(code: int) -> None:
    """End this process and its group at once, without waiting for threads and exit handlers.

    Everything that must last is on disk, and a library that hangs at exit must not keep the job's lock.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if os.getpgrp() == os.getpid():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            os.killpg(os.getpid(), signal.SIGTERM)
    os._exit(code)


def redirect(path: Path) -> io.TextIOBase:
    """Append stdout and stderr to the file at `path`; returns what stderr was.

    Raises:
        Unwritable: the log cannot be made.
    """
    with durable.told(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    original = WithoutSecrets(os.dup(2))
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stdout = WithoutSecrets(1)
    sys.stderr = WithoutSecrets(2)
    # Where the process dies inside a library, the log still says where.
    faulthandler.enable(2)
    return original


class WithoutSecrets(io.TextIOBase):
    """A text stream to a descriptor that cuts secrets from URIs, line by line, and outlives a full disk."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._line = ""
        self._lock = threading.RLock()
        self.buffer = io.FileIO(descriptor, "w", closefd=False)

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            self._line += text
            whole, newline, self._line = self._line.rpartition("\n")
            if newline:
                self._emit(whole + newline)
        return len(text)

    def flush(self) -> None:
        with self._lock:
            line, self._line = self._line, ""
            self._emit(line)

    def _emit(self, text: str) -> None:
        # What cannot be logged must not end a job that could still write its results.
        if text:
            with contextlib.suppress(OSError):
                durable.write_all(self._descriptor, cut(text).encode(errors=self.errors))


def _nothing(number: int, frame: Any) -> None:
    """Present so that the C handler writes to the wake-up descriptor."""


def _lifeline() -> int | None:
    text = os.environ.get(LIFELINE, "")
    try:
        descriptor = int(text)
        os.set_inheritable(descriptor, False)
    except (ValueError, OSError):
        return None
    return descriptor


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 64)
    except OSError:
        return b""


_installed: list[Guard] = []
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_mask = threading.local()


def _before_fork() -> None:
    if _installed:
        _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _after_fork() -> None:
    if _installed:
        signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _after_fork_in_child() -> None:
    if _installed:
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        _after_fork()
        _installed.clear()


# A forked worker that is told to end must do so, and must not wake its parent instead: not even in the moment
# in which it still has its parent's handlers, so signals wait until these are gone.
os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child, after_in_parent=_after_fork)
