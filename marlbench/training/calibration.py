"""How fast this machine is just now, in the terms of training: a fixed loop, timed between stretches of a job.

Steps per second say as much about a machine as about the code. Divided by the speed of a loop that never changes and
is timed in the same process every second or so, what is left is the code: steps per *calibration loop*. Processor
time is counted, not wall time, so that neighbours on a busy machine cost nothing; how much slower they make a second
of processor time (shared caches, hyper-threads, clock rates) is in both parts of the ratio.

The loop does what training does: small matrix products and their gradients, elementwise operations on tensors so
small that their dispatch is what costs, and plain Python. It uses torch and Python alone, nothing of marlbench: a
change here that made training slower would otherwise slow the loop too. It draws no random number.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

# Raised when the loop changes: ratios of different versions say nothing about each other.
VERSION = 1
# CPU seconds of training between two measurements, and loops of one measurement: about 5 % of the time.
SPACING_SECONDS = 1.0
LOOPS = 5

_PASSES = 10
_SMALL_OPERATIONS = 40
_PYTHON_ROUNDS = 18000


class Workload:
    """The loop: `run` does the same work at every call, some ten milliseconds of it."""

    def __init__(self) -> None:
        self.input = torch.linspace(-1.0, 1.0, 64 * 32).view(64, 32)
        self.first = torch.linspace(-0.3, 0.3, 32 * 64).view(32, 64).requires_grad_()
        self.second = torch.linspace(-0.3, 0.3, 64 * 8).view(64, 8).requires_grad_()
        self.places = torch.linspace(-1.0, 1.0, 16 * 3 * 2).view(16, 3, 2)
        self.table = {index: float(index) for index in range(64)}

    def run(self) -> float:
        """Some number that depends on everything computed."""
        return self._networks() + self._small_tensors() + self._python()

    def _networks(self) -> float:
        total = 0.0
        for _ in range(_PASSES):
            hidden = torch.tanh(self.input @ self.first)
            loss = (hidden @ self.second).square().mean()
            gradients = torch.autograd.grad(loss, (self.first, self.second))
            total += float(sum(g.abs().sum() for g in gradients))
        return total

    def _small_tensors(self) -> float:
        places: Tensor = self.places
        for _ in range(_SMALL_OPERATIONS):
            apart = places.unsqueeze(2) - places.unsqueeze(1)
            near = apart.square().sum(-1) < 0.1
            push = torch.where(near.unsqueeze(-1), apart, torch.zeros_like(apart)).sum(2)
            places = (places + 0.01 * push).clamp(-1.0, 1.0)
        return float(places.sum())

    def _python(self) -> float:
        total = 0.0
        for number in range(_PYTHON_ROUNDS):
            total += self.table[number & 63] * 0.5 - number
        return total


def loop_seconds(workload: Workload, loops: int = LOOPS) -> float:
    """CPU seconds of one loop: the median of several."""
    found = []
    for _ in range(loops):
        began = time.process_time()
        workload.run()
        found.append(time.process_time() - began)
    return statistics.median(found)


class Meter:
    """The cost of a job's training in calibration loops.

    The CPU seconds of each stretch of training are divided by the seconds of a loop, measured before and after it.

    Args:
        cpu_seconds: processor time of this process and of those it started.
        measure: CPU seconds of one calibration loop.
    """

    def __init__(
        self,
        cpu_seconds: Callable[[], float],
        measure: Callable[[], float] | None = None,
        spacing: float = SPACING_SECONDS,
    ) -> None:
        self._cpu_seconds = cpu_seconds
        self._measure = measure
        self._spacing = spacing
        self._loops = 0.0
        self._seconds = 0.0
        self._last = 0.0
        self._began = 0.0
        self._due = 0.0

    def begin(self) -> None:
        """Training starts or goes on."""
        if self._measure is None:
            workload = Workload()
            # The first loop pays for what torch sets up once.
            workload.run()
            self._measure = lambda: loop_seconds(workload)
        self._last = self._measure()
        self._open()

    def tick(self) -> None:
        """A step boundary; to be called at each of them."""
        if time.process_time() >= self._due:
            self.close()

    def close(self) -> None:
        """End the stretch and begin another."""
        assert self._measure is not None
        seconds = max(0.0, self._cpu_seconds() - self._began)
        before, self._last = self._last, self._measure()
        self._seconds += seconds
        self._loops += seconds / ((before + self._last) / 2)
        self._open()

    def _open(self) -> None:
        self._began = self._cpu_seconds()
        self._due = time.process_time() + self._spacing

    def state_dict(self) -> dict[str, Any]:
        """What the training has cost up to the last `close`."""
        return {"loops": self._loops, "seconds": self._seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._loops, self._seconds = float(state["loops"]), float(state["seconds"])

    def document(self) -> dict[str, Any]:
        """For the record: version of the loop, cost in loops, CPU seconds of the training itself."""
        return {"version": VERSION, "loops": self._loops, "cpu_seconds": self._seconds}
