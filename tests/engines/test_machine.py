from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from marlbench.engines.machine import free_disk, free_memory, usable_cores

GIB = 1 << 30


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    (tmp_path / "cgroups").mkdir()
    return tmp_path / "cgroups"


def membership(cgroups: Path, text: str) -> Path:
    write(cgroups.parent / "membership", text)
    return cgroups.parent / "membership"


def test_cores_are_those_of_the_affinity(cgroups: Path) -> None:
    assert usable_cores(cgroups, membership(cgroups, "0::/a/b\n")) == 8
    assert usable_cores(cgroups, cgroups / "missing") == 8


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("250000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("3200000 100000", 8), ("", 8)],
)
def test_a_quota_of_version_2_counts(cgroups: Path, quota: str, cores: int) -> None:
    write(cgroups / "a/cpu.max", quota + "\n")
    assert usable_cores(cgroups, membership(cgroups, "0::/a/b\n")) == cores


def test_the_tightest_quota_above_counts(cgroups: Path) -> None:
    write(cgroups / "a/cpu.max", "200000 100000")
    write(cgroups / "a/b/cpu.max", "600000 100000")
    assert usable_cores(cgroups, membership(cgroups, "0::/a/b\n")) == 2


def test_in_a_container_the_mount_is_our_own_group(cgroups: Path) -> None:
    write(cgroups / "cpu.max", "300000 100000")
    assert usable_cores(cgroups, membership(cgroups, "0::/docker/of/the/host\n")) == 3


@pytest.mark.parametrize(("quota", "cores"), [("400000", 4), ("-1", 8)])
def test_a_quota_of_version_1_counts(cgroups: Path, quota: str, cores: int) -> None:
    write(cgroups / "cpu,cpuacct/x", "")
    write(cgroups / "cpu/job/cpu.cfs_quota_us", quota)
    write(cgroups / "cpu/job/cpu.cfs_period_us", "100000")
    assert usable_cores(cgroups, membership(cgroups, "5:cpuacct,cpu:/job\n4:memory:/job\n")) == cores


def test_memory_is_what_the_cgroup_leaves(cgroups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    available = psutil.virtual_memory()._replace(available=64 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: available)
    of_ours = membership(cgroups, "0::/a\n")
    assert free_memory(cgroups, of_ours) == 64 * GIB
    write(cgroups / "a/memory.max", str(8 * GIB))
    write(cgroups / "a/memory.current", str(5 * GIB))
    assert free_memory(cgroups, of_ours) == 3 * GIB
    write(cgroups / "a/memory.stat", f"anon 1\ninactive_file {2 * GIB}\n")
    assert free_memory(cgroups, of_ours) == 5 * GIB
    write(cgroups / "a/memory.max", "max")
    assert free_memory(cgroups, of_ours) == 64 * GIB


def test_disk_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    free = free_disk(tmp_path / "not" / "yet" / "made")
    assert abs(free - free_disk(tmp_path)) < GIB
    assert free > 0
    assert not (tmp_path / "not").exists()
