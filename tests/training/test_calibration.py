"""The calibration loop, and the cost of a training in such loops."""

from __future__ import annotations

import pytest
import torch

from marlbench.training.calibration import Meter, Workload, loop_seconds


class Machine:
    """A processor whose clock the test turns: training and the loop both slow down with `slowness`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slowness = 1.0

    def train(self, work: float) -> None:
        self.seconds += work * self.slowness

    def cpu_seconds(self) -> float:
        return self.seconds

    def measure(self) -> float:
        # Five loops of a hundredth of a second each.
        self.seconds += 5 * 0.01 * self.slowness
        return 0.01 * self.slowness


def meter(machine: Machine) -> Meter:
    # No stretch ends by itself: the test ends them.
    return Meter(machine.cpu_seconds, machine.measure, spacing=1e9)


def test_the_cost_does_not_depend_on_the_machine() -> None:
    costs = []
    for slowness in (1.0, 3.0):
        machine = Machine()
        machine.slowness = slowness
        found = meter(machine)
        found.begin()
        machine.train(2.0)
        found.close()
        costs.append(found.document()["loops"])
    assert costs == pytest.approx([200.0, 200.0])


def test_a_machine_that_becomes_slower_on_the_way() -> None:
    machine = Machine()
    found = meter(machine)
    found.begin()
    machine.train(1.0)
    found.close()
    machine.slowness = 2.0
    machine.measure()
    found.close()
    machine.train(1.0)
    found.close()
    # The stretch between, in which the machine changed, did five loops' work: it counts as between four and six.
    assert 204 <= found.document()["loops"] <= 210


def test_a_training_that_costs_twice_as_much_costs_twice_as_many_loops() -> None:
    machine = Machine()
    found = meter(machine)
    found.begin()
    for _ in range(3):
        machine.train(2.0)
        found.close()
    assert found.document() == pytest.approx({"version": 1, "loops": 600.0, "cpu_seconds": 6.0})


def test_it_goes_on_from_a_checkpoint() -> None:
    machine = Machine()
    first = meter(machine)
    first.begin()
    machine.train(1.0)
    first.close()
    saved = first.state_dict()
    # Lost with the process: it came after the checkpoint.
    machine.train(5.0)
    second = meter(machine)
    second.load_state_dict(saved)
    second.begin()
    machine.train(2.0)
    second.close()
    assert second.document()["loops"] == pytest.approx(300.0)


def test_a_stretch_ends_by_itself_after_its_spacing() -> None:
    machine = Machine()
    found = Meter(machine.cpu_seconds, machine.measure, spacing=0.0)
    found.begin()
    machine.train(1.0)
    found.tick()
    assert found.state_dict() == pytest.approx({"loops": 100.0, "seconds": 1.0})


def test_the_loop_always_does_the_same_and_draws_nothing_random() -> None:
    before = torch.get_rng_state()
    workload = Workload()
    assert workload.run() == workload.run() == Workload().run()
    assert torch.equal(torch.get_rng_state(), before)
    assert 0 < loop_seconds(workload, loops=3) < 1
