"""Networks and optimisers of storage agents against torch's own, and decisions of the kernel against those of torch."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from marlbench.algorithms.decision_kernel import decide, exponentials
from marlbench.algorithms.rmsprop import RMSprop
from marlbench.algorithms.stack import ParameterStack
from marlbench.algorithms.swish_network import SwishNetwork, parameters_of
from marlbench.algorithms.systems_apart import Apart

CPU = torch.device("cpu")


def stacked(sizes: tuple[int, ...], learners: int) -> tuple[SwishNetwork, ParameterStack]:
    network = SwishNetwork("net", sizes[0], sizes[1:-1], sizes[-1])
    stack = ParameterStack(network.layout, learners, CPU)
    with torch.no_grad():
        stack.flat.copy_(torch.randn(stack.flat.shape, generator=torch.Generator().manual_seed(0)) * 0.7)
    assert stack.count == parameters_of(sizes)
    return network, stack


@pytest.mark.parametrize("sizes", [(3, 2), (6, 20, 30, 12), (7, 10, 2)])
def test_the_gradient_is_that_of_automatic_differentiation(sizes: tuple[int, ...]) -> None:
    network, stack = stacked(sizes, 2)
    features, weights = torch.randn(2, 5, sizes[0]), torch.randn(2, 5, sizes[-1])
    parameters = {name: value.detach() for name, value in stack.parameters.items()}
    outputs, kept = network.keep(parameters, features)
    torch.testing.assert_close(outputs, network(parameters, features))
    network.set_gradient(stack, kept, weights)
    assert stack.flat.grad is not None
    found = stack.flat.grad.clone()

    # Written with torch's modules, one learner at a time, in float64.
    for learner in range(2):
        layers: list[torch.nn.Module] = []
        for layer, (inputs, units) in enumerate(pairwise(sizes)):
            linear = torch.nn.Linear(inputs, units).double()
            with torch.no_grad():
                linear.weight.copy_(parameters[f"net.{layer}.weight"][learner].T)
                linear.bias.copy_(parameters[f"net.{layer}.bias"][learner, 0])
            layers += [linear, torch.nn.SiLU()]
        model = torch.nn.Sequential(*layers[:-1])
        said = model(features[learner].double())
        torch.testing.assert_close(said.float(), outputs[learner], atol=1e-5, rtol=1e-5)
        (said * weights[learner]).sum().backward()
        expected = []
        for linear in layers[::2]:
            assert isinstance(linear, torch.nn.Linear)
            assert linear.weight.grad is not None
            assert linear.bias.grad is not None
            expected += [linear.weight.grad.T.flatten(), linear.bias.grad]
        torch.testing.assert_close(found[learner], torch.cat(expected).float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("epsilon", [1e-8, 1.0])
def test_rmsprop_is_torchs(epsilon: float) -> None:
    _, stack = stacked((3, 2), 2)
    ours = RMSprop(stack, 0.01, decay=0.95, epsilon=epsilon)
    theirs = stack.flat.detach().clone().double().requires_grad_()
    optimiser = torch.optim.RMSprop([theirs], lr=0.01, alpha=0.95, eps=epsilon, centered=True)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        gradient = torch.randn(stack.flat.shape, generator=generator)
        assert stack.flat.grad is not None
        stack.flat.grad.copy_(gradient)
        theirs.grad = gradient.double()
        ours.step()
        optimiser.step()
    torch.testing.assert_close(stack.flat.detach().double(), theirs.detach(), atol=2e-4, rtol=1e-3)


def test_the_kernels_exponentials() -> None:
    values = np.linspace(-86, 86, 4_001).astype(np.float32)
    found = values.copy()
    exponentials(found, np.zeros(len(values), np.int32))
    assert np.abs(found / np.exp(values.astype(np.float64)) - 1).max() < 2e-5
    small = np.linspace(-5, 0, 1_001).astype(np.float32)
    found = small.copy()
    exponentials(found, np.zeros(len(small), np.int32))
    assert np.abs(found / np.exp(small.astype(np.float64)) - 1).max() < 1e-6


@pytest.mark.parametrize(("sizes", "atoms"), [((6, 20, 30, 102), 51), ((7, 10, 3), 1)])
def test_the_kernel_decides_as_torch_does(sizes: tuple[int, ...], atoms: int) -> None:
    members, learners, rows = 2, 3, 300
    network, stack = stacked(sizes, members * learners)
    apart = Apart(members, learners)
    observation = torch.rand(members * rows, 2, sizes[0] + 2, generator=torch.Generator().manual_seed(5))
    columns = np.arange(1, sizes[0] + 1)
    parameters = {name: value.detach() for name, value in stack.parameters.items()}
    outputs = network(parameters, apart.fold(observation[:, 1, 1 : sizes[0] + 1]))
    support = torch.linspace(0, 10, atoms)
    values = outputs.unflatten(-1, (-1, atoms))
    values = values.softmax(-1) @ support if atoms > 1 else values.squeeze(-1)
    values = apart.unfold(values, members * rows)
    action = np.full((members * rows, 2), -7)
    noise = np.full((members * rows, 2, 2), 0.5, np.float32)
    flat = stack.flat.detach().numpy()
    decide(
        observation.numpy(),
        1,
        columns,
        flat,
        np.array(sizes),
        atoms,
        support.numpy(),
        members,
        learners,
        0.1,
        noise,
        action,
    )
    best = values.sort(-1, descending=True).values
    # Where two actions are all but equal, rounding may choose.
    clear = (best[:, 0] - best[:, 1] > 1e-4).numpy()
    assert clear.mean() > 0.95
    assert (action[clear, 1] == values.argmax(-1).numpy()[clear]).all()
    assert (action[:, 0] == -7).all()
    noise[:, 1, 0], noise[:, 1, 1] = 0.05, 0.999
    decide(
        observation.numpy(),
        1,
        columns,
        flat,
        np.array(sizes),
        atoms,
        support.numpy(),
        members,
        learners,
        0.1,
        noise,
        action,
    )
    assert (action[:, 1] == sizes[-1] // atoms - 1).all()


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6])
def test_rows_are_dealt_to_learners_and_back(rows: int) -> None:
    apart = Apart(2, 3)
    values = torch.arange(2 * rows, dtype=torch.float32).view(-1, 1)
    folded = apart.fold(values)
    assert folded.shape[0] == 6
    for number in range(2 * rows):
        member, row = divmod(number, rows)
        assert folded[member * 3 + row % 3, row // 3, 0] == number
    assert torch.equal(apart.unfold(folded, 2 * rows), values)
