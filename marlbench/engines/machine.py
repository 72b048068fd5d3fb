"""What this process may use of the machine: cores, memory, disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(cgroups: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Cores that this process may keep busy: its affinity, and the quota of its cgroups; 1 or more."""
    cores = (
        float(len(os.sched_getaffinity(0)))
        if hasattr(os, "sched_getaffinity")
        else float(os.cpu_count() or 1)
    )
    for folder in _cgroup_folders(cgroups, membership, "cpu"):
        # Version 2 writes "quota period" or "max period", version 1 has a file for each and -1 for none.
        if (quota := _numbers(folder / "cpu.max")) is not None and len(quota) == 2:
            cores = min(cores, quota[0] / quota[1])
        quota = _numbers(folder / "cpu.cfs_quota_us")
        period = _numbers(folder / "cpu.cfs_period_us")
        if quota and period and quota[0] > 0:
            cores = min(cores, quota[0] / period[0])
    return max(1, int(cores))


def free_memory(cgroups: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that processes started now can have: what the machine has free and its cgroups leave."""
    free = psutil.virtual_memory().available
    for folder in _cgroup_folders(cgroups, membership, "memory"):
        for limit_name, usage_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, usage = _numbers(folder / limit_name), _numbers(folder / usage_name)
            if limit and usage:
                free = min(free, int(limit[0] - usage[0]) + _reclaimable(folder))
    return max(0, free)


def free_disk(path: Path) -> int:
    """Bytes free for this user where `path` is or would be made."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def _cgroup_folders(root: Path, membership: Path, controller: str) -> list[Path]:
    """The folders of this process's cgroup and of those above it, version 2 and version 1."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    folders: list[Path] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            base = root
        elif controller in controllers.split(","):
            base = root / controller
        else:
            continue
        # In a container the path may be the host's; the mount's root then stands for our own group.
        folder = base / path.lstrip("/")
        while folder != base:
            folders.append(folder)
            folder = folder.parent
        folders.append(base)
    return folders


def _numbers(path: Path) -> list[float] | None:
    try:
        return [float(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return None


def _reclaimable(folder: Path) -> int:
    """Page cache counts as used in a cgroup, and is given up as soon as someone needs it."""
    try:
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    except (OSError, ValueError):
        pass
    return 0
