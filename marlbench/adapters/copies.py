"""Copies of a process, for simulators whose episodes depend on what the process played before.

The original builds its row and plays nothing. Whenever an episode is to begin, it makes a copy of itself (fork), which
plays on in its place, while the original waits. A copy that is to begin the next episode ends instead and says so; then
the original, which still is what it was, makes the next copy.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from marlbench.adapters.arrays import anonymous_file
from marlbench.errors import ConfigurationError, MarlbenchError

_NEXT = 83
_PR_SET_PDEATHSIG = 1

T = TypeVar("T")


class Copies:
    """Made in the original; its copies inherit it."""

    def __init__(self) -> None:
        self._original = os.getpid()
        self._message = anonymous_file()

    def next(self, wanted: T) -> T:
        """Go on in a fresh copy; returns there only, what the last caller wanted.

        The call returns in the stack of the first call: callers do nothing behind it that another caller would not.
        """
        if os.getpid() != self._original:
            self._send(wanted)
            self._end(_NEXT)
        while True:
            child = self._copy()
            if not child:
                return wanted
            status = os.waitpid(child, 0)[1]
            if not os.WIFEXITED(status) or os.WEXITSTATUS(status) != _NEXT:
                _end_like(status)
            wanted = self._received()

    def ask(self, question: Callable[[], T]) -> T:
        """What a function returns in a copy that ends with it; raises what it raises, where it is for the user."""
        child = self._copy()
        if not child:
            try:
                self._send((None, question()))
            except MarlbenchError as error:
                self._send(((str(error), error.hint), None))
            self._end(0)
        status = os.waitpid(child, 0)[1]
        if status:
            _end_like(status)
        refused, answer = self._received()
        if refused is not None:
            raise ConfigurationError(refused[0], hint=refused[1])
        told: T = answer
        return told

    def _copy(self) -> int:
        child = os.fork()
        if not child:
            # Nobody else would end a copy whose original was killed.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self._original:
                self._end(0)
        return child

    def _send(self, message: Any) -> None:
        os.ftruncate(self._message, 0)
        os.pwrite(self._message, pickle.dumps(message), 0)

    def _received(self) -> Any:
        return pickle.loads(os.pread(self._message, os.fstat(self._message).st_size, 0))

    def _end(self, code: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end_like(status: int) -> None:
    """End as a copy did, so that whoever waits for the original learns what became of it."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)
