"""Where a job may run: a share of the cores, or a place on a GPU that no other job of this user has here."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from marlbench.engines.devices import VISIBLE, Devices, Gpu
from marlbench.engines.machine import usable_cores
from marlbench.errors import UsageError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Slot:
    """One job's place.

    Attributes:
        device: `cpu` or `cuda`, as the job sees it.
        environment: variables that confine the job to it.
        descriptors: of the locks that the job must inherit.
        title: for people.
    """

    def __init__(
        self, device: str, environment: dict[str, str], descriptors: Sequence[int] = (), title: str = ""
    ) -> None:
        self.device = device
        self.environment = environment
        self.descriptors = tuple(descriptors)
        self.title = title or device

    def release(self) -> None:
        """Free the place, also for other runs. Called when the job and all its processes are gone."""
        for descriptor in self.descriptors:
            # The job's copy shares the lock, so unlocking ends it even where a stray process still holds a copy.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)
        self.descriptors = ()


class Slots(Protocol):
    """A pool of places. `count` is how many jobs it can hold at once."""

    count: int

    def acquire(self) -> Slot | None:
        """A free place, or None while there is none."""


class CpuSlots:
    """`count` jobs at once, each with `threads` threads and no GPU."""

    def __init__(self, count: int, threads: int = 1) -> None:
        self.count = count
        self._environment = {**dict.fromkeys(THREAD_VARIABLES, str(threads)), VISIBLE: ""}

    def acquire(self) -> Slot | None:
        return Slot("cpu", dict(self._environment))


class GpuSlots:
    """`per_gpu` jobs on each GPU, and at most `count` at once.

    A GPU is taken by a flock on a file that all runs of this user on this machine share: an exclusive one, or a
    shared one and an exclusive one on the file of a place where several jobs have room. The job inherits the
    descriptors, so the GPU stays taken as long as the job lives, even when its scheduler is gone. The GPU with the
    fewest jobs of this run is asked first.
    """

    def __init__(self, gpus: Sequence[Gpu], count: int, folder: Path | None = None, per_gpu: int = 1) -> None:
        self.count = min(count, per_gpu * len(gpus))
        self._gpus = tuple(gpus)
        self._per_gpu = per_gpu
        self._given: list[tuple[Gpu, Slot]] = []
        self._folder = lock_folder() if folder is None else folder

    def acquire(self) -> Slot | None:
        self._given = [(gpu, slot) for gpu, slot in self._given if slot.descriptors]
        for gpu in sorted(self._gpus, key=self._jobs_on):
            if descriptors := self._take(gpu):
                title = f"cuda:{gpu.name}" + (f" ({gpu.title})" if gpu.title else "")
                slot = Slot("cuda", {VISIBLE: gpu.name}, descriptors, title)
                self._given.append((gpu, slot))
                return slot
        return None

    def _jobs_on(self, gpu: Gpu) -> int:
        return sum(other == gpu for other, _ in self._given)

    def _take(self, gpu: Gpu) -> tuple[int, ...]:
        """Descriptors of the locks of a place on a GPU; none where there is no room."""
        name = f"gpu-{_file_name(gpu.key)}"
        alone = self._per_gpu == 1
        whole = _try_lock(self._folder / f"{name}.lock", fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if whole is None:
            return ()
        if alone:
            return (whole,)
        for place in range(self._per_gpu):
            descriptor = _try_lock(self._folder / f"{name}.place-{place}.lock")
            if descriptor is not None:
                return (whole, descriptor)
        os.close(whole)
        return ()


def slot_count(devices: Devices, jobs: int | None, threads: int = 1, per_gpu: int = 1) -> int:
    """How many jobs run at once when `jobs` are asked for: never more than GPUs have room, where there are GPUs.

    None: `per_gpu` for each GPU, or one for each core that can be used.
    """
    if devices.kind == "cuda":
        room = per_gpu * len(devices.gpus)
        return min(room, jobs or room)
    return jobs or max(1, usable_cores() // threads)


def make_slots(devices: Devices, jobs: int | None, threads: int = 1, per_gpu: int = 1) -> Slots:
    """The places for as many jobs at once as `slot_count` says."""
    count = slot_count(devices, jobs, threads, per_gpu)
    return (
        GpuSlots(devices.gpus, count, per_gpu=per_gpu) if devices.kind == "cuda" else CpuSlots(count, threads)
    )


def lock_folder() -> Path:
    """This user's folder for locks of this machine: made with mode 0700, refused where it is someone else's.

    Raises:
        UsageError: it exists and is not a folder that only this user can write.
    """
    folder = Path(tempfile.gettempdir()) / f"marlbench-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    if not private:
        raise UsageError(
            f"{folder} must be a folder of yours with mode 0700: GPUs are shared between runs through it.",
            hint="Remove it, or point TMPDIR at a folder of yours.",
        )
    return folder


def _try_lock(path: Path, kind: int = fcntl.LOCK_EX) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        # Cleaners of the temporary folder take a file by its age; one that is gone guards nothing.
        os.utime(descriptor)
        if os.fstat(descriptor).st_nlink == 0:
            raise BlockingIOError
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _file_name(key: str) -> str:
    """A GPU's key as a file name: letters that need no care, and a hash where any had to go."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", key)
    return plain if plain == key else f"{plain}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
