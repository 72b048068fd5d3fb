from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from marlbench.engines.devices import Gpu
from marlbench.engines.jobs import Demand, Report, explain_exit
from marlbench.engines.limits import Limits
from marlbench.engines.local import LocalEngine, LocalProcess
from marlbench.engines.slots import CpuSlots, GpuSlots
from marlbench.errors import StoreError
from marlbench.store.states import Failure

from .fakes import FakeStore, Run, Witness, make


def after(seconds: float, action: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    return timer


def wait_for(question: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_every_job_runs_once(store: FakeStore, run: Run) -> None:
    jobs = [store.job(name, "done", members=2) for name in "abc"]
    report, witness = run(jobs)
    assert report == Report()
    assert [store.starts(name) for name in "abc"] == [1, 1, 1]
    assert all(witness.words(name) == ["started", "done"] for name in "abc")
    assert witness.ticks


def test_no_more_jobs_at_once_than_slots(store: FakeStore, run: Run) -> None:
    _, witness = run([store.job(name, "done") for name in "abcde"], CpuSlots(2))
    assert witness.most_at_once == 2


def test_memory_and_disk_limit_how_many_run_at_once(store: FakeStore, run: Run) -> None:
    jobs = [store.job(name, "done") for name in "abc"]
    _, witness = run(jobs, demands={name: Demand(memory=60) for name in "abc"}, memory=100)
    assert witness.most_at_once == 1
    jobs = [store.job(name, "done") for name in "def"]
    _, witness = run(jobs, demands={name: Demand(disk=30) for name in "def"}, disk=60)
    assert witness.most_at_once == 2


def test_a_small_job_passes_a_large_one_that_does_not_fit_yet(store: FakeStore, run: Run) -> None:
    jobs = [store.job("a", "slow1"), store.job("large", "done"), store.job("small", "done")]
    demands = {"a": Demand(memory=50), "large": Demand(memory=90), "small": Demand(memory=10)}
    _, witness = run(jobs, demands=demands, memory=100)
    order = [line[1] for line in witness.seen if line[0] == "started"]
    assert order == ["a", "small", "large"]


@pytest.mark.parametrize(
    ("words", "starts", "kind"),
    [
        ("killed,done", 2, None),
        ("killed,memory,done", 3, None),
        ("disk,stopped,done", 3, None),
        ("nothing,done", 2, None),
        ("killed", 3, "signal"),
        ("memory", 3, "memory"),
        ("disk", 3, "disk full"),
        ("nothing", 3, "signal"),
        ("exception,done", 1, "exception"),
        ("killed,exception,done", 2, "exception"),
        ("broken,done", 1, "exception"),
    ],
)
def test_each_kind_of_failure_is_retried_as_promised(
    store: FakeStore, run: Run, words: str, starts: int, kind: str | None
) -> None:
    report, _ = run([store.job("a", words)])
    assert store.starts("a") == starts
    assert [failure.kind for failure in report.failures] == ([kind] if kind else [])


def test_a_failure_says_what_happened(store: FakeStore, run: Run) -> None:
    report, _ = run([store.job("a", "exception"), store.job("b", "broken"), store.job("c", "killed")])
    reasons = {failure.job: failure.reason for failure in report.failures}
    assert reasons["a"] == "ValueError: the reward is a string"
    assert reasons["b"] == "ImportError: libnothing.so.1 is missing"
    assert "SIGKILL" in reasons["c"]


def test_a_failing_job_stops_no_other(store: FakeStore, run: Run) -> None:
    report, witness = run([store.job("bad", "exception"), store.job("good", "done")], CpuSlots(1))
    assert {failure.cell for failure in report.failures} == {"bad-0"}
    assert witness.words("good") == ["started", "done"]


def test_results_count_and_exit_codes_do_not(store: FakeStore, run: Run) -> None:
    report, witness = run([store.job("a", "done-but-killed")])
    assert not report.failures
    assert witness.words("a") == ["started", "done"]


def test_only_the_members_that_are_not_done_fail(store: FakeStore, run: Run) -> None:
    report, _ = run([store.job("a", "half", members=3)])
    assert [failure.cell for failure in report.failures] == ["a-1", "a-2"]


def test_an_earlier_commands_exception_does_not_count_as_this_ones(store: FakeStore, run: Run) -> None:
    run([store.job("a", "exception")])
    report, _ = run([store.job("a", "exception,broken,done")])
    assert [failure.reason for failure in report.failures] == ["ImportError: libnothing.so.1 is missing"]
    report, _ = run([store.job("a", "exception,broken,done")])
    assert not report.failures


def test_members_nobody_asked_for_are_not_waited_for(store: FakeStore, engine: LocalEngine) -> None:
    job = store.job("a", "half", members=2)
    scheduler, witness = make(store, engine)
    assert scheduler.run([job], ["a-0"]) == Report()
    assert witness.words("a") == ["started", "done"]


def test_what_is_done_already_is_not_started(store: FakeStore, run: Run) -> None:
    run([store.job("a", "done")])
    _, witness = run([store.job("a", "done")])
    assert witness.words("a") == ["done elsewhere"]
    assert store.starts("a") == 1


def test_after_memory_ran_out_a_job_runs_alone(store: FakeStore, run: Run) -> None:
    jobs = [store.job("a", "memory,slow1"), store.job("b", "slow1"), store.job("c", "done")]
    _, witness = run(jobs, CpuSlots(2))
    second = [index for index, line in enumerate(witness.seen) if line[:2] == ("started", "a")][1]
    running = {"b", "c"} - {line[1] for line in witness.seen[:second] if line[0] == "done"}
    started = {line[1] for line in witness.seen[:second] if line[0] == "started"}
    assert not running & started
    assert witness.seen[second + 1] == ("done", "a")


def test_retries_wait_for_their_pause(store: FakeStore, run: Run) -> None:
    start = time.monotonic()
    run([store.job("a", "disk,done")], pauses={Failure.DISK_FULL: 1.5})
    assert time.monotonic() - start > 1.5


def test_silence_is_a_timeout(store: FakeStore, run: Run) -> None:
    report, witness = run([store.job("a", "sleep")], limits=Limits(silence=1.0))
    assert [failure.kind for failure in report.failures] == ["timeout"]
    assert witness.words("a") == ["started", "retrying", "started", "retrying", "started", "failed"]


def test_a_job_that_moves_is_not_timed_out(
    store: FakeStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = iter(range(1000))
    monkeypatch.setattr(store, "progress", lambda job_id: {"steps": next(count)})
    report, _ = run([store.job("a", "slow3")], limits=Limits(silence=1.5))
    assert not report.failures


def test_two_schedulers_share_the_work(store: FakeStore) -> None:
    jobs = [store.job(name, "done") for name in "abcdef"]
    wanted = [cell for job in jobs for cell in job.cells]
    reports: list[Report] = []

    def work() -> None:
        engine = LocalEngine()
        reports.append(make(store, engine, CpuSlots(2))[0].run(jobs, wanted))
        engine.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert reports == [Report(), Report()]
    assert [store.starts(job.id) for job in jobs] == [1] * 6


def test_a_job_that_another_run_has_waits_and_takes_no_slot(store: FakeStore, run: Run) -> None:
    other = subprocess.Popen([sys.executable, *store.command(store.job("a", "slow2"), None)[1:]])
    wait_for(lambda: store.running("a"))
    _, witness = run([store.job("a", "slow2"), store.job("b", "done")], CpuSlots(1))
    assert other.wait(20) == 0
    assert witness.words("a") == ["deferred", "done elsewhere"]
    assert witness.words("b") == ["started", "done"]
    assert store.starts("a") == 1


def test_a_job_is_taken_over_when_the_other_run_dies(store: FakeStore, run: Run) -> None:
    other = subprocess.Popen([sys.executable, *store.command(store.job("a", "sleep,done"), None)[1:]])
    wait_for(lambda: store.running("a"))
    after(1.0, other.kill)
    report, witness = run([store.job("a", "sleep,done")])
    other.wait(20)
    assert not report.failures
    assert witness.words("a") == ["deferred", "started", "done"]


def test_the_process_itself_says_that_the_lock_is_held(
    store: FakeStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run takes the lock between our look and our start: exit code 75."""
    monkeypatch.setattr(store, "running", lambda job_id: False)
    with (store.folder / "a.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        after(1.5, lambda: fcntl.flock(lock, fcntl.LOCK_UN))
        report, witness = run([store.job("a", "done")])
    assert not report.failures
    words = witness.words("a")
    assert words[:2] == ["started", "deferred"]
    assert words[-1] == "done"
    assert store.starts("a") == 1


def test_an_exception_in_another_run_is_not_tried_again_here(store: FakeStore, run: Run) -> None:
    (store.folder / "a-0.json").write_text(
        json.dumps({"state": "running", "attempts": 1, "failure": None, "detail": "running"})
    )
    lock = (store.folder / "a.lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def fail() -> None:
        (store.folder / "a-0.json").write_text(
            json.dumps({"state": "failed", "attempts": 1, "failure": "exception", "detail": "ValueError: no"})
        )
        lock.close()

    after(1.0, fail)
    report, witness = run([store.job("a", "done")])
    assert [(failure.kind, failure.reason) for failure in report.failures] == [
        ("exception", "ValueError: no")
    ]
    assert witness.words("a") == ["deferred", "failed"]
    assert store.starts("a") == 0


def test_stop_lets_jobs_checkpoint(store: FakeStore, engine: LocalEngine) -> None:
    jobs = [store.job("a", "sleep"), store.job("b", "sleep"), store.job("c", "done")]
    scheduler, witness = make(store, engine, CpuSlots(2))
    after(1.5, lambda: scheduler.stop(signal.SIGINT))
    start = time.monotonic()
    report = scheduler.run(jobs, [cell for job in jobs for cell in job.cells])
    assert time.monotonic() - start < 5
    assert report == Report(signal=signal.SIGINT)
    assert ("stopping", 2) in witness.seen
    assert store.starts("c") == 0
    assert {state.state for state in store.states(["a-0", "b-0"]).values()} == {"interrupted"}


def test_after_the_grace_jobs_are_killed(store: FakeStore, engine: LocalEngine) -> None:
    scheduler, witness = make(store, engine, grace=1.0)
    after(1.0, lambda: scheduler.stop(signal.SIGTERM))
    start = time.monotonic()
    report = scheduler.run([store.job("a", "stubborn")], ["a-0"])
    assert 1.9 < time.monotonic() - start < 10
    assert report.signal == signal.SIGTERM
    assert witness.seen[-2:] == [("stopping", 1), ("killing", 1)]
    assert not store.running("a")


def test_a_second_stop_kills_at_once(store: FakeStore, engine: LocalEngine) -> None:
    scheduler, witness = make(store, engine, grace=60.0)
    after(1.0, lambda: scheduler.stop(signal.SIGINT))
    after(2.0, lambda: scheduler.stop(signal.SIGINT))
    start = time.monotonic()
    scheduler.run([store.job("a", "stubborn")], ["a-0"])
    assert time.monotonic() - start < 10
    assert not store.running("a")
    assert ("killing", 1) in witness.seen


def test_a_store_that_cannot_be_written_now_stops_no_other_job(
    store: FakeStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(job_id: str, failure: Failure | None = None, reason: str = "") -> bool:
        raise StoreError("the disk is full.")

    monkeypatch.setattr(store, "reconcile", full)
    report, witness = run([store.job("a", "disk"), store.job("b", "slow1")], CpuSlots(1))
    assert [failure.kind for failure in report.failures] == ["disk full"]
    assert witness.words("b") == ["started", "done"]


def test_no_process_outlives_an_error(
    store: FakeStore, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, _ = make(store, engine, grace=1.0)
    jobs = [store.job("a", "stubborn"), store.job("b", "done")]
    states = store.states

    def breaks(cell_ids: Sequence[str]) -> Any:
        if store.states_broken:  # type: ignore[attr-defined]
            raise StoreError("the store is gone.")
        return states(cell_ids)

    store.states_broken = False  # type: ignore[attr-defined]
    monkeypatch.setattr(store, "states", breaks)
    watcher = threading.Thread(
        target=lambda: (wait_for((store.folder / "a.ready").exists), setattr(store, "states_broken", True))
    )
    jobs[1] = store.job("b", "slow1.5")
    watcher.start()
    with pytest.raises(StoreError):
        scheduler.run(jobs, [cell for job in jobs for cell in job.cells])
    watcher.join()
    assert not store.running("a")


class NoRoom:
    """An engine on a machine that cannot start a process until `refusals` were given."""

    def __init__(self, engine: LocalEngine, refusals: int, number: int) -> None:
        self.engine, self.refusals, self.number = engine, refusals, number

    def start(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, inherit: Sequence[int] = ()
    ) -> LocalProcess:
        if self.refusals:
            self.refusals -= 1
            raise OSError(self.number, os.strerror(self.number))
        return self.engine.start(argv, env, cwd, inherit)


def test_a_process_that_cannot_be_started_is_a_failure_like_others(
    store: FakeStore, engine: LocalEngine
) -> None:
    scheduler, _ = make(store, NoRoom(engine, 2, errno.EAGAIN))
    assert scheduler.run([store.job("a", "done")], ["a-0"]) == Report()
    scheduler, _ = make(store, NoRoom(engine, 1, errno.ENOENT))
    report = scheduler.run([store.job("b", "done")], ["b-0"])
    assert [failure.kind for failure in report.failures] == ["exception"]


def test_a_job_gets_its_slots_environment(store: FakeStore, run: Run, tmp_path: Path) -> None:
    run([store.job("a", "done")], environment={**os.environ, "OMP_NUM_THREADS": "8", "KEPT": "yes"})
    said = json.loads((store.folder / "a.1.environment").read_text())
    assert (said["OMP_NUM_THREADS"], said["CUDA_VISIBLE_DEVICES"], said["KEPT"]) == ("1", "", "yes")


def test_two_schedulers_share_the_gpus(store: FakeStore, tmp_path: Path) -> None:
    """Three jobs each on the same two GPUs: never more than two at once, and never one GPU twice."""
    locks = tmp_path / "locks"
    locks.mkdir()
    gpus = (Gpu("0", "a"), Gpu("1", "b"))
    witnesses: list[Witness] = []

    def work(names: str) -> None:
        engine = LocalEngine()
        jobs = [store.job(name, "slow0.7") for name in names]
        scheduler, witness = make(store, engine, GpuSlots(gpus, 2, locks))
        witnesses.append(witness)
        assert scheduler.run(jobs, [cell for job in jobs for cell in job.cells]) == Report()
        engine.close()

    threads = [threading.Thread(target=work, args=(names,)) for names in ("abc", "def")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [store.starts(name) for name in "abcdef"] == [1] * 6
    assert any(witness.blocked for witness in witnesses)
    used = [
        json.loads((store.folder / f"{name}.1.environment").read_text())["CUDA_VISIBLE_DEVICES"]
        for name in "abcdef"
    ]
    assert set(used) == {"0", "1"}


def test_jobs_leave_when_the_scheduler_is_killed(store: FakeStore) -> None:
    program = (
        "import sys, pathlib\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from fakes import FakeStore, Witness\n"
        "from marlbench.engines.local import LocalEngine\n"
        "from marlbench.engines.scheduler import Scheduler\n"
        "from marlbench.engines.slots import CpuSlots\n"
        f"store = FakeStore(pathlib.Path({str(store.folder)!r}))\n"
        "jobs = [store.job('a', 'orphan'), store.job('b', 'orphan')]\n"
        "Scheduler(store, LocalEngine(), CpuSlots(2), store.command, Witness()).run(jobs, ['a-0', 'b-0'])\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    wait_for(lambda: all(store.states([cell])[cell].state == "running" for cell in ("a-0", "b-0")))
    children = psutil.Process(parent.pid).children()
    assert len(children) == 2
    parent.kill()
    parent.wait(20)
    wait_for(lambda: (store.folder / "a.left").exists() and (store.folder / "b.left").exists())
    wait_for(lambda: not store.running("a") and not store.running("b"))


@pytest.mark.parametrize(
    ("code", "output", "failure", "reason"),
    [
        (-11, "", Failure.SIGNAL, "ended by SIGSEGV"),
        (-64, "", Failure.SIGNAL, "ended by SIGRTMAX"),
        (143, "", Failure.SIGNAL, "stopped by SIGTERM"),
        (10, "", Failure.EXCEPTION, "left with exit code 10"),
        (1, "Traceback\n  line\nKeyError: 'x'\n\n", Failure.EXCEPTION, "KeyError: 'x'"),
        (11, "MemoryError\n", Failure.MEMORY, "MemoryError"),
        (12, "", Failure.DISK_FULL, "left with exit code 12"),
    ],
)
def test_exit_codes_are_explained(code: int, output: str, failure: Failure, reason: str) -> None:
    assert explain_exit(code, output) == (failure, reason)
