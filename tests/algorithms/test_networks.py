"""Networks over a stack against torch's own modules, learner by learner."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, nn

from marlbench.algorithms.networks import AgentNetwork, GatedRecurrentUnit, ImageEncoder
from marlbench.algorithms.stack import ParameterStack

CPU = torch.device("cpu")


def made(network, learners=3):
    stack = ParameterStack(network.layout, learners, CPU)
    for learner in range(learners):
        network.initialise(stack.parameters, learner, Generator().manual_seed(learner))
    with torch.no_grad():
        # Zero biases would hide a bias in the wrong place.
        stack.flat.add_(torch.randn(stack.flat.shape, generator=Generator().manual_seed(9)), alpha=0.05)
    return stack.parameters


def test_recurrent_unit_is_torch_gru():
    unit = GatedRecurrentUnit("unit", 5, 7)
    parameters = made(unit)
    features, memory = torch.randn(3, 4, 5), torch.randn(3, 4, 7)
    found = unit.step(parameters, unit.project(parameters, features), memory)
    for learner in range(3):
        other = nn.GRUCell(5, 7)
        with torch.no_grad():
            other.weight_ih.copy_(parameters["unit.input.weight"][learner].T)
            other.weight_hh.copy_(parameters["unit.memory.weight"][learner].T)
            other.bias_ih.copy_(parameters["unit.input.bias"][learner, 0])
            other.bias_hh.copy_(parameters["unit.memory.bias"][learner, 0])
        torch.testing.assert_close(found[learner], other(features[learner], memory[learner]))


@pytest.mark.parametrize("image", [(3, 7, 7), (5, 13, 13), (1, 84, 84), (2, 2, 9), (3, 40, 12)])
def test_image_encoder_is_torch_convolutions(image):
    encoder = ImageEncoder("image", image)
    parameters = made(encoder, learners=2)
    images = torch.rand(2, 3, math.prod(image))
    found = encoder(parameters, images)
    assert found.shape == (2, 3, encoder.outputs)
    for learner in range(2):
        planes = images[learner].view(3, *image)
        for layer, (channels, filters, kernel, stride) in enumerate(encoder.layers):
            convolution = nn.Conv2d(channels, filters, kernel, stride)
            with torch.no_grad():
                convolution.weight.copy_(parameters[f"image.{layer}.weight"][learner])
                convolution.bias.copy_(parameters[f"image.{layer}.bias"][learner])
            planes = torch.relu(convolution(planes))
        torch.testing.assert_close(found[learner], planes.flatten(1), rtol=1e-4, atol=1e-5)


def test_the_layers_for_84_pixels_are_those_of_mnih_2013():
    layers = ImageEncoder("image", (4, 84, 84)).layers
    assert [(kernel, stride) for _, _, kernel, stride in layers] == [((8, 8), 4), ((4, 4), 2)]


@pytest.mark.parametrize("units", [0, 6])
@pytest.mark.parametrize("image", [None, (2, 5, 5)])
@pytest.mark.parametrize("hidden", [(), (8,), (8, 9)])
def test_unrolling_is_stepping(units, image, hidden):
    inputs = 4 + (50 if image else 0)
    network = AgentNetwork("agent", inputs, hidden, 3, recurrent_units=units, image=image)
    parameters = made(network)
    features = torch.randn(3, 6, 2, inputs)
    fresh = torch.rand(3, 6, 2) < 0.3
    memory = torch.randn(3, 2, units) if units else None
    outputs, after = network.unroll(parameters, features, memory, fresh)
    for time in range(6):
        if memory is not None:
            memory = memory * (~fresh[:, time]).unsqueeze(-1)
        found, memory = network.step(parameters, features[:, time], memory)
        torch.testing.assert_close(outputs[:, time], found)
    if units:
        torch.testing.assert_close(after, memory)
    else:
        assert after is None


def test_memory_carries_gradients_back_to_the_first_step_but_not_past_a_fresh_start():
    network = AgentNetwork("agent", 2, (4,), 1, recurrent_units=3)
    parameters = made(network, learners=1)
    fresh = torch.zeros(1, 5, 2, dtype=torch.bool)
    fresh[0, 3, 1] = True
    features = torch.randn(1, 5, 2, 2, requires_grad=True)
    outputs, _ = network.unroll(parameters, features, torch.zeros(1, 2, 3), fresh)
    gradient = torch.autograd.grad(outputs[0, 4].sum(), features)[0].abs().sum(-1)[0]
    assert (gradient[:, 0] > 0).all()
    assert (gradient[:3, 1] == 0).all()
    assert (gradient[3:, 1] > 0).all()
