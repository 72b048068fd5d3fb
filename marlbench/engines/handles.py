"""What the handles of started processes have in common."""

from __future__ import annotations

import contextlib
import os
from typing import IO

import psutil

LIFELINE = "MARLBENCH_LIFELINE"

# Enough for a traceback; a job that runs writes its own log.
_OUTPUT_BYTES = 4096


class Said:
    """What a process printed outside its own log, in a file without a name."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self._read = 0

    def output(self) -> str:
        """The end of it: why the process did not start, if it did not."""
        size = self.stream.seek(0, os.SEEK_END)
        self.stream.seek(max(0, size - _OUTPUT_BYTES))
        return self.stream.read().decode(errors="replace")

    def news(self) -> list[str]:
        """The lines since this was last asked."""
        self.stream.seek(self._read)
        whole, newline, _ = self.stream.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines()

    def close(self) -> None:
        """Forget it."""
        self.stream.close()


def resident(pid: int) -> int:
    """Bytes that a process and its descendants have resident; pages that several share count in each of them."""
    total = 0
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(pid)
        for process in (leader, *leader.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total
