"""From a list of jobs to processes to an end for each: who runs when, and what follows a failure.

An exit code proves nothing. After each exit the states of the job's cells in the store decide.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from marlbench.engines.jobs import (
    LOCKED_ELSEWHERE,
    CellFailure,
    Demand,
    Engine,
    JobStore,
    Observer,
    Phase,
    Report,
    Tracked,
    all_done,
    any_running,
    attempts,
    end_all,
    explain_exit,
)
from marlbench.engines.limits import Limits, Room
from marlbench.engines.slots import Slot, Slots
from marlbench.errors import StoreError
from marlbench.store.states import CellState, Failure, Job, State

GRACE_SECONDS = 10.0
RETRIES = 2
# Before a job is started again: memory and disk need time to come free.
PAUSES = {Failure.SIGNAL: 1.0, Failure.MEMORY: 5.0, Failure.TIMEOUT: 1.0, Failure.DISK_FULL: 20.0}

_POLL_SECONDS = 0.1
_MOMENT_SECONDS = 0.002
_LOOK_SECONDS = 1.0
_DEFERRED_SECONDS = (0.5, 5.0)

Command = Callable[[Job, Slot], Sequence[str]]


class Scheduler:
    """Runs jobs, as many at once as there are slots and as fit into memory and disk.

    Args:
        command: the process of a job in a slot.
        demands: what each job needs; jobs that are not in it need nothing.
        memory, disk: bytes that all jobs at once may need; None: no limit. A job that needs more runs alone.
        environment: of the processes, before that of their slot is added.
        limits: of each job.
    """

    def __init__(
        self,
        store: JobStore,
        engine: Engine,
        slots: Slots,
        command: Command,
        observer: Observer,
        *,
        demands: Mapping[str, Demand] | None = None,
        memory: int | None = None,
        disk: int | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        grace: float = GRACE_SECONDS,
        pauses: Mapping[Failure, float] = PAUSES,
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
    ) -> None:
        self._store = store
        self._engine = engine
        self._slots = slots
        self._command = command
        self._observer = observer
        self._demands = demands or {}
        self._memory = memory
        self._disk = disk
        self._environment = dict(os.environ if environment is None else environment)
        self._cwd = Path.cwd() if cwd is None else cwd
        self._grace = grace
        self._pauses = pauses
        self._limits = limits
        self._room = Room(limits)
        self._held = ""
        self._tracked: list[Tracked] = []
        self._report = Report()
        self._signals: list[int] = []
        self._kill_at: float | None = None
        self._killed: int | None = None
        self._told_killed = False
        self._no_free_slot = False

    def stop(self, number: int) -> None:
        """Stop: jobs checkpoint and leave, or are killed after the grace; a second call kills them at once.

        Made to be called from a signal handler of the thread that is in `run`.
        """
        self._signals.append(number)
        if len(self._signals) > 1:
            self._kill_all()

    def run(self, jobs: Iterable[Job], wanted: Iterable[str]) -> Report:
        """Bring every job to an end. A job is done when its members among `wanted` are.

        Raises:
            StoreError: the store cannot be used any more; the jobs were stopped as by `stop`.
        """
        asked = frozenset(wanted)
        self._tracked = [
            Tracked(
                job,
                tuple(cell for cell in job.cells if cell in asked),
                self._demands.get(job.id, Demand()),
            )
            for job in jobs
        ]
        try:
            self._loop()
        except BaseException:
            self._abandon()
            raise
        return self._report

    def _loop(self) -> None:
        looked = -_LOOK_SECONDS
        while True:
            now = time.monotonic()
            for tracked in self._in(Phase.RUNNING):
                self._collect(tracked, now)
            if self._signals:
                self._stop(now)
                if not self._in(Phase.RUNNING):
                    break
            else:
                for tracked in self._in(Phase.DEFERRED):
                    self._look_elsewhere(tracked, now)
                self._start_what_fits(now)
                if not (self._in(Phase.RUNNING) or self._in(Phase.WAITING) or self._in(Phase.DEFERRED)):
                    break
            if now - looked >= _LOOK_SECONDS:
                looked = now
                self._watch(now)
                self._observer.tick(self._tracked, self._no_free_slot)
            self._pause()
        self._observer.tick(self._tracked, False)

    def _pause(self) -> None:
        """Until a process ends, but not for long: signals and other runs are looked at too."""
        ends = select.poll()
        for tracked in self._in(Phase.RUNNING):
            if tracked.process is not None and (descriptor := tracked.process.descriptor) is not None:
                ends.register(descriptor, select.POLLIN)
        if ends.poll(1000 * _POLL_SECONDS):
            # What told the end may still have to be told how it ended.
            time.sleep(_MOMENT_SECONDS)

    def _in(self, phase: Phase) -> list[Tracked]:
        return [tracked for tracked in self._tracked if tracked.phase is phase]

    # starting

    def _start_what_fits(self, now: float) -> None:
        self._no_free_slot = False
        lacking = ""
        running = self._in(Phase.RUNNING)
        for tracked in self._in(Phase.WAITING):
            if len(running) >= self._slots.count:
                break
            if tracked.not_before > now or not self._fits(tracked, running):
                continue
            if self._store.cancelled(tracked.job.id):
                self._cancel(tracked)
                continue
            if lacking := self._room.lacking(tracked.demand.disk, now):
                if not running and self._room.given_up:
                    tracked.retries = RETRIES
                    self._fail(tracked, self._store.states(tracked.cells), Failure.DISK_FULL, lacking, now)
                    continue
                break
            slot = self._slots.acquire()
            if slot is None:
                self._no_free_slot = True
                break
            if self._start(tracked, slot, now):
                running.append(tracked)
            else:
                slot.release()
        if lacking.partition(" has ")[0] != self._held.partition(" has ")[0]:
            self._observer.held(lacking)
        self._held = lacking

    def _fits(self, tracked: Tracked, running: Sequence[Tracked]) -> bool:
        if not running:
            return True
        if tracked.alone or any(other.alone for other in running):
            return False
        together = [tracked.demand, *(other.demand for other in running)]
        memory, disk = sum(one.memory for one in together), sum(one.disk for one in together)
        return (self._memory is None or memory <= self._memory) and (self._disk is None or disk <= self._disk)

    def _start(self, tracked: Tracked, slot: Slot, now: float) -> bool:
        """Give a job a process, unless another run has it or has done it."""
        states = self._store.states(tracked.cells)
        if all_done(states):
            self._finish(tracked, elsewhere=True)
            return False
        if self._store.running(tracked.job.id):
            self._defer(tracked, states, now)
            return False
        try:
            tracked.process = self._engine.start(
                self._command(tracked.job, slot),
                {**self._environment, **slot.environment},
                self._cwd,
                slot.descriptors,
            )
        except OSError as error:
            scarce = error.errno in (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
            failure = Failure.MEMORY if scarce else Failure.EXCEPTION
            self._fail(tracked, states, failure, f"the process could not be started: {error}", now)
            return False
        tracked.slot = slot
        tracked.phase = Phase.RUNNING
        tracked.started = tracked.changed = now
        tracked.ending = tracked.kill_at = None
        tracked.progress = None
        tracked.attempts = attempts(states)
        tracked.deferrals = 0
        tracked.seen_running = False
        self._observer.started(tracked)
        return True

    # ending

    def _collect(self, tracked: Tracked, now: float) -> None:
        assert tracked.process is not None
        code = tracked.process.poll()
        if code is None:
            return
        output = tracked.process.output()
        self._listen(tracked)
        self._release(tracked)
        if code == LOCKED_ELSEWHERE:
            states = self._store.states(tracked.cells)
            if all_done(states):
                self._finish(tracked, elsewhere=True)
            else:
                self._defer(tracked, states, now)
            return
        states = self._store.states(tracked.cells)
        if all_done(states):
            self._finish(tracked, elsewhere=False)
            return
        if self._signals:
            self._reconcile(tracked, None, "stopped by its scheduler")
            tracked.phase = Phase.STOPPED
            return
        failure, reason = explain_exit(code, output)
        if self._store.cancelled(tracked.job.id):
            self._reconcile(tracked, None, "cancelled")
            self._cancel(tracked)
            return
        if tracked.ending is not None:
            failure, reason = tracked.ending.failure, tracked.ending.reason
            if not tracked.ending.again:
                tracked.retries = RETRIES
        self._reconcile(tracked, failure, reason)
        self._fail(tracked, self._store.states(tracked.cells), failure, reason, now)

    def _reconcile(self, tracked: Tracked, failure: Failure | None, reason: str) -> None:
        # A full disk fails this job, and others may yet finish; whoever looks next writes it down.
        with contextlib.suppress(StoreError):
            self._store.reconcile(tracked.job.id, failure, reason)

    def _release(self, tracked: Tracked) -> None:
        if tracked.process is not None:
            tracked.process.close()
            tracked.process = None
        if tracked.slot is not None:
            tracked.slot.release()
            tracked.slot = None

    def _finish(self, tracked: Tracked, elsewhere: bool) -> None:
        tracked.phase = Phase.DONE
        tracked.elsewhere = elsewhere
        self._observer.done(tracked)

    def _cancel(self, tracked: Tracked) -> None:
        tracked.phase = Phase.STOPPED
        self._report.cancelled += tracked.cells
        self._observer.said(tracked, ["cancelled"])

    def _fail(
        self, tracked: Tracked, states: Mapping[str, CellState], failure: Failure, reason: str, now: float
    ) -> None:
        """Try again, or give up the cells that are not done."""
        missing = {cell: state for cell, state in states.items() if state.state is not State.DONE}
        for state in missing.values():
            # A record of an earlier attempt says nothing about one that ended before it wrote its own.
            if state.failure is not None and state.attempts > tracked.attempts and tracked.ending is None:
                failure, reason = state.failure, state.detail.removeprefix(f"{state.failure}: ")
                break
        if failure is not Failure.EXCEPTION and tracked.retries < RETRIES:
            pause = self._pauses.get(failure, 0.0)
            tracked.phase = Phase.WAITING
            tracked.retries += 1
            tracked.not_before = now + pause
            tracked.alone = tracked.alone or failure is Failure.MEMORY
            self._observer.retrying(tracked, failure, reason, pause)
            return
        failures = [CellFailure(cell, tracked.job.id, str(failure), reason) for cell in missing]
        tracked.phase = Phase.FAILED
        self._report.failures += failures
        self._observer.failed(tracked, failures)

    # another run

    def _defer(self, tracked: Tracked, states: Mapping[str, CellState], now: float) -> None:
        again = tracked.deferrals > 0
        if not again:
            tracked.attempts = attempts(states)
        tracked.seen_running = tracked.seen_running or any_running(states)
        shortest, longest = _DEFERRED_SECONDS
        tracked.not_before = now + min(longest, shortest * 2**tracked.deferrals)
        tracked.deferrals += 1
        tracked.phase = Phase.DEFERRED
        if not again:
            self._observer.deferred(tracked)

    def _look_elsewhere(self, tracked: Tracked, now: float) -> None:
        if tracked.not_before > now:
            return
        tracked.not_before = now + _LOOK_SECONDS
        running = self._store.running(tracked.job.id)
        states = self._store.states(tracked.cells)
        if all_done(states):
            self._finish(tracked, elsewhere=True)
            return
        if running:
            tracked.seen_running = tracked.seen_running or any_running(states)
            return
        failed = [state for state in states.values() if state.failure is Failure.EXCEPTION]
        if failed and (tracked.seen_running or attempts(states) > tracked.attempts):
            reason = failed[0].detail.removeprefix(f"{Failure.EXCEPTION}: ")
            self._fail(tracked, states, Failure.EXCEPTION, reason, now)
        else:
            tracked.phase = Phase.WAITING

    # watching and stopping

    def _listen(self, tracked: Tracked) -> None:
        if tracked.process is not None and (lines := tracked.process.news()):
            self._observer.said(tracked, lines)

    def _watch(self, now: float) -> None:
        for tracked in [*self._in(Phase.RUNNING), *self._in(Phase.DEFERRED)]:
            self._listen(tracked)
            progress = self._store.progress(tracked.job.id)
            # A job takes its progress away when its last result is written.
            if progress is not None and progress != tracked.progress:
                tracked.progress = progress
                tracked.changed = now
            self._limit(tracked, now)

    def _limit(self, tracked: Tracked, now: float) -> None:
        """End a job that broke a limit."""
        if tracked.process is None:
            return
        if tracked.ending is not None:
            if tracked.kill_at is not None and now >= tracked.kill_at:
                tracked.process.kill()
        elif breach := self._limits.breach(tracked, now):
            tracked.ending = breach
            if breach.kill:
                tracked.process.kill()
            else:
                tracked.process.terminate(signal.SIGTERM)
                tracked.kill_at = now + self._grace

    def _stop(self, now: float) -> None:
        for tracked in [*self._in(Phase.WAITING), *self._in(Phase.DEFERRED)]:
            tracked.phase = Phase.STOPPED
        if self._kill_at is None:
            self._kill_at = now + self._grace
            self._report.signal = self._signals[0]
            running = self._in(Phase.RUNNING)
            for tracked in running:
                if tracked.process is not None:
                    tracked.process.terminate(self._signals[0])
            self._observer.stopping(len(running), kill=False)
        elif now >= self._kill_at:
            self._kill_all()
        if self._killed is not None and not self._told_killed:
            self._told_killed = True
            self._observer.stopping(self._killed, kill=True)

    def _kill_all(self) -> None:
        alive = [tracked.process for tracked in list(self._tracked) if tracked.process is not None]
        for process in alive:
            process.kill()
        if self._killed is None:
            self._killed = len(alive)

    def _abandon(self) -> None:
        """After an error of ours or of the store: no process is left behind."""
        end_all([t.process for t in self._tracked if t.process is not None], self._grace)
        for tracked in self._tracked:
            self._release(tracked)
