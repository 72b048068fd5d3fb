"""The recurrent unit over sequences against its own steps, forwards and backwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from marlbench.algorithms.networks import GatedRecurrentUnit
from marlbench.algorithms.recurrence import GatedSequence

STACK, TIME, SAMPLES, UNITS = 2, 5, 3, 4


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.fixture(params=[False, True], ids=["one_episode", "fresh"])
def fresh(request: pytest.FixtureRequest) -> Tensor | None:
    return torch.rand(STACK, TIME, SAMPLES) < 0.3 if request.param else None


def test_gradients_are_those_of_finite_differences(fresh: Tensor | None) -> None:
    inputs = (
        drawn(STACK, TIME, SAMPLES, 3 * UNITS),
        drawn(STACK, SAMPLES, UNITS),
        drawn(STACK, UNITS, 3 * UNITS),
        drawn(STACK, 1, 3 * UNITS),
    )
    assert torch.autograd.gradcheck(lambda *given: GatedSequence.apply(*given, fresh), inputs)


def test_memories_are_those_of_single_steps(fresh: Tensor | None) -> None:
    projected, memory = drawn(STACK, TIME, SAMPLES, 3 * UNITS), drawn(STACK, SAMPLES, UNITS)
    unit = GatedRecurrentUnit("unit", UNITS, UNITS)
    parameters = {"unit.memory.weight": drawn(STACK, UNITS, 3 * UNITS)}
    parameters["unit.memory.bias"] = drawn(STACK, 1, 3 * UNITS)
    found = GatedSequence.apply(projected, memory, *parameters.values(), fresh)
    for time in range(TIME):
        if fresh is not None:
            memory = memory * ~fresh[:, time].unsqueeze(-1)
        memory = unit.step(parameters, projected[:, time], memory)
        torch.testing.assert_close(found[:, time], memory)
