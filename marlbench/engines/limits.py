"""What a job on this machine may use, and when none is started: time, memory, silence, the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from marlbench.engines.jobs import Breach, Tracked
from marlbench.store.states import Failure

# A job shows a sign of life at every step boundary; the longest is the last evaluation of a slow simulator.
SILENCE_SECONDS = 2 * 3600.0
# Left free on the store's disk: results and checkpoints of jobs that run are written there.
DISK_RESERVE = 256 << 20
# A disk that stays full is given up.
DISK_PATIENCE = 600.0


@dataclass(frozen=True)
class Limits:
    """Limits of every job.

    Attributes:
        seconds: of one attempt; then the job writes a checkpoint and leaves, and its cells count as timed out. The
            next run goes on from there.
        memory: bytes that a job's processes may have resident; above, it is killed.
        silence: seconds without a sign of life after which a job counts as hanging: it is killed and tried again.
        free_disk: bytes free on the store's disk; None: not looked at.
        reserve: bytes that must be free, besides what a job needs, for a job to be started.
        patience: seconds for which jobs wait for room on the disk while none runs.
    """

    seconds: float | None = None
    memory: int | None = None
    silence: float = SILENCE_SECONDS
    free_disk: Callable[[], int] | None = None
    reserve: int = DISK_RESERVE
    patience: float = DISK_PATIENCE

    def breach(self, tracked: Tracked, now: float) -> Breach | None:
        """The limit that a running job breaks, if it does."""
        if tracked.process is None:
            return None
        if now - tracked.changed > self.silence:
            reason = f"no sign of life for {self.silence:.0f} seconds"
            return Breach(Failure.TIMEOUT, reason, kill=True, again=True)
        if self.seconds is not None and now - tracked.started > self.seconds:
            reason = f"it ran longer than {self.seconds:.0f} seconds (--time-limit)"
            return Breach(Failure.TIMEOUT, reason, kill=False, again=False)
        if self.memory is not None and (used := tracked.process.memory()) > self.memory:
            reason = f"it had {used >> 20} MiB of the {self.memory >> 20} that it may have (--memory-limit)"
            return Breach(Failure.MEMORY, reason, kill=True, again=False)
        return None


class Room:
    """Whether the disk has room for another job, looked at about once a second."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free: int | None = None
        self._looked = float("-inf")
        self._since: float | None = None

    def lacking(self, needed: int, now: float) -> str:
        """Why a job that needs so many bytes is not started now; '' where there is room."""
        if self._limits.free_disk is None:
            return ""
        if now - self._looked >= 1.0:
            self._looked, self._free = now, self._limits.free_disk()
        assert self._free is not None
        if self._free >= needed + self._limits.reserve:
            self._since = None
            return ""
        self._since = now if self._since is None else self._since
        return (
            f"the disk of the store has {self._free >> 20} MiB free; a job is started when it has "
            f"{(needed + self._limits.reserve) >> 20}"
        )

    @property
    def given_up(self) -> bool:
        """Whether the disk has been full for longer than anyone should wait."""
        return self._since is not None and time.monotonic() - self._since > self._limits.patience
