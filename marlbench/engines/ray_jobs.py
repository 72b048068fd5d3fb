"""Jobs in a Ray cluster, each handed over as by `ray job submit`: Ray starts its command where there is room.

The ticket is the submission id, so a job is found again by asking the cluster for it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from marlbench.engines import queued_task
from marlbench.engines.profiles import Profile, Size, read_profile
from marlbench.engines.queues import GIBIBYTE, Order, Queue, Standing, Ticket
from marlbench.errors import ConfigurationError

_PREFIX = "marlbench-"
_DEFAULT = "http://127.0.0.1:8265"
_STANDING = {"PENDING": Standing.WAITING, "RUNNING": Standing.RUNNING}


class RayProfile(Profile):
    """A table `[ray.NAME]` of marlbench.toml."""

    address: str | None = Field(
        None, description=f"of the head's dashboard; without it RAY_API_SERVER_ADDRESS, else {_DEFAULT}"
    )
    gpus: int = Field(0, ge=0, description="of each job; with one or more, jobs run on `cuda`")
    cpus: int = Field(1, ge=1, description="cores of each job")
    memory: Size | None = Field(
        None, description="of each job; by what it is estimated to need, in GiB, without it"
    )
    at_once: int = Field(64, ge=1, description="into how many jobs the seeds of a matrix are divided at most")


class RayQueue(Queue):
    """Jobs in a Ray cluster, by the profiles `[ray.NAME]` of marlbench.toml; needs the extra `ray`."""

    name: ClassVar[str] = "ray"
    largest = 1000

    def __init__(self, profile: str | None) -> None:
        self._profile = read_profile(RayProfile, self.name, profile)
        self.gpus, self.cpus = self._profile.gpus, self._profile.cpus
        self.memory, self.at_once = self._profile.memory, self._profile.at_once
        self._address = self._profile.address or os.environ.get("RAY_API_SERVER_ADDRESS") or _DEFAULT
        self._make_client = _client_class()
        self._client: Any = None

    def submit(self, batch: str, folder: Path, orders: Sequence[Order]) -> None:
        submitted: list[Ticket] = []
        for index, order in enumerate(orders):
            ticket = Ticket(batch, index)
            try:
                self._connected().submit_job(
                    entrypoint=shlex.join(_command(order)),
                    submission_id=_id(ticket),
                    runtime_env={"env_vars": dict(order.environment)},
                    entrypoint_num_cpus=order.resources.cpus,
                    entrypoint_num_gpus=order.resources.gpus or None,
                    entrypoint_memory=order.resources.memory * GIBIBYTE,
                )
            except Exception as error:
                # Of jobs of one shape none is taken, or all are; what was taken before the head went away must go.
                self._stop(submitted)
                raise ConfigurationError(
                    f"Ray at {self._address} does not take the jobs: {_first_line(error)}",
                    "`ray job list` with the same address shows whether it answers.",
                ) from None
            submitted.append(ticket)

    def standing(self) -> dict[Ticket, Standing] | None:
        try:
            jobs = self._connected().list_jobs()
        except Exception:
            # requests, urllib3 and Ray have a dozen exceptions that all mean that there is no answer.
            self._client = None
            return None
        found = {}
        for job in jobs:
            batch, dash, index = (job.submission_id or "").removeprefix(_PREFIX).rpartition("-")
            if not (job.submission_id or "").startswith(_PREFIX) or not dash or not index.isdecimal():
                continue
            standing = _STANDING.get(str(getattr(job.status, "value", job.status)))
            if standing is not None:
                found[Ticket(batch, int(index))] = standing
        return found

    def cancel(self, tickets: Iterable[Ticket]) -> None:
        standing = self.standing()
        if standing is None:
            raise ConfigurationError(
                f"Ray at {self._address} does not answer.", "Give the same command again when it does."
            )
        self._stop(ticket for ticket in tickets if ticket in standing)

    def _stop(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            try:
                self._connected().stop_job(_id(ticket))
            except Exception:
                # It has ended, or the head is away; who looks for it will see.
                self._client = None

    def _connected(self) -> Any:
        if self._client is None:
            self._client = self._make_client(self._address)
        return self._client


def _command(order: Order) -> list[str]:
    """The process on the machine that Ray chooses: it starts the job, and starts it again where it was killed."""
    task = [sys.executable, "-P", "-m", queued_task.__name__, str(order.directory), *order.argv]
    return ["env", "-C", str(order.cwd), *task]


def _id(ticket: Ticket) -> str:
    return f"{_PREFIX}{ticket.batch}-{ticket.index}"


def _client_class() -> Any:
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise ConfigurationError(
            f"--engine ray needs Ray, which does not import: {error}.",
            'Install it with: pip install "marlbench[ray]"',
        ) from error
    return JobSubmissionClient


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
