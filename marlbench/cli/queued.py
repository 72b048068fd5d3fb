"""Jobs of a store in a queue: submitted, found again, watched, cancelled."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from marlbench.engines.queues import Order, Queue, Resources, Standing, Ticket
from marlbench.engines.slots import THREAD_VARIABLES
from marlbench.store import tickets

if TYPE_CHECKING:
    from marlbench.cli.plan import Plan
    from marlbench.store.states import Job
    from marlbench.store.store import Store

# Estimates know the tensors; an allocator and a simulator want some more.
_MEMORY_MARGIN = 1.25


@dataclass(frozen=True)
class StoreTickets:
    """The tickets of a store's jobs; see `marlbench.engines.dispatcher.Tickets`."""

    root: Path
    engine: str
    profile: str | None

    def read(self, job: Job) -> Ticket | None:
        found = tickets.read(job.directory)
        return found.ticket if found is not None and found.engine == self.engine else None

    def write(self, batch: str, jobs: list[Path]) -> None:
        tickets.write(jobs, self.engine, self.profile, batch)

    def withdraw(self, jobs: list[Path]) -> None:
        tickets.withdraw(jobs)

    def submitting(self) -> AbstractContextManager[Path]:
        return tickets.submitting(self.root)


def order_for(plan: Plan, store: Store, queue: Queue, job: Job, keep_states: int | None) -> Order:
    """What is submitted for a job of a plan."""
    from marlbench.cli.jobs import job_command

    cells = {cell.id: cell for cell in plan.matrix.cells}
    known = next(cell for cell in job.cells if cell in cells)
    demand = round(plan.demand(cells[known], job).memory * _MEMORY_MARGIN)
    device = "cuda" if queue.gpus else "cpu"
    argv = job_command(store.root, job.id, device, keep_states=keep_states, engine=queue.name)
    return Order(
        job.id,
        tuple(argv),
        dict.fromkeys(THREAD_VARIABLES, "1"),
        Path.cwd(),
        job.directory,
        Resources.of(queue.gpus, queue.cpus, queue.memory or demand),
    )


def standings(jobs: Iterable[Job]) -> tuple[dict[str, Standing], list[str]]:
    """Where jobs stand in the queues that they were submitted to, and what could not be asked, in words."""
    from marlbench.errors import MarlbenchError
    from marlbench.plugins import load

    asked: dict[tuple[str, str | None], dict[Ticket, Standing]] = {}
    found, trouble = {}, []
    for job in jobs:
        submission = tickets.read(job.directory)
        if submission is None:
            continue
        key = (submission.engine, submission.profile)
        if key not in asked:
            asked[key] = {}
            try:
                answer = load("engines", submission.engine)(submission.profile).standing()
            except MarlbenchError as error:
                trouble.append(f"the queue of '{submission.engine}' cannot be asked: {error}")
                continue
            if answer is None:
                trouble.append(f"the queue of '{submission.engine}' does not answer")
            asked[key] = answer or {}
        if submission.ticket in asked[key]:
            found[job.id] = asked[key][submission.ticket]
    return found, trouble


def withdraw_from_queues(jobs: Iterable[Job], ended: Collection[str] = ()) -> list[str]:
    """Take jobs that are cancelled out of their queues; returns what went wrong, in words.

    Those that run leave by themselves, after a checkpoint; the queue ends them only where they are among `ended`.
    """
    from marlbench.errors import MarlbenchError
    from marlbench.plugins import load

    by_queue: dict[tuple[str, str | None], dict[Ticket, str]] = {}
    for job in jobs:
        if (submission := tickets.read(job.directory)) is not None:
            by_queue.setdefault((submission.engine, submission.profile), {})[submission.ticket] = job.id
    trouble = []
    for (engine, profile), held in by_queue.items():
        try:
            queue = load("engines", engine)(profile)
            standing = queue.standing()
            if standing is None:
                trouble.append(
                    f"the queue of '{engine}' does not answer; what waits there ends when it starts"
                )
                continue
            queue.cancel(
                ticket
                for ticket, job_id in held.items()
                if standing.get(ticket) is Standing.WAITING or job_id in ended
            )
        except MarlbenchError as error:
            trouble.append(f"{error} (engine '{engine}')")
    return trouble


def held_tickets(store: Store) -> list[Ticket]:
    """Tickets that queues still have, of jobs of this store."""
    found, _ = standings(store.jobs())
    submissions = [tickets.read(job.directory) for job in store.jobs(found)]
    return [submission.ticket for submission in submissions if submission is not None]
