"""How a result came about: machine, versions, cost. None of it is part of the outcome."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

import marlbench

if TYPE_CHECKING:
    import torch


def versions() -> dict[str, str]:
    """Versions of Python and of every package that this process has imported."""
    found = {"python": platform.python_version()}
    for name, module in sorted(sys.modules.items()):
        if "." in name or name.startswith("_") or name in sys.stdlib_module_names:
            continue
        with contextlib.suppress(Exception):
            version = module.__version__
            if isinstance(version, str) and len(version) < 100:
                found[name] = version
    return found


@functools.cache
def git_sha() -> str | None:
    """The commit of the repository that marlbench runs from, "-dirty" if changed since; None elsewhere."""
    root = Path(marlbench.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def device_name(device: torch.device) -> str:
    """The model of the processor or GPU."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def cpu_seconds() -> float:
    """Processor time of this process and its children so far, living and reaped."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process()
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
        for child in _descendants(os.getpid()):
            with contextlib.suppress(psutil.Error):
                times = psutil.Process(child).cpu_times()
                total += times.user + times.system
    return total


def _descendants(pid: int) -> list[int]:
    # Where the kernel lists children, this takes microseconds; psutil reads every process of the machine.
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            children += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    except OSError:
        return [] if Path("/proc/self/task").is_dir() else [c.pid for c in psutil.Process(pid).children(True)]
    return children + [grandchild for child in children for grandchild in _descendants(child)]


def peak_memory_bytes() -> int:
    """The most memory that this process has had resident."""
    # ru_maxrss would do, but Linux hands it down from the parent through fork and exec.
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def keep_freed_memory() -> None:
    """Let glibc keep what tensors free instead of giving it back to the system.

    Activations of a few megabytes are made and freed at every update; mapped afresh, each of their pages costs a
    fault (7 to 13 % of the CPU time of IPPO, measured). Other C libraries are left as they are.
    """
    trim_threshold, mmap_threshold, limit = -1, -3, 1 << 30
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, limit)
        mallopt(trim_threshold, limit)


def prepare_torch(device: torch.device, threads: int) -> None:
    """Make the same job give the same bits on a CPU, whatever else the machine does."""
    import torch

    keep_freed_memory()
    torch.set_num_threads(threads)
    with contextlib.suppress(RuntimeError):
        torch.set_num_interop_threads(1)
    torch.backends.cudnn.benchmark = False
    if device.type == "cpu" and threads > 1:
        # One thread always adds in the same order. `use_deterministic_algorithms` would do the same as this,
        # after importing torch's compiler for two seconds.
        torch.set_deterministic_debug_mode("warn")
        # Nothing here reads memory before it writes it, so filling it first is time lost.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
