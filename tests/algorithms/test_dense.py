"""Gradients that are written out, against automatic differentiation in double precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from marlbench.algorithms.mixers import JointChoice, Mixer
from marlbench.algorithms.qmix import MonotonicMixer
from marlbench.algorithms.stack import Layout, MultilayerPerceptron
from marlbench.algorithms.vdn import Sum


def drawn(layout: Layout, size: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(size)
    return {
        name: torch.randn(size, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for name, shape in layout.items()
    }


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("hidden", [(), (7,), (7, 6)])
@pytest.mark.parametrize("size", [1, 3])
def test_layers(size: int, hidden: tuple[int, ...], activation: Any) -> None:
    network = MultilayerPerceptron("net", 5, hidden, 4, activation)
    parameters = drawn(network.layout, size)
    features = torch.randn(size, 11, 5, dtype=torch.float64)
    gradient = torch.randn(size, 11, 4, dtype=torch.float64)
    expected = network(parameters, features)
    wanted = torch.autograd.grad(expected, list(parameters.values()), gradient)
    into = {name: torch.full_like(value, torch.nan).detach() for name, value in parameters.items()}
    with torch.no_grad():
        *entered, found = network.forward(parameters, features)
        network.backward(parameters, entered, gradient, into)
    torch.testing.assert_close(found, expected.detach())
    for name, value in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(into[name], value)


@pytest.mark.parametrize(
    "mixer", [Sum(), MonotonicMixer(3, 4, units=5, hypernetwork_units=6), MonotonicMixer(3, 4, 5, 0)]
)
@pytest.mark.parametrize("members", [1, 2])
def test_mixers(mixer: Mixer, members: int) -> None:
    parameters = drawn(mixer.layout, members)
    chosen = (3.0 * torch.randn(members, 50, 3, dtype=torch.float64)).requires_grad_()
    state = torch.randn(members, 50, 4, dtype=torch.float64)
    gradient = torch.randn(members, 50, dtype=torch.float64)
    joint = JointChoice(chosen, None, torch.zeros(members, 50, 3, dtype=torch.int64), state, None)
    expected = mixer(parameters, joint)
    wanted = torch.autograd.grad(expected, [chosen, *parameters.values()], gradient)
    into = {name: torch.full_like(value, torch.nan).detach() for name, value in parameters.items()}
    with torch.no_grad():
        found, kept = mixer.forward(parameters, joint)
        of_chosen = mixer.backward(parameters, kept, gradient, into)
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(of_chosen, wanted[0])
    for name, value in zip(parameters, wanted[1:], strict=True):
        torch.testing.assert_close(into[name], value)
