"""The recurrent unit over sequences against its own steps, forwards and backwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from marlbench.algorithms import recurrence
from marlbench.algorithms.networks import GatedRecurrentUnit
from marlbench.algorithms.recurrence import GatedSequence, unrolled

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


def test_without_gradients_memories_are_the_same(fresh: Tensor | None) -> None:
    given = (
        torch.randn(STACK, TIME, SAMPLES, 3 * UNITS),
        torch.randn(STACK, SAMPLES, UNITS),
        torch.randn(STACK, UNITS, 3 * UNITS),
        torch.randn(STACK, 1, 3 * UNITS),
    )
    torch.testing.assert_close(unrolled(*given, fresh), GatedSequence.apply(*given, fresh))


def test_the_compiled_way_back_is_that_of_tensors_to_the_bit(
    fresh: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [
        torch.randn(shape, requires_grad=True)
        for shape in (
            (STACK, TIME, SAMPLES, 3 * 33),
            (STACK, SAMPLES, 33),
            (STACK, 33, 3 * 33),
            (STACK, 1, 3 * 33),
        )
    ]
    memories = GatedSequence.apply(*given, fresh)
    outside = torch.randn_like(memories)
    found = torch.autograd.grad(memories, given, outside, retain_graph=True)
    monkeypatch.setattr(recurrence, "_compiled", recurrence._of_tensors)
    for compiled, of_tensors in zip(found, torch.autograd.grad(memories, given, outside), strict=True):
        assert torch.equal(compiled, of_tensors)
