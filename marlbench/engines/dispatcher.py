"""From a list of jobs to a queue, and from there to an end for each, whoever is there to see it.

The queue says what waits and runs; only results say what is done. Nothing depends on the queue's own record of how a
job ended: not every cluster keeps one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from marlbench.engines.jobs import (
    CellFailure,
    JobStore,
    Observer,
    Phase,
    Report,
    Tracked,
    all_done,
    attempts,
)
from marlbench.engines.queues import Order, Queue, Standing, Ticket, batches
from marlbench.engines.slots import Slot
from marlbench.errors import MarlbenchError
from marlbench.store.states import CellState, Failure, Job, State

RETRIES = 2
_LOOK_SECONDS = 2.0
# A job that has left the queue may have written its result on another machine a moment ago.
_GONE_SECONDS = 5.0
_NAP_SECONDS = 0.2


class Tickets(Protocol):
    """Where tickets are kept (see `marlbench.store.tickets`)."""

    def read(self, job: Job) -> Ticket | None: ...

    def write(self, batch: str, jobs: list[Path]) -> None: ...

    def withdraw(self, jobs: list[Path]) -> None: ...

    def submitting(self) -> AbstractContextManager[Path]:
        """Gives the folder for what queues keep; only one process is in it."""


class Dispatcher:
    """Brings jobs to their end through a queue.

    Args:
        order: what is submitted for a job.
        look: seconds between two looks at the queue.
        gone: seconds for which a job must be missing from the queue to count as ended.
    """

    def __init__(
        self,
        store: JobStore,
        queue: Queue,
        tickets: Tickets,
        order: Callable[[Job], Order],
        observer: Observer,
        *,
        look: float = _LOOK_SECONDS,
        gone: float = _GONE_SECONDS,
    ) -> None:
        self._store = store
        self._queue = queue
        self._tickets = tickets
        self._order = order
        self._observer = observer
        self._look = look
        self._gone = gone
        self._tracked: list[Tracked] = []
        self._held: dict[str, Ticket] = {}
        self._missing: dict[str, float] = {}
        self._silent = False
        self._report = Report()

    def stop(self, number: int) -> None:
        """Look no longer. The jobs go on."""
        self._report.signal = number

    def submit(self, jobs: Iterable[Job], wanted: Iterable[str]) -> int:
        """Submit every job that is neither done nor in the queue already; returns how many were submitted.

        Raises:
            ConfigurationError: the queue refuses jobs, or does not answer.
            StoreError: the store cannot be written.
        """
        asked = frozenset(wanted)
        self._tracked = [Tracked(job, tuple(cell for cell in job.cells if cell in asked)) for job in jobs]
        return self._submit(self._tracked)

    def watch(self) -> Report:
        """Wait until every job has come to its end, or `stop`; jobs that were lost are submitted again.

        Raises:
            StoreError: the store cannot be used any more; the jobs go on.
        """
        looked = float("-inf")
        while self._report.signal is None:
            now = time.monotonic()
            if now - looked >= self._look:
                looked = now
                self._round(now)
                self._observer.tick(self._tracked, False)
                if not self._open():
                    break
            time.sleep(_NAP_SECONDS)
        return self._report

    def _open(self) -> list[Tracked]:
        return [one for one in self._tracked if one.phase in (Phase.WAITING, Phase.RUNNING)]

    def _submit(self, wanting: Iterable[Tracked]) -> int:
        with self._tickets.submitting() as folder:
            standing = self._queue.standing()
            if standing is None:
                raise MarlbenchError(
                    f"the queue of the engine '{self._queue.name}' does not answer.",
                    "Give the same command again when it does.",
                )
            orders: dict[str, Tracked] = {}
            for tracked in wanting:
                states = self._store.states(tracked.cells)
                running = self._store.running(tracked.job.id)
                # How the attempt ends that is under way is news.
                tracked.attempts = attempts(states) - running
                ticket = self._tickets.read(tracked.job)
                if ticket is not None:
                    self._held[tracked.job.id] = ticket
                if (
                    not all_done(states)
                    and ticket not in standing
                    and not self._store.running(tracked.job.id)
                ):
                    orders[tracked.job.id] = tracked
            for batch in batches([self._order(one.job) for one in orders.values()], self._queue.largest):
                name = secrets.token_hex(6)
                directories = [order.directory for order in batch]
                self._tickets.write(name, directories)
                try:
                    self._queue.submit(name, folder / name, batch)
                except MarlbenchError:
                    self._tickets.withdraw(directories)
                    raise
                for index, order in enumerate(batch):
                    self._held[order.job] = Ticket(name, index)
                    self._missing.pop(order.job, None)
        return len(orders)

    def _round(self, now: float) -> None:
        standing = self._queue.standing()
        if (standing is None) != self._silent:
            self._silent = standing is None
            self._observer.held(
                "the queue does not answer; what it has goes on, and it is asked again"
                if self._silent
                else ""
            )
        lost = []
        for tracked in self._open():
            states = self._store.states(tracked.cells)
            if all_done(states):
                tracked.phase = Phase.DONE
                self._observer.done(tracked)
            elif self._store.running(tracked.job.id):
                self._follow(tracked, now)
            elif self._store.cancelled(tracked.job.id):
                tracked.phase = Phase.STOPPED
                self._report.cancelled += tracked.cells
                self._observer.said(tracked, ["cancelled"])
            elif standing is not None and self._left(tracked, standing, now) and self._again(tracked, states):
                lost.append(tracked)
        if lost:
            self._submit(lost)

    def _follow(self, tracked: Tracked, now: float) -> None:
        """A process has the job."""
        self._missing.pop(tracked.job.id, None)
        if tracked.phase is Phase.WAITING:
            tracked.phase = Phase.RUNNING
            tracked.started = now
            tracked.slot = Slot("cuda" if self._queue.gpus else "cpu", {}, title=self._queue.name)
            self._observer.started(tracked)
        progress = self._store.progress(tracked.job.id)
        if progress is not None:
            tracked.progress = progress

    def _left(self, tracked: Tracked, standing: Mapping[Ticket, Standing], now: float) -> bool:
        """Whether a job without a process has been missing from the queue for some time."""
        if self._held.get(tracked.job.id) in standing:
            self._missing.pop(tracked.job.id, None)
            tracked.phase = Phase.WAITING
            return False
        return now - self._missing.setdefault(tracked.job.id, now) >= self._gone

    def _again(self, tracked: Tracked, states: Mapping[str, CellState]) -> bool:
        """Whether a job that ended without its results is worth another try; else its cells are given up."""
        failure, reason = Failure.SIGNAL, "it left the queue without a result"
        self._store.reconcile(tracked.job.id)
        states = self._store.states(tracked.cells)
        missing = {cell: state for cell, state in states.items() if state.state is not State.DONE}
        for state in missing.values():
            if state.failure is not None and state.attempts > tracked.attempts:
                failure, reason = state.failure, state.detail.removeprefix(f"{state.failure}: ")
                break
        tracked.phase = Phase.WAITING
        if failure is not Failure.EXCEPTION and tracked.retries < RETRIES:
            tracked.retries += 1
            self._observer.retrying(tracked, failure, reason, 0.0)
            return True
        tracked.phase = Phase.FAILED
        failures = [CellFailure(cell, tracked.job.id, str(failure), reason) for cell in missing]
        self._report.failures += failures
        self._observer.failed(tracked, failures)
        return False
