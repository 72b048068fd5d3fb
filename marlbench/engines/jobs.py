"""What the scheduler knows of a job while it brings it to its end, and what an exit code hints at."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from marlbench.engines.slots import Slot
from marlbench.store.states import CellState, Failure, Job, State

LOCKED_ELSEWHERE = 75
_FAILURES = {10: Failure.EXCEPTION, 11: Failure.MEMORY, 12: Failure.DISK_FULL}
_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_LOOK_SECONDS = 0.1


class Handle(Protocol):
    """A started process."""

    def poll(self) -> int | None:
        """The exit code, None while it runs."""

    def terminate(self, number: int = signal.SIGTERM) -> None:
        """Ask it to checkpoint and leave."""

    def kill(self) -> None:
        """End it and all its processes at once."""

    def output(self) -> str:
        """What it printed outside its log."""

    def news(self) -> list[str]:
        """Lines that it printed outside its log since this was last asked."""

    def memory(self) -> int:
        """Bytes that it and its descendants have resident."""

    @property
    def descriptor(self) -> int | None:
        """Becomes readable when the process ends; None where the system has no such thing."""

    def close(self) -> None:
        """Forget it."""


class Engine(Protocol):
    """What starts processes."""

    def start(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, inherit: Sequence[int] = ()
    ) -> Handle:
        """Start one; OSError where the system does not let it."""

    def close(self) -> None:
        """What still runs is told to leave."""


class JobStore(Protocol):
    """The part of the store that decides what became of a job (see `marlbench.store.store.Store`)."""

    def states(self, cell_ids: Sequence[str]) -> dict[str, CellState]: ...

    def running(self, job_id: str) -> bool: ...

    def reconcile(self, job_id: str, failure: Failure | None = None, reason: str = "") -> bool: ...

    def progress(self, job_id: str) -> dict[str, Any] | None: ...

    def cancelled(self, job_id: str) -> bool: ...


@dataclass(frozen=True)
class Demand:
    """Bytes of main memory and of disk that a job needs while it runs."""

    memory: int = 0
    disk: int = 0


@dataclass(frozen=True)
class Breach:
    """A limit that a job broke.

    Attributes:
        kill: it is ended at once, else it may write a checkpoint.
        again: it is worth another try.
    """

    failure: Failure
    reason: str
    kill: bool
    again: bool


class Phase(StrEnum):
    """Where a job stands. `deferred`: another run has it."""

    WAITING = "waiting"
    RUNNING = "running"
    DEFERRED = "deferred"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass
class Tracked:
    """One job on its way.

    Attributes:
        cells: the members that were asked for; they decide when the job is done.
        retries: how often it was started again after a failure.
        not_before: the clock's time before which it is not looked at again.
        alone: it ran out of memory, so nothing may run beside it.
        elsewhere: its cells were done by another run.
        attempts: how often its cells had been started before it was started here or found elsewhere.
        seen_running: another run was seen to train it.
        ending: why it was told to leave, where a limit was broken.
        kill_at: the clock's time at which it is killed, where it was told to leave.
    """

    job: Job
    cells: tuple[str, ...]
    demand: Demand = Demand()
    phase: Phase = Phase.WAITING
    retries: int = 0
    not_before: float = 0.0
    alone: bool = False
    elsewhere: bool = False
    attempts: int = 0
    seen_running: bool = False
    deferrals: int = 0
    process: Handle | None = None
    slot: Slot | None = None
    started: float = 0.0
    changed: float = 0.0
    ending: Breach | None = None
    kill_at: float | None = None
    progress: dict[str, Any] | None = None


@dataclass(frozen=True)
class CellFailure:
    """A cell that was given up, why in one line, and the job whose log says more."""

    cell: str
    job: str
    kind: str
    reason: str


@dataclass
class Report:
    """What a scheduler leaves behind: cells that failed or were cancelled, and the signal that stopped it, if any.

    `detached`: nobody waits for the jobs, which are in a queue.
    """

    failures: list[CellFailure] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    signal: int | None = None
    detached: bool = False


class Observer(Protocol):
    """Who watches the scheduler. Calls come from its thread and must not block."""

    def started(self, tracked: Tracked) -> None:
        """It has a process and a slot."""

    def done(self, tracked: Tracked) -> None:
        """All its cells are done."""

    def retrying(self, tracked: Tracked, failure: Failure, reason: str, pause: float) -> None:
        """It failed and starts again in `pause` seconds."""

    def failed(self, tracked: Tracked, failures: Sequence[CellFailure]) -> None:
        """It was given up."""

    def said(self, tracked: Tracked, lines: Sequence[str]) -> None:
        """Its process told the user something: what it found damaged, why it leaves."""

    def deferred(self, tracked: Tracked) -> None:
        """Another run has it; called once for each time it was found so."""

    def stopping(self, running: int, kill: bool) -> None:
        """The jobs were told to stop, or with `kill` they were ended."""

    def held(self, reason: str) -> None:
        """No job is started for now, for this reason; '' when that is over."""

    def tick(self, all_jobs: Sequence[Tracked], no_free_slot: bool) -> None:
        """About once a second. `no_free_slot`: a job could start, but another run has every GPU."""


def explain_exit(code: int, output: str) -> tuple[Failure, str]:
    """What an exit code hints at, and one line for people; the store's own record is better."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        # The kernel's out-of-memory killer leaves no other trace in the process that it ends.
        more = " (by someone, or by the system because memory ran out)" if -code == signal.SIGKILL else ""
        return Failure.SIGNAL, f"ended by {name}{more}"
    if code in _STOPPED:
        return Failure.SIGNAL, f"stopped by {signal.Signals(code - 128).name}"
    if code == 0:
        return Failure.SIGNAL, "left without an error and without a result"
    lines = [line.strip().removeprefix("error: ") for line in output.splitlines() if line.strip()]
    return _FAILURES.get(code, Failure.EXCEPTION), lines[-1] if lines else f"left with exit code {code}"


def all_done(states: Mapping[str, CellState]) -> bool:
    """Whether every cell is done."""
    return all(state.state is State.DONE for state in states.values())


def any_running(states: Mapping[str, CellState]) -> bool:
    """Whether a process trains one of the cells."""
    return any(state.state is State.RUNNING for state in states.values())


def attempts(states: Mapping[str, CellState]) -> int:
    """How often a cell was started, the largest number of all."""
    return max((state.attempts for state in states.values()), default=0)


def end_all(processes: Sequence[Handle], grace: float) -> None:
    """Ask processes to leave, kill after `grace` seconds those that have not, and wait for each."""
    for process in processes:
        process.terminate(signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    for process in processes:
        process.kill()
        with contextlib.suppress(ChildProcessError):
            while process.poll() is None:
                time.sleep(_LOOK_SECONDS)
