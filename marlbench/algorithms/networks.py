"""Networks of agents and critics over a parameter stack: image encoder, hidden layers, recurrent unit, linear head.

Every network is written for a stack of learners and owns no parameters: it names them (`layout`), draws their first
values (`initialise`) and applies those it is given. Axes are [stack, sample, ...] and, for sequences,
[stack, time, sample, ...].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor, nn

from marlbench.algorithms.recording import recording
from marlbench.algorithms.recurrence import GatedSequence, unrolled
from marlbench.algorithms.stack import Activation, Layout, MultilayerPerceptron, activations

Image = tuple[int, int, int]
"""Channels, height, width."""


class GatedRecurrentUnit:
    """Cho et al. 2014 (arXiv 1406.1078), in the form of torch.nn.GRU:

    r = sigmoid(W_r x + U_r h), z = sigmoid(W_z x + U_z h), n = tanh(W_n x + r (U_n h)), h' = (1 - z) n + z h,
    with biases everywhere. The columns of the weights are r, z, n.
    """

    def __init__(self, name: str, inputs: int, units: int) -> None:
        self.name, self.inputs, self.units = name, inputs, units

    @property
    def layout(self) -> Layout:
        return {
            f"{self.name}.input.weight": (self.inputs, 3 * self.units),
            f"{self.name}.input.bias": (1, 3 * self.units),
            f"{self.name}.memory.weight": (self.units, 3 * self.units),
            f"{self.name}.memory.bias": (1, 3 * self.units),
        }

    def initialise(self, parameters: Mapping[str, Tensor], learner: int, generator: Generator) -> None:
        """Orthogonal weights for each gate (Saxe et al. 2014), zero biases."""
        for part, rows in (("input", self.inputs), ("memory", self.units)):
            for gate in range(3):
                weight = nn.init.orthogonal_(torch.empty(rows, self.units), generator=generator)
                columns = slice(gate * self.units, (gate + 1) * self.units)
                with torch.no_grad():
                    parameters[f"{self.name}.{part}.weight"][learner, :, columns].copy_(weight)
            with torch.no_grad():
                parameters[f"{self.name}.{part}.bias"][learner].zero_()

    def project(self, parameters: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """The share of the inputs in the gates: [stack, sample, inputs] -> [stack, sample, 3 x units]."""
        weight, bias = parameters[f"{self.name}.input.weight"], parameters[f"{self.name}.input.bias"]
        return torch.baddbmm(bias, features, weight)

    def step(self, parameters: Mapping[str, Tensor], projected: Tensor, memory: Tensor) -> Tensor:
        """One step from `project`'s result and the memory: [stack, sample, units]."""
        weight, bias = parameters[f"{self.name}.memory.weight"], parameters[f"{self.name}.memory.bias"]
        recalled = torch.baddbmm(bias, memory, weight)
        units = self.units
        gates = torch.sigmoid(projected[..., : 2 * units] + recalled[..., : 2 * units])
        reset, update = gates[..., :units], gates[..., units:]
        proposed = torch.tanh(torch.addcmul(projected[..., 2 * units :], reset, recalled[..., 2 * units :]))
        return torch.lerp(proposed, memory, update)

    def unroll(
        self,
        parameters: Mapping[str, Tensor],
        projected: Tensor,
        memory: Tensor,
        fresh: Tensor | None = None,
    ) -> Tensor:
        """The memory after each step of sequences: [stack, time, sample, units], with gradients through time.

        Args:
            projected: `project`'s result, [stack, time, sample, 3 x units].
            memory: before the first step, [stack, sample, units].
            fresh: bool [stack, time, sample]: samples whose memory is zeroed before that step; None for nowhere.
        """
        if recording() and fresh is None:
            # A function with a backward pass of its own is no operation that a recorded program could have.
            found = []
            for time in range(projected.shape[1]):
                memory = self.step(parameters, projected[:, time], memory)
                found.append(memory)
            return torch.stack(found, 1)
        weight, bias = (parameters[f"{self.name}.memory.{part}"] for part in ("weight", "bias"))
        if not torch.is_grad_enabled():
            return unrolled(projected, memory, weight, bias, fresh)
        memories: Tensor = GatedSequence.apply(projected, memory, weight, bias, fresh)
        return memories


class ImageEncoder:
    """Convolutions with relu, down to a few pixels a side, flattened.

    A side of more than 32 pixels is met by filters of 8 with stride 4, one of more than 9 by 4 with stride 2, a smaller
    one by 3 with stride 1, and there are at least two layers. For 84 x 84 these are the layers of Mnih et al. 2013
    (arXiv 1312.5602).
    """

    CHANNELS = (16, 32, 32)

    def __init__(self, name: str, image: Image) -> None:
        self.name, self.image = name, image
        self.layers: list[tuple[int, int, tuple[int, int], int]] = []
        channels, *sides = image
        while len(self.layers) < 2 or max(sides) > 9:
            longest = max(sides)
            kernel, stride = (8, 4) if longest > 32 else (4, 2) if longest > 9 else (3, 1)
            fitted = (min(kernel, sides[0]), min(kernel, sides[1]))
            filters = self.CHANNELS[min(len(self.layers), len(self.CHANNELS) - 1)]
            self.layers.append((channels, filters, fitted, stride))
            channels = filters
            sides = [(side - size) // stride + 1 for side, size in zip(sides, fitted, strict=True)]
        self.outputs = channels * sides[0] * sides[1]

    @property
    def layout(self) -> Layout:
        layout: Layout = {}
        for layer, (channels, filters, kernel, _) in enumerate(self.layers):
            layout[f"{self.name}.{layer}.weight"] = (filters, channels, *kernel)
            layout[f"{self.name}.{layer}.bias"] = (filters,)
        return layout

    def initialise(self, parameters: Mapping[str, Tensor], learner: int, generator: Generator) -> None:
        """Orthogonal filters, gain sqrt(2)."""
        for layer, (channels, filters, kernel, _) in enumerate(self.layers):
            weight = torch.empty(filters, channels, *kernel)
            nn.init.orthogonal_(weight, gain=math.sqrt(2.0), generator=generator)
            with torch.no_grad():
                parameters[f"{self.name}.{layer}.weight"][learner].copy_(weight)
                parameters[f"{self.name}.{layer}.bias"][learner].zero_()

    def __call__(self, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """[stack, sample, channels x height x width] -> [stack, sample, outputs]."""
        stack, samples = images.shape[:2]
        # Learners become groups of channels: one convolution for the whole stack.
        planes = images.reshape(stack, samples, *self.image).transpose(0, 1).flatten(1, 2)
        for layer, (_, _, _, stride) in enumerate(self.layers):
            weight, bias = parameters[f"{self.name}.{layer}.weight"], parameters[f"{self.name}.{layer}.bias"]
            planes = torch.relu(
                nn.functional.conv2d(
                    planes, weight.flatten(0, 1), bias.flatten(), stride=stride, groups=stack
                )
            )
        return planes.reshape(samples, stack, self.outputs).transpose(0, 1)


class AgentNetwork:
    """[image encoder] -> hidden layers -> [recurrent unit] -> linear head.

    With `hidden` of one layer and as many recurrent units this is the agent of QMIX (Rashid et al. 2018, appendix).

    Args:
        name: begins the names of the parameters.
        inputs: features of a sample; where there is an image, its pixels come first.
        image: channels, height, width; None where there is no image.
        hidden: units of the hidden layers.
        recurrent_units: of the recurrent unit; 0 for a memoryless network.
        outputs: of the head.
        activation: after every hidden layer.
        output_gain: of the head's first weights.
    """

    def __init__(
        self,
        name: str,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        activation: Activation = "tanh",
        output_gain: float = 1.0,
        *,
        recurrent_units: int = 0,
        image: Image | None = None,
    ) -> None:
        self.inputs, self.outputs, self.memory_size = inputs, outputs, recurrent_units
        self.activation = activations[activation]
        self.encoder = None if image is None else ImageEncoder(f"{name}.image", image)
        self.pixels = 0 if image is None else math.prod(image)
        features = inputs - self.pixels + (0 if self.encoder is None else self.encoder.outputs)
        self.recurrent: GatedRecurrentUnit | None = None
        self.trunk: MultilayerPerceptron | None = None
        if recurrent_units:
            if hidden:
                self.trunk = MultilayerPerceptron(
                    f"{name}.trunk", features, hidden[:-1], hidden[-1], activation, math.sqrt(2.0)
                )
            units = hidden[-1] if hidden else features
            self.recurrent = GatedRecurrentUnit(f"{name}.recurrent", units, recurrent_units)
            self.head = MultilayerPerceptron(
                f"{name}.head", recurrent_units, (), outputs, output_gain=output_gain
            )
        else:
            self.head = MultilayerPerceptron(name, features, hidden, outputs, activation, output_gain)
        self.parts = [
            part for part in (self.encoder, self.trunk, self.recurrent, self.head) if part is not None
        ]

    @property
    def layout(self) -> Layout:
        return {name: shape for part in self.parts for name, shape in part.layout.items()}

    @property
    def dense(self) -> bool:
        """Whether `head` is all there is to it."""
        return len(self.parts) == 1

    @property
    def units(self) -> int:
        """Activations that one sample keeps, for estimates of memory."""
        hidden = sum(self.head.sizes[1:]) + (0 if self.trunk is None else sum(self.trunk.sizes[1:]))
        image = 0 if self.encoder is None else 4 * self.encoder.outputs
        return hidden + image + 8 * self.memory_size

    def initialise(self, parameters: Mapping[str, Tensor], learner: int, generator: Generator) -> None:
        """Draw one learner's first parameters."""
        for part in self.parts:
            part.initialise(parameters, learner, generator)

    def _features(self, parameters: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """What goes into the recurrent unit, or into the head: [stack, sample, ...]."""
        if self.encoder is not None:
            seen = self.encoder(parameters, features[..., : self.pixels])
            features = torch.cat([seen, features[..., self.pixels :]], -1)
        if self.trunk is not None:
            features = self.activation(self.trunk(parameters, features))
        return features

    def step(
        self, parameters: Mapping[str, Tensor], features: Tensor, memory: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """[stack, sample, inputs] and [stack, sample, memory_size] -> outputs and the memory after them."""
        features = self._features(parameters, features)
        if self.recurrent is not None:
            assert memory is not None
            projected = self.recurrent.project(parameters, features)
            features = memory = self.recurrent.step(parameters, projected, memory)
        return self.head(parameters, features), memory

    def __call__(self, parameters: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """A memoryless network's outputs: [stack, sample, inputs] -> [stack, sample, outputs]."""
        assert self.recurrent is None
        return self.head(parameters, self._features(parameters, features))

    def unroll(
        self,
        parameters: Mapping[str, Tensor],
        features: Tensor,
        memory: Tensor | None,
        fresh: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Sequences, with gradients through time.

        Args:
            features: [stack, time, sample, inputs].
            memory: [stack, sample, memory_size] before the first step; None for a memoryless network.
            fresh: bool [stack, time, sample]: samples whose memory is zeroed before that step; None for nowhere.

        Returns:
            outputs [stack, time, sample, outputs], and the memory after the last step.
        """
        stack, length, samples = features.shape[:3]
        if self.recurrent is None:
            flat = self._features(parameters, features.flatten(1, 2))
        else:
            assert memory is not None
            remembered = self.memories(parameters, features, memory, fresh)
            flat, memory = remembered.flatten(1, 2), remembered[:, -1]
        return self.head(parameters, flat).view(stack, length, samples, -1), memory

    def memories(
        self, parameters: Mapping[str, Tensor], features: Tensor, memory: Tensor, fresh: Tensor | None = None
    ) -> Tensor:
        """The memory after each step of sequences, of which `head` makes the outputs.

        Args as for `unroll`; returns [stack, time, sample, memory_size].
        """
        assert self.recurrent is not None
        stack, length, samples = features.shape[:3]
        flat = self._features(parameters, features.flatten(1, 2))
        projected = self.recurrent.project(parameters, flat).view(stack, length, samples, -1)
        return self.recurrent.unroll(parameters, projected, memory, fresh)
