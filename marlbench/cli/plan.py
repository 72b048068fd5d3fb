"""What a run would do, found out without doing any of it: cells, jobs, steps, memory, disk, time."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from marlbench.cli import words
from marlbench.engines.devices import Devices
from marlbench.engines.jobs import Demand
from marlbench.errors import StoreError, UsageError
from marlbench.store.claims import continuations, divide
from marlbench.store.states import CellState, Job, State

if TYPE_CHECKING:
    from marlbench.algorithms.base import Memory
    from marlbench.catalog.cell import Cell
    from marlbench.catalog.matrix import Matrix
    from marlbench.environments.contract import EnvironmentSpecification
    from marlbench.store.extensions import Extended
    from marlbench.store.store import Store

# What a job has resident before it holds any tensor: the interpreter, torch, and with CUDA its libraries.
PROCESS_BYTES = {"cpu": 400 << 20, "cuda": 3 << 30}


@dataclass(frozen=True)
class PlannedJob:
    """Cells that will train together; `job` is set where they already belong to one.

    Attributes:
        cells: the members that were asked for.
        members: how many train, others included.
        steps_left: environment steps of each seed until the end.
        memory: what the algorithm estimates; None where the task's shapes cannot be had without starting its
            simulator.
        seconds: estimated from earlier runs; None where there is none.
    """

    cells: tuple[Cell, ...]
    members: int
    steps_left: int
    memory: Memory | None
    seconds: float | None
    job: Job | None = None


@dataclass(frozen=True)
class Shortage:
    """A job needs more bytes of something than there are."""

    of: str
    needed: int
    free: int

    def refusal(self, what: str, hint: str) -> UsageError | StoreError:
        """The error for a job that fits nowhere."""
        kind = StoreError if self.of == "disk" else UsageError
        return kind(
            f"the job {what} needs {words.size(self.needed)} of {self.of}; {words.size(self.free)} are free.",
            hint=hint,
        )


@dataclass(frozen=True)
class Machine:
    """What the jobs can have: slots, and bytes of memory and of the store's disk; `per_gpu` share a GPU."""

    devices: Devices
    slots: int
    memory: int
    disk: int
    per_gpu: int = 1

    @property
    def device_memory(self) -> int | None:
        """Bytes that a job has of the smallest GPU; None where there is none or it is not known."""
        known = [gpu.memory_bytes for gpu in self.devices.gpus if gpu.memory_bytes is not None]
        return min(known) // self.per_gpu if known else None

    def demand(self, memory: Memory | None) -> Demand:
        """Main memory and disk of a job; its tensors count where they are not on a GPU."""
        process = PROCESS_BYTES[self.devices.kind]
        if memory is None:
            return Demand(process, 0)
        resident = memory.resident if self.devices.kind == "cpu" else 0
        return Demand(process + resident, memory.disk)

    def shortage(self, memory: Memory) -> Shortage | None:
        """What a job lacks even when it runs alone."""
        demand = self.demand(memory)
        if demand.memory > self.memory:
            return Shortage("memory", demand.memory, self.memory)
        on_device = self.device_memory
        if on_device is not None and memory.resident > on_device:
            return Shortage("GPU memory", memory.resident, on_device)
        if demand.disk > self.disk:
            return Shortage("disk", demand.disk, self.disk)
        return None


@dataclass(frozen=True)
class Plan:
    """Which cells are in which state, and the jobs that will bring the rest to their end.

    Attributes:
        claims: what is to be claimed: cells, and the seeds per job where that is not the store's choice.
        steps, steps_left: environment steps of all seeds, and those still to be taken.
        extended: which cells go on from shorter ones, where that was asked for.
    """

    matrix: Matrix
    states: Mapping[str, CellState]
    jobs: tuple[PlannedJob, ...]
    claims: tuple[tuple[tuple[Cell, ...], int | None], ...]
    estimates: Estimates
    extended: Extended | None = None

    @property
    def machine(self) -> Machine:
        return self.estimates.machine

    @cached_property
    def counts(self) -> dict[str, int]:
        """Cells by what happens to them: done, to_resume, to_run, running (elsewhere), damaged."""
        resuming = {
            cell.id for job in self.jobs if job.job is not None and job.job.resumes for cell in job.cells
        }
        counts = dict.fromkeys(("done", "to_resume", "to_run", "running", "damaged"), 0)
        for cell_id, state in self.states.items():
            if state.state in (State.DONE, State.RUNNING, State.DAMAGED):
                counts[str(state.state)] += 1
            else:
                counts["to_resume" if cell_id in resuming else "to_run"] += 1
        return counts

    def demand(self, cell: Cell, job: Job) -> Demand:
        """What a job needs that such a cell belongs to."""
        return self.machine.demand(self.estimates.memory(cell, len(job.cells)))

    @property
    def failed_before(self) -> int:
        """Cells whose last attempt failed; they are among those to resume or to run."""
        return sum(state.state is State.FAILED for state in self.states.values())

    @property
    def done(self) -> int:
        return self.counts["done"]

    @cached_property
    def steps(self) -> int:
        return sum(cell.steps for cell in self.matrix.cells)

    @cached_property
    def steps_left(self) -> int:
        return sum(job.steps_left * len(job.cells) for job in self.jobs)

    @property
    def seconds(self) -> float | None:
        """Of the whole run; None where the time of some job is unknown."""
        return self.known_seconds if self.jobs_of_known_time == len(self.jobs) else None

    @property
    def jobs_of_known_time(self) -> int:
        return sum(job.seconds is not None for job in self.jobs)

    @property
    def known_seconds(self) -> float:
        """Time for the jobs that earlier runs say something about."""
        return makespan([job.seconds for job in self.jobs if job.seconds is not None], self.machine.slots)

    @property
    def memory(self) -> Memory | None:
        """The most that a job needs of each, as far as known."""
        from marlbench.algorithms.base import Memory

        known = [job.memory for job in self.jobs if job.memory is not None]
        if not known:
            return None
        return Memory(max(one.resident for one in known), max(one.disk for one in known))


def make_plan(
    matrix: Matrix,
    store: Store | None,
    machine: Machine,
    seeds_per_job: int | None = None,
    states: Mapping[str, CellState] | None = None,
    extended: Extended | None = None,
) -> Plan:
    """The plan for a matrix over a store (None: an empty one). Nothing is written.

    With `extended`, the matrix is the one in it.

    Raises:
        UsageError: a job that does not fit into memory even with one seed.
        StoreError: a job that does not fit on the disk, or a store that cannot be read.
    """
    if states is None:
        states = _states(matrix.cells, store)
    estimates = Estimates(store, machine)
    jobs: list[PlannedJob] = []
    new: list[Cell] = []
    held: list[Cell] = []
    for job, cells in _existing(matrix.cells, states, store):
        if job is None:
            new += cells
        else:
            held += cells
            jobs.append(_resumed(job, cells, estimates))
    claims = _claims([cell for cell in new if cell.source is None], machine.slots, seeds_per_job, estimates)
    for batch, seeds in claims:
        for part in divide(list(batch), machine.slots, seeds):
            memory, seconds = estimates.memory(part[0], len(part)), estimates.seconds(part[0], part[0].steps)
            jobs.append(PlannedJob(tuple(part), len(part), part[0].steps, memory, seconds))
    going_on = [cell for cell in new if cell.source is not None]
    if going_on:
        jobs += _continued(going_on, extended, estimates)
        claims.append((tuple(going_on), seeds_per_job))
    if held:
        claims.insert(0, (tuple(held), seeds_per_job))
    return Plan(matrix, states, tuple(jobs), tuple(claims), estimates, extended)


def makespan(seconds: Sequence[float], slots: int) -> float:
    """When the last of these jobs ends, if each starts as soon as one of `slots` slots is free."""
    free = [0.0] * max(1, slots)
    for one in seconds:
        heapq.heappush(free, heapq.heappop(free) + one)
    return max(free)


def most_rows(cell: Cell) -> int | None:
    """The most rows that one instance of the cell's environment should have; None for no limit."""
    from marlbench.plugins import load

    most: int | None = load("environments", cell.environment.partition(":")[0]).maximum_rows
    return most


class Estimates:
    """What jobs need and how long they take, asked once for each kind of job."""

    def __init__(self, store: Store | None, machine: Machine) -> None:
        self.store = store
        self.machine = machine
        self._specifications: dict[tuple[str, str], EnvironmentSpecification | None] = {}
        self._memory: dict[tuple[str, int], Memory | None] = {}
        self._speeds: dict[tuple[str, ...], float | None] = {}

    def seconds(self, cell: Cell, steps: int) -> float | None:
        """Time for steps of such a cell, by earlier runs on this kind of device; None without any."""
        if self.store is None:
            return None
        key = (cell.suite, cell.task, cell.backend, cell.algorithm, self.machine.devices.kind)
        if key not in self._speeds:
            self._speeds[key] = self.store.speed(*key)
        speed = self._speeds[key]
        return None if speed is None else steps / speed

    def memory(self, cell: Cell, seeds: int) -> Memory | None:
        """What a job of `seeds` such cells needs; None where the shapes of its task are not known."""
        key = (cell.group(), seeds)
        if key not in self._memory:
            self._memory[key] = self._ask(cell, seeds)
        return self._memory[key]

    def most_seeds(self, cell: Cell, seeds: int) -> int:
        """The largest number of such cells up to `seeds` that fit in one job.

        Whatever fits, no more rows than one instance of the environment should have: a row may be a game.

        Raises:
            UsageError, StoreError: not even one does.
        """
        rows = most_rows(cell)
        if rows is not None:
            seeds = max(1, min(seeds, rows // cell.rows))
        low, high = 0, seeds
        while low < high:
            middle = (low + high + 1) // 2
            if self.shortage(cell, middle) is None:
                low = middle
            else:
                high = middle - 1
        if low == 0 and (shortage := self.shortage(cell, 1)):
            raise shortage.refusal(
                words.names([cell]),
                "Make room, or give it fewer environment rows or smaller hyperparameters (--set).",
            )
        return low

    def shortage(self, cell: Cell, seeds: int) -> Shortage | None:
        """What a job of `seeds` such cells lacks, as far as its needs are known."""
        memory = self.memory(cell, seeds)
        return None if memory is None else self.machine.shortage(memory)

    def _ask(self, cell: Cell, seeds: int) -> Memory | None:
        from marlbench.plugins import load

        specification = self._specification(cell)
        if specification is None:
            return None
        algorithm = load("algorithms", cell.algorithm)
        hyperparameters = algorithm.Hyperparameters(**cell.hyperparameters)
        memory: Memory = algorithm.estimate_memory(specification, hyperparameters, cell.rows, seeds)
        return memory

    def _specification(self, cell: Cell) -> EnvironmentSpecification | None:
        import torch

        from marlbench.catalog.identity import canonical
        from marlbench.plugins import load

        key = (cell.environment, canonical(cell.parameters))
        if key not in self._specifications:
            self._specifications[key] = None
            environment = load("environments", cell.environment.partition(":")[0])
            # One row of a simulator of ours costs a millisecond; others may start processes, or a game.
            if environment.backend == "builtin":
                built = environment(environment.Parameters(**cell.parameters), 1, torch.device("cpu"))
                self._specifications[key] = built.specification
                built.close()
        return self._specifications[key]


def _states(cells: Sequence[Cell], store: Store | None) -> dict[str, CellState]:
    if store is None:
        return {cell.id: CellState(State.PLANNED, "not started yet") for cell in cells}
    return store.states([cell.id for cell in cells])


def _existing(
    cells: Sequence[Cell], states: Mapping[str, CellState], store: Store | None
) -> list[tuple[Job | None, list[Cell]]]:
    """Cells that are not done, by the job they belong to; under None those that belong to none yet."""
    by_job: dict[str | None, list[Cell]] = {}
    for cell in cells:
        state = states[cell.id]
        if state.state is not State.DONE:
            by_job.setdefault(state.job, []).append(cell)
    known = {} if store is None else {job.id: job for job in store.jobs(job for job in by_job if job)}
    return [(known.get(job_id) if job_id else None, members) for job_id, members in by_job.items()]


def _resumed(job: Job, cells: Sequence[Cell], estimates: Estimates) -> PlannedJob:
    members = len(job.cells)
    if not job.running and (shortage := estimates.shortage(cells[0], members)):
        raise shortage.refusal(
            f"{words.names(cells)} ({job.id})",
            "Its seeds train together because it was begun so. Make room, or use another --results.",
        )
    assert estimates.store is not None
    progress = (estimates.store.progress(job.id) or {}) if job.resumes or job.running else {}
    taken, total = progress.get("steps"), progress.get("total_steps")
    left = cells[0].steps
    if isinstance(taken, int) and isinstance(total, int) and 0 <= taken <= total:
        left = total - taken
    memory, seconds = estimates.memory(cells[0], members), estimates.seconds(cells[0], left)
    return PlannedJob(tuple(cells), members, left, memory, seconds, job)


def _continued(cells: Sequence[Cell], extended: Extended | None, estimates: Estimates) -> list[PlannedJob]:
    """New jobs of cells that go on from others; who trains together is as it was for those."""
    assert estimates.store is not None
    taken = {one.cell.id: one.source.steps for one in extended.continued} if extended is not None else {}
    asked = {cell.id for cell in cells}
    jobs = []
    for part in continuations(estimates.store.root, cells):
        here = tuple(cell for cell in part if cell.id in asked)
        if shortage := estimates.shortage(here[0], len(part)):
            raise shortage.refusal(
                words.names(here),
                "Its seeds train together because those of its source did. Make room, or leave --extend out.",
            )
        left = here[0].steps - taken.get(here[0].id, 0)
        memory, seconds = estimates.memory(here[0], len(part)), estimates.seconds(here[0], left)
        jobs.append(PlannedJob(here, len(part), left, memory, seconds))
    return jobs


def _claims(
    cells: Sequence[Cell], slots: int, seeds_per_job: int | None, estimates: Estimates
) -> list[tuple[tuple[Cell, ...], int | None]]:
    """New cells by how many seeds may share a job: what was asked for, less where it does not fit."""
    largest: dict[str, int] = {}
    for part in divide(list(cells), slots, seeds_per_job):
        group = part[0].group()
        largest[group] = max(largest.get(group, 0), len(part))
    limits: dict[str, int | None] = {}
    batches: dict[int | None, list[Cell]] = {}
    for cell in cells:
        group = cell.group()
        if group not in limits:
            most = estimates.most_seeds(cell, largest[group])
            limits[group] = seeds_per_job if most == largest[group] else most
        batches.setdefault(limits[group], []).append(cell)
    return [(tuple(batch), limit) for limit, batch in batches.items()]
