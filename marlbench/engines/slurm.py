"""Jobs in a Slurm cluster, submitted through submitit as one array for each shape of job.

Only `squeue`, `scancel` and `scontrol` are asked, never accounting: submitit learns the end of a job from `sacct`,
which many clusters do not have. Jobs are found again by the name of their array, which is written into the store
before it is submitted.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from marlbench.engines.profiles import Duration, Profile, Size, read_profile
from marlbench.engines.queued_task import Task
from marlbench.engines.queues import GIBIBYTE, Order, Queue, Standing, Ticket
from marlbench.errors import ConfigurationError

_PREFIX = "marlbench-"
_ASK_SECONDS = 60.0
# States in which Slurm still means to run a job or is ending it (squeue(1), JOB STATE CODES).
_WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_RUNNING = {
    "RUNNING",
    "CONFIGURING",
    "COMPLETING",
    "SUSPENDED",
    "STOPPED",
    "RESIZING",
    "SIGNALING",
    "STAGE_OUT",
}
# Checkpoints are what counts: as long as a job gets further, it may be queued again.
_TIMEOUTS = 100_000


class SlurmProfile(Profile):
    """A table `[slurm.NAME]` of marlbench.toml."""

    partition: str | None = Field(None, description="where the jobs run; the cluster's default without it")
    account: str | None = Field(None, description="who pays")
    qos: str | None = Field(None, description="quality of service")
    constraint: str | None = Field(None, description="features that the nodes must have")
    exclude: str | None = Field(None, description="nodes that are not used")
    time: Duration = Field(4 * 3600, description="limit of one stretch of a job; it goes on in the next")
    checkpoint_before: Duration = Field(
        90, description="how long before the limit a job writes its checkpoint and is queued again"
    )
    gpus: int = Field(0, ge=0, description="of each job; with one or more, jobs run on `cuda`")
    cpus: int = Field(1, ge=1, description="cores of each job")
    memory: Size | None = Field(
        None, description="of each job; by what it is estimated to need, in GiB, without it"
    )
    at_once: int = Field(64, ge=1, description="jobs that may run at the same time")
    setup: tuple[str, ...] = Field(
        (), description="lines of shell before the job, such as `module load cuda`"
    )
    srun: bool = Field(True, description="whether the job is started by `srun` inside its allocation")
    options: dict[str, str | int | bool] = Field({}, description="further options of `sbatch` by long name")


class SlurmTask(Task):
    """A job as submitit runs it, and asks it for what is to be queued again."""

    def checkpoint(self) -> Any:
        """What goes on where this leaves off; None where queueing it again would change nothing."""
        from submitit.helpers import DelayedSubmission

        if not self.rest():
            return None
        again = SlurmTask.__new__(SlurmTask)
        again.__dict__ = self.__dict__ | {"_process": None, "_told": False, "_began": None}
        return DelayedSubmission(again)


class SlurmQueue(Queue):
    """Jobs in a Slurm cluster, by the profiles `[slurm.NAME]` of marlbench.toml; needs the extra `slurm`."""

    name: ClassVar[str] = "slurm"

    def __init__(self, profile: str | None) -> None:
        self._profile = read_profile(SlurmProfile, self.name, profile)
        self._submitit = _submitit()
        self.gpus, self.cpus = self._profile.gpus, self._profile.cpus
        self.memory, self.at_once = self._profile.memory, self._profile.at_once
        if self._profile.checkpoint_before >= self._profile.time:
            raise ConfigurationError(
                f"[slurm.{profile or 'default'}] checkpoint_before must be shorter than time.",
                "A job needs some time to get any further before it writes its checkpoint.",
            )

    @property
    def largest(self) -> int:
        """The most jobs that the cluster takes in one array."""
        configuration = _ask("scontrol", "show", "config")
        match = re.search(r"^MaxArraySize\s*=\s*(\d+)", configuration or "", re.MULTILINE)
        return max(1, int(match[1]) - 1) if match else 1000

    def submit(self, batch: str, folder: Path, orders: Sequence[Order]) -> None:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        python = shlex.join([sys.executable, "-P"])
        executor = self._submitit.SlurmExecutor(folder=folder, max_num_timeout=_TIMEOUTS, python=python)
        executor.update_parameters(**self._parameters(batch, orders[0]))
        try:
            with _without_slurm(), executor.batch():
                for order in orders:
                    executor.submit(SlurmTask(order))
        except (subprocess.CalledProcessError, FailedJobError, FailedSubmissionError, OSError) as error:
            raise ConfigurationError(
                f"Slurm does not take the jobs: {_last_line(error)}",
                "Check the profile in marlbench.toml against `sinfo` and `sacctmgr show associations`.",
            ) from None

    def standing(self) -> dict[Ticket, Standing] | None:
        listed = self._listed()
        return None if listed is None else {ticket: standing for ticket, (_, standing) in listed.items()}

    def cancel(self, tickets: Iterable[Ticket]) -> None:
        listed = self._listed()
        if listed is None:
            raise ConfigurationError("Slurm does not answer.", "Give the same command again when it does.")
        ids = [listed[ticket][0] for ticket in tickets if ticket in listed]
        for start in range(0, len(ids), 500):
            _ask("scancel", *ids[start : start + 500])

    def _parameters(self, batch: str, order: Order) -> dict[str, Any]:
        profile = self._profile
        known = profile.model_dump(include={"partition", "account", "qos", "constraint", "exclude"})
        parameters: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
        if order.resources.gpus:
            parameters["gpus_per_node"] = order.resources.gpus
        return parameters | {
            "job_name": _PREFIX + batch,
            "time": math.ceil(profile.time / 60),
            "nodes": 1,
            "ntasks_per_node": 1,
            "cpus_per_task": order.resources.cpus,
            "mem": f"{order.resources.memory * GIBIBYTE >> 20}M",
            "array_parallelism": profile.at_once,
            "signal_delay_s": profile.checkpoint_before,
            "stderr_to_stdout": True,
            # The shell must outlive a SIGTERM: when it ends, Slurm kills what it started.
            "setup": ["trap : TERM", *profile.setup],
            "use_srun": profile.srun,
            "wckey": None,
            "additional_parameters": {"requeue": True, **profile.options},
        }

    def _listed(self) -> dict[Ticket, tuple[str, Standing]] | None:
        """Jobs that have not ended, with their numbers in Slurm."""
        answer = _ask(
            *(
                "squeue",
                "--noheader",
                "--array",
                "--states=all",
                f"--user={os.getuid()}",
                "--format=%j|%K|%i|%T",
            )
        )
        if answer is None:
            return None
        found = {}
        for line in answer.splitlines():
            name, _, rest = line.strip().partition("|")
            index, _, rest = rest.partition("|")
            number, _, state = rest.partition("|")
            if not name.startswith(_PREFIX) or state not in _WAITING | _RUNNING:
                continue
            ticket = Ticket(name.removeprefix(_PREFIX), int(index) if index.isdecimal() else 0)
            found[ticket] = (number, Standing.RUNNING if state in _RUNNING else Standing.WAITING)
        return found


@contextlib.contextmanager
def _without_slurm() -> Iterator[None]:
    """A run inside a Slurm job must not hand that job's shape on to those it submits."""
    own = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("SLURM_", "SBATCH_")) and name != "SLURM_CONF"
    }
    for name in own:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(own)


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ConfigurationError(
            f"--engine slurm needs submitit, which does not import: {error}.",
            'Install it with: pip install "marlbench[slurm]"',
        ) from error
    from submitit.slurm import slurm

    if slurm.SlurmExecutor.affinity() < 0:
        raise ConfigurationError(
            "--engine slurm: there is no `srun` here.", "Give the command on a login node of the cluster."
        )
    return submitit


def _ask(*argv: str) -> str | None:
    """What a program of Slurm answers; None where it fails or takes too long."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ASK_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "error:" in line]
    return (told or lines or [type(error).__name__])[-1]
