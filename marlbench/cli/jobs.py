"""The jobs of a plan, from claim to end: what every verb that trains does with them."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marlbench.cli.engine_options import EngineChoice
    from marlbench.cli.plan import Plan
    from marlbench.cli.progress import Companion
    from marlbench.engines.jobs import Observer, Report
    from marlbench.engines.queues import Queue
    from marlbench.store.states import Job
    from marlbench.store.store import Store


class Alone:
    """The companion of jobs that need none."""

    def start(self) -> None:
        """Nothing to start."""

    def news(self) -> list[str]:
        """Nothing to tell."""
        return []


def run_jobs(
    plan: Plan,
    store: Store,
    companion: Companion,
    *,
    engine: EngineChoice | None = None,
    calibrate: bool = False,
    keep_states: int | None = None,
) -> Report:
    """Bring the jobs of a plan to their end; Ctrl-C and SIGTERM stop them after a checkpoint.

    Jobs in a queue are not stopped by that: they go on, and the same command finds them again.

    Args:
        companion: what accompanies the jobs and is started with the first.
        engine: what starts them; processes on this machine without it.
        calibrate: measure in each job how fast this machine is, see `marlbench.training.calibration`.
        keep_states: MiB of the largest final state that a job keeps; None for the default.

    Raises:
        StoreError: the store cannot be used any more.
    """
    from marlbench.cli.engine_options import EngineChoice
    from marlbench.cli.progress import Account, watcher
    from marlbench.store.states import State
    from marlbench.tracking.matrices import record

    engine = engine or EngineChoice()
    queue = engine.queue()
    cells = {cell.id: cell for cell in plan.matrix.cells}
    record(store.root, plan.matrix.id, cells)
    jobs = _claim(plan, store)
    done = frozenset(cell for cell, state in plan.states.items() if state.state is State.DONE)
    with watcher(Account(cells, done), companion) as observer:
        if queue is not None:
            return _queued(plan, store, jobs, queue, engine, observer, keep_states)
        return _here(plan, store, jobs, engine, observer, calibrate, keep_states)


def _here(
    plan: Plan,
    store: Store,
    jobs: list[Job],
    choice: EngineChoice,
    observer: Observer,
    calibrate: bool,
    keep_states: int | None,
) -> Report:
    """As processes of this machine, which end with this one."""
    from marlbench.cli.engine_options import modules_of
    from marlbench.engines.scheduler import Scheduler
    from marlbench.engines.slots import make_slots

    cells = {cell.id: cell for cell in plan.matrix.cells}
    # For a single job, a server to fork it from would only be one more process.
    engine = choice.process_engine(modules_of(cells.values()) if len(jobs) > 1 else ())
    try:
        scheduler = Scheduler(
            store,
            engine,
            make_slots(plan.machine.devices, plan.machine.slots, per_gpu=choice.per_gpu),
            lambda job, slot: job_command(
                store.root,
                job.id,
                slot.device,
                calibrate=calibrate,
                keep_states=keep_states,
                engine=choice.name,
            ),
            observer,
            demands={
                job.id: plan.demand(cells[next(cell for cell in job.cells if cell in cells)], job)
                for job in jobs
            },
            memory=plan.machine.memory,
            disk=plan.machine.disk,
            limits=choice.limits(store.root),
        )
        with _signals_to(scheduler.stop):
            return scheduler.run(jobs, cells)
    finally:
        engine.close()


def _queued(
    plan: Plan,
    store: Store,
    jobs: list[Job],
    queue: Queue,
    choice: EngineChoice,
    observer: Observer,
    keep_states: int | None,
) -> Report:
    """In a queue, which goes on without this process."""
    from marlbench.cli import words
    from marlbench.cli.console import talk
    from marlbench.cli.queued import StoreTickets, order_for
    from marlbench.engines.dispatcher import Dispatcher
    from marlbench.engines.jobs import Report

    dispatcher = Dispatcher(
        store,
        queue,
        StoreTickets(store.root, queue.name, choice.profile),
        lambda job: order_for(plan, store, queue, job, keep_states),
        observer,
    )
    submitted = dispatcher.submit(jobs, {cell.id for cell in plan.matrix.cells})
    there = len(jobs) - submitted
    told = f"{words.plural(submitted, 'job')} submitted to {queue.name}"
    more = f", {words.plural(there, 'job')} there already" if there else ""
    talk().print(f"{told}{more}. They go on without this command.", markup=False)
    if choice.detach:
        return Report(detached=True)
    with _signals_to(dispatcher.stop):
        return dispatcher.watch()


def job_command(
    root: Path,
    job_id: str,
    device: str,
    *,
    calibrate: bool = False,
    keep_states: int | None = None,
    engine: str = "local",
) -> list[str]:
    """The process of one job. -P: what lies in the current directory must not shadow a module."""
    options = ["--results", str(root), "--device", device, "--engine", engine]
    options += ["--calibrate"] if calibrate else []
    options += [] if keep_states is None else ["--keep-states", str(keep_states)]
    return [sys.executable, "-P", "-m", "marlbench", "run-job", job_id, *options]


def _claim(plan: Plan, store: Store) -> list[Job]:
    jobs: dict[str, Job] = {}
    for cells, seeds in plan.claims:
        for job in store.claim(cells, plan.machine.slots, seeds):
            jobs.setdefault(job.id, job)
    return list(jobs.values())


@contextlib.contextmanager
def _signals_to(stop: Callable[[int], None]) -> Iterator[None]:
    """Pass SIGINT and SIGTERM to `stop`, but for those that whoever started us wants ignored."""
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, lambda number, frame: stop(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
