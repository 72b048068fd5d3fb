"""What a queue is: a system that starts jobs when and where it likes, and goes on when we are gone.

A job is submitted under a ticket that is written into the store first. So whatever dies in between, the next command
finds the job again: by its ticket in the store, and by the ticket's name in the queue.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import ClassVar

GIBIBYTE = 1 << 30


@dataclass(frozen=True)
class Ticket:
    """The place of a job in a queue: what its batch is called there, and its number in the batch."""

    batch: str
    index: int


class Standing(StrEnum):
    """What a queue does with a job that has not ended."""

    WAITING = "waiting"
    RUNNING = "running"


@dataclass(frozen=True, order=True)
class Resources:
    """What one job is given: whole GPUs, cores, and GiB of main memory."""

    gpus: int
    cpus: int
    memory: int

    @classmethod
    def of(cls, gpus: int, cpus: int, memory_bytes: int) -> Resources:
        """Memory is rounded up, so that jobs that are nearly alike have the same shape."""
        return cls(gpus, cpus, max(1, math.ceil(memory_bytes / GIBIBYTE)))


@dataclass(frozen=True)
class Order:
    """A job to be started: its process, where it runs, and what it is given.

    Attributes:
        environment: variables that are added to those of the machine that runs it.
        directory: the job's in the store, which every machine sees under this path.
    """

    job: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    directory: Path
    resources: Resources


class Queue(ABC):
    """One queue, as a profile describes it.

    Attributes:
        name: of the engine, for the record.
        gpus, cpus, memory: of each job; `memory` in bytes, None where it is estimated.
        at_once: how many jobs may run at the same time.
    """

    name: ClassVar[str]
    gpus: int
    cpus: int
    memory: int | None
    at_once: int

    @property
    @abstractmethod
    def largest(self) -> int:
        """The most jobs of one batch."""

    @abstractmethod
    def __init__(self, profile: str | None) -> None:
        """Read the profile of this name from `marlbench.toml`; None: the one called `default`, if there is one.

        Raises:
            ConfigurationError: the profile is not there or has an error, or a package or program is missing.
        """

    @abstractmethod
    def submit(self, batch: str, folder: Path, orders: Sequence[Order]) -> None:
        """Submit jobs of one shape; the ticket of each is the batch and its place among them.

        Args:
            folder: a directory of the store for whatever the queue keeps of the batch.

        Raises:
            ConfigurationError: the queue refuses them; none is submitted.
        """

    @abstractmethod
    def standing(self) -> dict[Ticket, Standing] | None:
        """The jobs of this user that wait or run, whoever submitted them; None where the queue does not answer."""

    @abstractmethod
    def cancel(self, tickets: Iterable[Ticket]) -> None:
        """End jobs, or never start them. Those that have ended are left alone.

        Raises:
            ConfigurationError: the queue does not answer.
        """


def batches(orders: Sequence[Order], largest: int) -> list[list[Order]]:
    """Orders by shape, in parts of at most `largest`."""
    found = []
    for _, same in groupby(sorted(orders, key=lambda order: order.resources), lambda order: order.resources):
        members = list(same)
        found += [members[start : start + largest] for start in range(0, len(members), largest)]
    return found
