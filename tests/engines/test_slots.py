from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from marlbench.engines.devices import Devices, Gpu
from marlbench.engines.local import LocalEngine
from marlbench.engines.slots import CpuSlots, GpuSlots, Slot, lock_folder, make_slots
from marlbench.errors import UsageError

GPUS = (Gpu("0", "uuid-a"), Gpu("1", "uuid-b"))


def taken(slots: GpuSlots) -> Slot:
    slot = slots.acquire()
    assert slot is not None
    return slot


def test_a_cpu_slot_confines_a_job_to_one_thread_and_no_gpu() -> None:
    slot = CpuSlots(3).acquire()
    assert slot is not None
    assert slot.device == "cpu"
    assert slot.environment["OMP_NUM_THREADS"] == slot.environment["MKL_NUM_THREADS"] == "1"
    assert slot.environment["CUDA_VISIBLE_DEVICES"] == ""
    slot.release()


def test_each_gpu_is_given_once(tmp_path: Path) -> None:
    slots = GpuSlots(GPUS, 2, tmp_path)
    first, second = taken(slots), taken(slots)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in (first, second)] == ["0", "1"]
    assert slots.acquire() is None
    first.release()
    first.release()
    assert taken(slots).environment["CUDA_VISIBLE_DEVICES"] == "0"


def test_two_pools_share_a_gpu_under_different_names(tmp_path: Path) -> None:
    mine, theirs = GpuSlots(GPUS, 2, tmp_path), GpuSlots((Gpu("GPU-uuid-b", "uuid-b"),), 1, tmp_path)
    slot = taken(theirs)
    assert taken(mine).environment["CUDA_VISIBLE_DEVICES"] == "0"
    assert mine.acquire() is None
    slot.release()
    assert taken(mine).environment["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_gpu_stays_taken_while_the_job_lives_though_its_scheduler_is_gone(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from marlbench.engines.devices import Gpu\n"
        "from marlbench.engines.local import LocalEngine\n"
        "from marlbench.engines.slots import GpuSlots\n"
        f"slot = GpuSlots([Gpu('0', 'uuid-a')], 1, pathlib.Path({str(tmp_path)!r})).acquire()\n"
        "job = LocalEngine().start([sys.executable, '-c', 'import time; time.sleep(60)'], os.environ,\n"
        "    pathlib.Path('.'), inherit=slot.descriptors)\n"
        "print(job.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    job = int(parent.stdout)
    slots = GpuSlots(GPUS[:1], 1, tmp_path)
    try:
        assert slots.acquire() is None
    finally:
        os.kill(job, 9)
    deadline = time.monotonic() + 20
    while (slot := slots.acquire()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    slot.release()


def test_a_release_frees_the_gpu_though_a_copy_of_the_descriptor_is_open(tmp_path: Path) -> None:
    slots = GpuSlots(GPUS[:1], 1, tmp_path)
    slot = taken(slots)
    assert len(slot.descriptors) == 1
    engine = LocalEngine()
    stray = engine.start(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        os.environ,
        tmp_path,
        inherit=slot.descriptors,
    )
    slot.release()
    assert slots.acquire() is not None
    stray.kill()
    while stray.poll() is None:
        time.sleep(0.02)
    engine.close()


def test_a_lock_file_that_a_cleaner_took_is_made_anew(tmp_path: Path) -> None:
    slots = GpuSlots(GPUS[:1], 1, tmp_path)
    taken(slots).release()
    (lock,) = tmp_path.iterdir()
    lock.unlink()
    slot = taken(slots)
    with (tmp_path / lock.name).open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    slot.release()


def test_no_key_leaves_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    folder.mkdir()
    slots = GpuSlots([Gpu("MIG-GPU-1/1/2", "MIG-GPU-1/1/2"), Gpu("x", "../MIG-GPU-1_1_2")], 2, folder)
    first, second = taken(slots), taken(slots)
    assert len(list(folder.iterdir())) == 2
    assert list(tmp_path.iterdir()) == [folder]
    first.release()
    second.release()


def test_the_lock_folder_is_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = lock_folder()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert lock_folder() == folder
    folder.chmod(0o755)
    with pytest.raises(UsageError, match="0700"):
        lock_folder()
    folder.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)
    with pytest.raises(UsageError, match="0700"):
        lock_folder()


def test_one_slot_for_each_gpu_and_never_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert make_slots(Devices("cuda", GPUS), None).count == 2
    assert make_slots(Devices("cuda", GPUS), 1).count == 1
    assert make_slots(Devices("cuda", GPUS), 9).count == 2


def test_one_slot_for_each_usable_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marlbench.engines.slots.usable_cores", lambda: 6)
    assert make_slots(Devices("cpu"), None).count == 6
    assert make_slots(Devices("cpu"), None, threads=4).count == 1
    assert make_slots(Devices("cpu"), 40).count == 40
