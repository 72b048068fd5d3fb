"""`--engine ray` against a real head on 127.0.0.1: a worker killed, the driver gone, the head away."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .conftest import Start, suite
from .daemons import Daemon, free_port, wait_for
from .looking import SECONDS, assert_all_done_once, finish, workers

pytest.importorskip("ray")


@dataclass
class Head:
    """A Ray cluster of one machine."""

    daemon: Daemon
    address: str

    @property
    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/api/version", timeout=5):
                return True
        except OSError:
            return False


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # The sockets of Ray need a short path.
    folder = Path(tempfile.mkdtemp(prefix="mr-", dir="/tmp"))
    dashboard = free_port()
    ray = Path(sys.executable).with_name("ray")
    options = {
        "port": free_port(),
        "node-ip-address": "127.0.0.1",
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "num-cpus": 2,
        "object-store-memory": 100_000_000,
        "temp-dir": folder,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    argv = [str(ray), "start", "--head", *words, "--disable-usage-stats", "--block"]
    one = Head(Daemon("ray", argv, folder, {"OMP_NUM_THREADS": "1"}), f"http://127.0.0.1:{dashboard}")
    try:
        one.daemon.start()
        wait_for(lambda: one.answers, 180, "the head")
        yield one
    finally:
        one.daemon.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def profile(head: Head, folder: Path) -> Path:
    text = f'[ray.default]\naddress = "{head.address}"\nmemory = "1G"\nat_once = 2\n'
    (folder / "marlbench.toml").write_text(text)
    return folder


def run(start: Start, *options: str) -> Any:
    return start("run", "small.yaml", "--engine", "ray", "--seeds-per-job", "1", *options)


def test_the_driver_is_gone_and_the_matrix_goes_on(profile: Path, start: Start) -> None:
    suite(profile, seeds=3, steps=16000)
    process = run(start)
    wait_for(lambda: workers(profile), SECONDS)
    process.kill()
    process.communicate()
    said = finish(run(start))
    assert "0 jobs submitted to ray" in said
    assert_all_done_once(profile, 3, "ray")


def test_a_killed_job_starts_again_in_its_place_and_a_killed_task_is_submitted_again(
    profile: Path, start: Start
) -> None:
    suite(profile, seeds=2, steps=30000)
    process = run(start)
    wait_for(lambda: len(workers(profile)) == 2, SECONDS)
    first, second = workers(profile)
    first.kill()
    task = second.parent()
    assert task is not None
    assert "marlbench.engines.queued_task" in task.cmdline()
    task.kill()
    said = finish(process)
    assert "retry 1" in said
    assert_all_done_once(profile, 2, "ray")


def test_cancelled_jobs_leave(profile: Path, start: Start) -> None:
    suite(profile, seeds=3, steps=100_000)
    finish(run(start, "--detach"))
    wait_for(lambda: len(list(profile.glob("results/jobs/*/progress.json"))) == 2, SECONDS)
    finish(start("cancel", "--all"))
    wait_for(lambda: not workers(profile), what="the end of all jobs")
    wait_for(lambda: not json.loads(finish(start("status", "--json")))["queued"], what="an empty queue")
    states = json.loads(finish(start("status", "--json")))["states"]
    assert states == {"planned": 1, "interrupted": 2}


def test_a_head_that_is_not_there_is_one_message(folder: Path, start: Start) -> None:
    (folder / "marlbench.toml").write_text(f'[ray.default]\naddress = "http://127.0.0.1:{free_port()}"\n')
    said = finish(run(start), 1)
    assert "does not answer" in said
    assert "Traceback" not in said
