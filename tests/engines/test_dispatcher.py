"""Jobs in a queue of this test: what waits, runs and is lost is as each test says."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from marlbench.engines.dispatcher import Dispatcher
from marlbench.engines.queues import Order, Queue, Resources, Standing, Ticket, batches
from marlbench.engines.slots import Slot
from marlbench.errors import ConfigurationError, MarlbenchError
from marlbench.store.states import Job

from .fakes import FakeStore, Witness


class FakeQueue(Queue):
    """Starts every job at once as a process that nobody watches; `loses`: how many it forgets instead."""

    name = "fake"
    gpus, cpus, memory, at_once = 0, 1, None, 4
    largest = 2

    def __init__(self, profile: str | None = None) -> None:
        self.submitted: list[list[str]] = []
        self.processes: dict[Ticket, subprocess.Popen[bytes]] = {}
        self.loses = 0
        self.answers = True
        self.refuses = False

    def submit(self, batch: str, folder: Path, orders: Sequence[Order]) -> None:
        if self.refuses:
            raise ConfigurationError("no such partition")
        self.submitted.append([order.job for order in orders])
        for index, order in enumerate(orders):
            if self.loses:
                self.loses -= 1
                continue
            self.processes[Ticket(batch, index)] = subprocess.Popen(
                order.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

    def standing(self) -> dict[Ticket, Standing] | None:
        alive = {ticket for ticket, process in self.processes.items() if process.poll() is None}
        return dict.fromkeys(alive, Standing.RUNNING) if self.answers else None

    def cancel(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            self.processes[ticket].kill()


class FakeTickets:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: dict[Path, Ticket] = {}

    def read(self, job: Job) -> Ticket | None:
        return self.held.get(job.directory)

    def write(self, batch: str, jobs: list[Path]) -> None:
        self.held |= {job: Ticket(batch, index) for index, job in enumerate(jobs)}

    def withdraw(self, jobs: list[Path]) -> None:
        for job in jobs:
            del self.held[job]

    @contextmanager
    def submitting(self) -> Iterator[Path]:
        yield self.folder


class House:
    """A store, a queue, tickets, and one dispatcher after the other."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.queue, self.tickets = FakeQueue(), FakeTickets(store.folder)

    def jobs(self, **words: str) -> list[Job]:
        jobs = [self.store.job(name, word) for name, word in words.items()]
        return [Job(job.id, job.cells, job.pending, False, False, self.store.folder / job.id) for job in jobs]

    def dispatcher(self) -> tuple[Dispatcher, Witness]:
        def order(job: Job) -> Order:
            argv = tuple(self.store.command(job, Slot("cpu", {})))
            memory = 1 if job.id < "d" else 2
            return Order(job.id, argv, {}, Path.cwd(), job.directory, Resources(0, 1, memory))

        witness = Witness()
        return Dispatcher(self.store, self.queue, self.tickets, order, witness, look=0.05, gone=0.3), witness


@pytest.fixture
def house(store: FakeStore) -> Iterator[House]:
    house = House(store)
    yield house
    for process in house.queue.processes.values():
        process.kill()
        process.wait()


def wanted(jobs: list[Job]) -> list[str]:
    return [cell for job in jobs for cell in job.cells]


def test_one_batch_for_each_shape_and_none_too_large(house: House) -> None:
    jobs = house.jobs(a="done", b="done", c="done", d="done")
    dispatcher, witness = house.dispatcher()
    assert dispatcher.submit(jobs, wanted(jobs)) == 4
    assert sorted(map(sorted, house.queue.submitted)) == [["a", "b"], ["c"], ["d"]]
    report = dispatcher.watch()
    assert not report.failures
    assert [house.store.starts(job.id) for job in jobs] == [1, 1, 1, 1]
    assert witness.words("a")[-1] == "done"


def test_another_dispatcher_finds_the_jobs_again(house: House) -> None:
    jobs = house.jobs(a="slow1", b="slow1")
    dispatcher, _ = house.dispatcher()
    assert dispatcher.submit(jobs, wanted(jobs)) == 2
    again, _ = house.dispatcher()
    assert again.submit(jobs, wanted(jobs)) == 0
    assert not again.watch().failures
    assert [house.store.starts(job.id) for job in jobs] == [1, 1]
    third, _ = house.dispatcher()
    assert third.submit(jobs, wanted(jobs)) == 0, "what is done is not submitted"


def test_what_the_queue_forgot_is_submitted_again(house: House) -> None:
    jobs = house.jobs(a="done", b="killed,done")
    house.queue.loses = 1
    dispatcher, witness = house.dispatcher()
    dispatcher.submit(jobs, wanted(jobs))
    assert not dispatcher.watch().failures
    assert house.store.starts("a") == 1
    assert house.store.starts("b") == 2
    assert "retrying" in witness.words("a")


def test_after_three_losses_a_job_is_given_up(house: House) -> None:
    jobs = house.jobs(a="killed")
    dispatcher, _ = house.dispatcher()
    dispatcher.submit(jobs, wanted(jobs))
    (failure,) = dispatcher.watch().failures
    assert (failure.cell, failure.kind) == ("a-0", "signal")
    assert house.store.starts("a") == 3


def test_an_exception_is_not_tried_again_by_this_command_but_by_the_next(house: House) -> None:
    jobs = house.jobs(a="exception,done")
    dispatcher, _ = house.dispatcher()
    dispatcher.submit(jobs, wanted(jobs))
    (failure,) = dispatcher.watch().failures
    assert failure.reason == "ValueError: the reward is a string"
    assert house.store.starts("a") == 1
    again, _ = house.dispatcher()
    assert again.submit(jobs, wanted(jobs)) == 1
    assert not again.watch().failures


def test_a_queue_that_does_not_answer_loses_nothing(house: House) -> None:
    jobs = house.jobs(a="slow1")
    dispatcher, witness = house.dispatcher()
    dispatcher.submit(jobs, wanted(jobs))
    house.queue.answers = False
    threading.Timer(2.0, lambda: setattr(house.queue, "answers", True)).start()
    time.sleep(0.5)
    assert not dispatcher.watch().failures
    assert house.store.starts("a") == 1
    assert witness.seen[0] == ("held", "")
    silent, _ = house.dispatcher()
    house.queue.answers = False
    with pytest.raises(MarlbenchError, match="does not answer"):
        silent.submit(jobs, wanted(jobs))


def test_a_refusal_leaves_no_ticket(house: House) -> None:
    jobs = house.jobs(a="done")
    house.queue.refuses = True
    dispatcher, _ = house.dispatcher()
    with pytest.raises(ConfigurationError, match="no such partition"):
        dispatcher.submit(jobs, wanted(jobs))
    assert not house.tickets.held


def test_cancelled_jobs_are_not_submitted_again_and_stop_leaves_the_others(house: House) -> None:
    jobs = house.jobs(a="sleep", b="sleep")
    dispatcher, _ = house.dispatcher()
    dispatcher.submit(jobs, wanted(jobs))
    (house.store.folder / "a.cancelled").touch()
    house.queue.cancel([house.tickets.held[jobs[0].directory]])
    threading.Timer(1.5, lambda: dispatcher.stop(2)).start()
    report = dispatcher.watch()
    assert report.cancelled == ["a-0"]
    assert report.signal == 2
    assert [ticket for ticket in house.queue.standing() or {}] == [house.tickets.held[jobs[1].directory]]


def test_batches_keep_every_order() -> None:
    orders = [
        Order(str(index), (), {}, Path(), Path(), Resources.of(index % 2, 1, (index % 3) << 30))
        for index in range(20)
    ]
    parts = batches(orders, 3)
    assert sorted(order.job for part in parts for order in part) == sorted(order.job for order in orders)
    assert all(len({order.resources for order in part}) == 1 and len(part) <= 3 for part in parts)
    assert Resources.of(0, 1, (1 << 30) + 1).memory == 2
