"""The parameter stack against plain torch modules, one per learner."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from marlbench.algorithms.stack import MultilayerPerceptron, ParameterStack

CPU = torch.device("cpu")


def build(size: int, activation: str) -> tuple[ParameterStack, MultilayerPerceptron, list[nn.Sequential]]:
    """A stack and, for each learner, a torch module with the same parameters."""
    network = MultilayerPerceptron("net", 5, (7, 6), 3, activation)  # type: ignore[arg-type]
    stack = ParameterStack(network.layout, size, CPU)
    twins = []
    for learner in range(size):
        network.initialise(stack.parameters, learner, torch.Generator().manual_seed(learner))
        layer = {"tanh": nn.Tanh, "relu": nn.ReLU}[activation]
        twin = nn.Sequential(nn.Linear(5, 7), layer(), nn.Linear(7, 6), layer(), nn.Linear(6, 3))
        with torch.no_grad():
            for place in range(3):
                linear = twin[2 * place]
                assert isinstance(linear, nn.Linear)
                linear.weight.copy_(stack.parameters[f"net.{place}.weight"][learner].T)
                linear.bias.uniform_(-1, 1)
                stack.parameters[f"net.{place}.bias"][learner, 0].copy_(linear.bias)
        twins.append(twin)
    return stack, network, twins


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("size", [1, 4])
def test_forward_and_gradient_equal_separate_modules(size: int, activation: str) -> None:
    stack, network, twins = build(size, activation)
    features = torch.randn(size, 11, 5)
    output = network(stack.parameters, features)
    stack.backward(output.square().mean(1))
    gradient = stack.view(stack.flat.grad)  # type: ignore[arg-type]
    for learner, twin in enumerate(twins):
        expected = twin(features[learner])
        torch.testing.assert_close(output[learner], expected)
        expected.square().mean(0).sum().backward()
        for place in range(3):
            linear = twin[2 * place]
            assert isinstance(linear, nn.Linear)
            assert linear.weight.grad is not None
            torch.testing.assert_close(gradient[f"net.{place}.weight"][learner], linear.weight.grad.T)
            torch.testing.assert_close(gradient[f"net.{place}.bias"][learner, 0], linear.bias.grad)


def test_clipping_is_per_learner() -> None:
    stack, network, _ = build(3, "tanh")
    features = torch.randn(3, 11, 5)
    scale = torch.tensor([1e-3, 1.0, 100.0]).view(3, 1, 1)
    stack.backward((network(stack.parameters, features) * scale).square().mean(1))
    before = stack.flat.grad.clone()  # type: ignore[union-attr]
    norms = stack.clip_gradient(0.5)
    after = stack.flat.grad
    assert after is not None
    for learner in range(3):
        parameter = nn.Parameter(torch.zeros_like(before[learner]))
        parameter.grad = before[learner].clone()
        norm = nn.utils.clip_grad_norm_([parameter], 0.5)
        torch.testing.assert_close(norms[learner], norm)
        torch.testing.assert_close(after[learner], parameter.grad)


def test_a_learner_that_is_not_a_number_leaves_the_others_alone() -> None:
    stack, network, _ = build(3, "tanh")
    features = torch.randn(3, 11, 5)
    stack.backward(network(stack.parameters, features).square().mean(1))
    sound = stack.flat.grad.clone()  # type: ignore[union-attr]
    with torch.no_grad():
        stack.flat[1].fill_(torch.nan)
    stack.backward(network(stack.parameters, features).square().mean(1))
    broken = stack.flat.grad
    assert broken is not None
    assert torch.equal(broken[0], sound[0])
    assert torch.equal(broken[2], sound[2])
    assert bool(broken[1].isnan().any())


def test_initialisation_is_orthogonal_and_depends_on_the_generator_alone() -> None:
    network = MultilayerPerceptron("net", 8, (16,), 4)
    alone, among = ParameterStack(network.layout, 1, CPU), ParameterStack(network.layout, 3, CPU)
    network.initialise(alone.parameters, 0, torch.Generator().manual_seed(5))
    for learner, seed in enumerate((9, 5, 2)):
        network.initialise(among.parameters, learner, torch.Generator().manual_seed(seed))
    assert torch.equal(alone.flat[0], among.flat[1])
    weight = alone.parameters["net.0.weight"][0]
    torch.testing.assert_close(weight @ weight.T, 2.0 * torch.eye(8), atol=1e-5, rtol=0)
