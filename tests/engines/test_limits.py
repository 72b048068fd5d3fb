from __future__ import annotations

import fcntl
import time
from pathlib import Path

import pytest

from marlbench.engines.devices import Gpu
from marlbench.engines.limits import Limits
from marlbench.engines.local import LocalProcess
from marlbench.engines.slots import GpuSlots
from marlbench.store.states import Failure

from .fakes import FakeStore, Run

GPUS = (Gpu("0", "uuid-a"), Gpu("1", "uuid-b"))


def test_a_job_over_its_time_may_write_a_checkpoint_and_is_not_tried_again(
    store: FakeStore, run: Run
) -> None:
    report, witness = run([store.job("a", "sleep")], limits=Limits(seconds=1.0))
    assert [(failure.kind, failure.reason[:15]) for failure in report.failures] == [
        ("timeout", "it ran longer t")
    ]
    assert witness.words("a") == ["started", "failed"]
    assert store.starts("a") == 1


def test_a_job_that_does_not_leave_is_killed(store: FakeStore, run: Run) -> None:
    report, _ = run([store.job("a", "stubborn")], limits=Limits(seconds=0.5), grace=1.0)
    assert [failure.kind for failure in report.failures] == ["timeout"]


def test_a_job_over_its_memory_is_killed_and_not_tried_again(
    store: FakeStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalProcess, "memory", lambda self: 100 << 20)
    report, witness = run([store.job("a", "sleep")], limits=Limits(memory=50 << 20))
    assert [failure.kind for failure in report.failures] == ["memory"]
    assert "100 MiB of the 50" in report.failures[0].reason
    assert witness.words("a") == ["started", "failed"]


def test_no_job_starts_on_a_full_disk_and_all_start_when_there_is_room(store: FakeStore, run: Run) -> None:
    began = time.monotonic()
    limits = Limits(free_disk=lambda: 0 if time.monotonic() < began + 2.5 else 1 << 40)
    report, witness = run([store.job("a", "done"), store.job("b", "done")], limits=limits)
    assert not report.failures
    assert witness.seen[0] == ("held", "")
    assert ("released", "") in witness.seen
    assert witness.words("a") == ["started", "done"]


def test_a_disk_that_stays_full_is_given_up(store: FakeStore, run: Run) -> None:
    limits = Limits(free_disk=lambda: 0, patience=1.0)
    report, witness = run([store.job("a", "done")], limits=limits)
    assert [failure.kind for failure in report.failures] == [str(Failure.DISK_FULL)]
    assert "0 MiB free" in report.failures[0].reason
    assert "started" not in witness.words("a")


def test_a_cancelled_job_is_not_started_and_one_that_runs_is_not_tried_again(
    store: FakeStore, run: Run
) -> None:
    (store.folder / "a.cancelled").touch()
    (store.folder / "b.cancelled").touch()
    report, witness = run([store.job("a", "done"), store.job("c", "done")])
    assert report.cancelled == ["a-0"]
    assert not report.failures
    assert witness.words("a") == ["said"]
    assert witness.words("c") == ["started", "done"]


def test_several_jobs_share_a_gpu_and_the_emptiest_is_next(tmp_path: Path) -> None:
    slots = GpuSlots(GPUS, 9, tmp_path, per_gpu=2)
    assert slots.count == 4
    given = [slots.acquire() for _ in range(4)]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in given if slot] == ["0", "1", "0", "1"]
    assert slots.acquire() is None
    assert given[2] is not None
    given[2].release()
    again = slots.acquire()
    assert again is not None
    assert again.environment["CUDA_VISIBLE_DEVICES"] == "0"


def test_whoever_wants_a_gpu_alone_gets_it_alone(tmp_path: Path) -> None:
    alone, shared = GpuSlots(GPUS[:1], 1, tmp_path), GpuSlots(GPUS[:1], 2, tmp_path, per_gpu=2)
    mine = alone.acquire()
    assert mine is not None
    assert shared.acquire() is None
    mine.release()
    theirs = shared.acquire()
    assert theirs is not None
    assert len(theirs.descriptors) == 2
    assert alone.acquire() is None
    theirs.release()
    again = alone.acquire()
    assert again is not None
    again.release()
    with (tmp_path / "gpu-uuid-a.lock").open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
