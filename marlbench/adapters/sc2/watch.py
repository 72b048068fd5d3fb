"""An exception in the main thread when a call takes too long, at no system call for those that do not."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator


class TookTooLong(Exception):
    """What was watched did not come back in time."""


class Watch:
    """Interrupts the main thread of this process by SIGALRM, also in the midst of a read from a socket.

    Args:
        patience: seconds that what is watched may take; looked at in steps of a tenth of it, at most a second.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._deadline: float | None = None
        self._closed = threading.Event()
        signal.signal(signal.SIGALRM, self._ring)
        self._main = threading.get_ident()
        threading.Thread(target=self._look, name="watch", daemon=True).start()

    @contextlib.contextmanager
    def over(self) -> Iterator[None]:
        """Raises TookTooLong in what is done within, when its time is over."""
        self._deadline = time.monotonic() + self.patience
        try:
            yield
        finally:
            self._deadline = None

    def close(self) -> None:
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(min(1.0, self.patience / 10)):
            deadline = self._deadline
            if deadline is not None and time.monotonic() > deadline:
                signal.pthread_kill(self._main, signal.SIGALRM)

    def _ring(self, *_: object) -> None:
        # The call may have come back since the signal was sent.
        if self._deadline is not None and time.monotonic() > self._deadline:
            # Whoever holds this exception up is interrupted again.
            self._deadline = time.monotonic() + self.patience
            raise TookTooLong(f"no answer within {self.patience:g} s")
