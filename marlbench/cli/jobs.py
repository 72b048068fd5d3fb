"""The jobs of a plan, from claim to end: what every verb that trains does with them."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marlbench.cli.plan import Plan
    from marlbench.cli.progress import Companion
    from marlbench.engines.jobs import Report
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
    plan: Plan, store: Store, companion: Companion, *, calibrate: bool = False, keep_states: int | None = None
) -> Report:
    """Bring the jobs of a plan to their end; Ctrl-C and SIGTERM stop them after a checkpoint.

    Args:
        companion: what accompanies the jobs and is started with the first.
        calibrate: measure in each job how fast this machine is, see `marlbench.training.calibration`.
        keep_states: MiB of the largest final state that a job keeps; None for the default.

    Raises:
        StoreError: the store cannot be used any more.
    """
    from marlbench.cli.progress import Account, watcher
    from marlbench.engines.local import LocalEngine
    from marlbench.engines.scheduler import Scheduler
    from marlbench.engines.slots import make_slots
    from marlbench.store.states import State
    from marlbench.tracking.matrices import record

    cells = {cell.id: cell for cell in plan.matrix.cells}
    record(store.root, plan.matrix.id, cells)
    jobs = _claim(plan, store)
    done = frozenset(cell for cell, state in plan.states.items() if state.state is State.DONE)
    engine = LocalEngine()
    try:
        with watcher(Account(cells, done), companion) as observer:
            scheduler = Scheduler(
                store,
                engine,
                make_slots(plan.machine.devices, plan.machine.slots),
                lambda job, slot: job_command(
                    store.root, job.id, slot.device, calibrate=calibrate, keep_states=keep_states
                ),
                observer,
                demands={
                    job.id: plan.demand(cells[next(cell for cell in job.cells if cell in cells)], job)
                    for job in jobs
                },
                memory=plan.machine.memory,
                disk=plan.machine.disk,
            )
            with _signals_to(scheduler.stop):
                return scheduler.run(jobs, cells)
    finally:
        engine.close()


def job_command(
    root: Path, job_id: str, device: str, *, calibrate: bool = False, keep_states: int | None = None
) -> list[str]:
    """The process of one job. -P: what lies in the current directory must not shadow a module."""
    options = ["--results", str(root), "--device", device]
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
