"""Worker processes: their deaths are told, their parent's death ends them, nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from marlbench.adapters.arrays import carve, size
from marlbench.adapters.pettingzoo import PettingZooEnvironment, PettingZooParameters
from marlbench.adapters.workers import SimulatorFailure
from marlbench.environments.keys import row_keys

CPU = torch.device("cpu")


def make(kind: str, workers: int, rows: int = 3) -> PettingZooEnvironment:
    parameters = PettingZooParameters(package="dummy_tasks", kwargs={"kind": kind}, workers=workers)
    environment = PettingZooEnvironment(parameters, rows, CPU)
    environment.reset(row_keys([0], 0, rows, CPU))
    return environment


def step(environment: PettingZooEnvironment) -> None:
    environment.step(torch.zeros(environment.rows, 2, dtype=torch.int64))


def wait(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def gone(process: psutil.Process) -> bool:
    """Whether it has ended, reaped by whoever inherited it or not."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_package_raises_names_worker_row_and_seed(workers: int) -> None:
    environment = make("Raising", workers)
    try:
        step(environment)
        with pytest.raises(SimulatorFailure) as raised:
            step(environment)
    finally:
        environment.close()
    seed = int(environment._shared["seed"][0])
    message = str(raised.value)
    assert (
        f"failed in row 0 at step 2 after reset(seed={seed}): ZeroDivisionError: a wheel came off" in message
    )
    assert ("worker 0 (rows 0 to 0)" in message) == (workers > 0)


@pytest.mark.parametrize(
    ("kind", "became"), [("Dying", "was ended by SIGKILL"), ("Leaping", "left with exit code 7")]
)
def test_a_worker_that_dies_names_itself_its_rows_and_seeds(kind: str, became: str) -> None:
    environment = make(kind, workers=1, rows=2)
    process = environment.workers.process_ids[0]
    seeds = environment._shared["seed"].tolist()
    try:
        step(environment)
        with pytest.raises(SimulatorFailure) as raised:
            step(environment)
        with pytest.raises(SimulatorFailure):
            step(environment)
    finally:
        environment.close()
    assert f"worker 0 (rows 0 to 1) of dummy_tasks, process {process}, {became}" in str(raised.value)
    assert str(seeds) in str(raised.value)


def test_an_action_that_does_not_exist_is_an_error() -> None:
    environment = make("Counting", workers=0)
    with pytest.raises(SimulatorFailure, match="player_1: action 3 does not exist"):
        environment.step(torch.tensor([[0, 3]] * 3))


def test_signals_to_the_group_leave_the_decision_to_the_parent() -> None:
    environment = make("Counting", workers=1)
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(environment.workers.process_ids[0], number)
        time.sleep(0.1)
        step(environment)
    finally:
        environment.close()


def test_an_environment_that_is_dropped_takes_its_workers_along() -> None:
    environment = make("Counting", workers=2)
    processes = [psutil.Process(process) for process in environment.workers.process_ids]
    del environment
    gc.collect()
    assert wait(lambda: all(gone(process) for process in processes))


def test_a_row_that_hangs_is_named_with_its_seed() -> None:
    parameters = PettingZooParameters(
        package="dummy_tasks", kwargs={"kind": "Hanging"}, workers=1, step_timeout=1.0
    )
    environment = PettingZooEnvironment(parameters, 2, CPU)
    try:
        environment.reset(row_keys([0], 0, 2, CPU))
        step(environment)
        process = psutil.Process(environment.workers.process_ids[0])
        seed = int(environment._shared["seed"][0])
        with pytest.raises(SimulatorFailure) as raised:
            step(environment)
        assert wait(lambda: gone(process))
    finally:
        environment.close()
    message = str(raised.value)
    assert "worker 0 (rows 0 to 1) of dummy_tasks: row 0 has not come back for 1 s" in message
    assert f"the seed of its episode is {seed}" in message
    assert "step_timeout" in raised.value.hint


def test_rows_that_are_only_slow_together_do_not_hang() -> None:
    parameters = PettingZooParameters(
        package="dummy_tasks", kwargs={"kind": "Slow"}, workers=1, step_timeout=0.5
    )
    environment = PettingZooEnvironment(parameters, 4, CPU)
    try:
        environment.reset(row_keys([0], 0, 4, CPU))
        step(environment)
    finally:
        environment.close()


PARENT = """
import sys, time, torch
from marlbench.adapters.pettingzoo import PettingZooEnvironment, PettingZooParameters
from marlbench.environments.keys import row_keys
parameters = PettingZooParameters(package="dummy_tasks", kwargs={"kind": "Slow", "length": 1000}, workers=2)
environment = PettingZooEnvironment(parameters, 4, torch.device("cpu"))
environment.reset(row_keys([0], 0, 4, torch.device("cpu")))
print(*environment.workers.process_ids, flush=True)
while True:
    environment.step(torch.zeros(4, 2, dtype=torch.int64))
"""


def test_workers_leave_when_their_parent_is_killed() -> None:
    """At once or after the step they are in, silently, and without a trace in the file system."""
    packages = str(Path(__file__).parent / "packages")
    shared = Path("/dev/shm")
    before = set(shared.iterdir()) if shared.is_dir() else set()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": packages},
    )
    try:
        assert parent.stdout is not None
        assert parent.stderr is not None
        workers = [psutil.Process(int(text)) for text in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert all("marlbench.adapters.worker" in worker.cmdline() for worker in workers)
    finally:
        parent.kill()
    assert wait(lambda: all(gone(worker) for worker in workers))
    # The pipe of stderr closes with the last process that holds it.
    assert parent.stderr.read() == ""
    parent.stdout.close()
    parent.stderr.close()
    parent.wait()
    assert before >= (set(shared.iterdir()) if shared.is_dir() else set())


def test_arrays_lie_side_by_side() -> None:
    layout = {"one": ((3,), "int64"), "two": ((2, 5), "float32"), "three": ((1,), "bool")}
    memory = bytearray(size(layout))
    arrays = carve(memory, layout)
    for number, array in enumerate(arrays.values()):
        array[...] = number
    again = carve(memory, layout)
    assert [set(again[name].ravel().tolist()) for name in layout] == [{0}, {1}, {True}]
    assert again["two"].shape == (2, 5)
