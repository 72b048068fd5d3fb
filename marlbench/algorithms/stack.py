"""The parameter stack: many learners of one architecture, applied by batched matrix products.

Networks are written for one learner. A stack holds the parameters of `size` learners with a leading axis, so that
seeds trained together and agents that do not share parameters cost one batched product instead of many small ones.
All parameters of a stack lie in one buffer [stack, parameters]; its gradient likewise. Clipping, the optimiser, target
copies and snapshots of the best policy are then operations on one tensor, per learner along the first axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from marlbench.algorithms import dense

Activation = Literal["tanh", "relu"]
Layout = dict[str, tuple[int, ...]]

activations: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}


class MultilayerPerceptron:
    """A fully connected network: `activation` after every layer but the last.

    It owns no parameters: it names them (`layout`), draws their first values (`initialise`) and applies those it is
    given, for every learner of a stack at once.
    """

    def __init__(
        self,
        name: str,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        activation: Activation = "tanh",
        output_gain: float = 1.0,
    ) -> None:
        self.name = name
        self.sizes = (inputs, *hidden, outputs)
        self.activation = activation
        self.output_gain = output_gain
        self._weights = [f"{name}.{layer}.weight" for layer in range(len(self.sizes) - 1)]
        self._biases = [f"{name}.{layer}.bias" for layer in range(len(self.sizes) - 1)]

    @property
    def layout(self) -> Layout:
        """Shapes of the parameters of one learner by name."""
        layout: Layout = {}
        for layer, (inputs, outputs) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            layout[f"{self.name}.{layer}.weight"] = (inputs, outputs)
            layout[f"{self.name}.{layer}.bias"] = (1, outputs)
        return layout

    def initialise(self, parameters: Mapping[str, Tensor], learner: int, generator: Generator) -> None:
        """Draw one learner's first weights: orthogonal (Saxe et al. 2014), gain sqrt(2) in hidden layers."""
        last = len(self.sizes) - 2
        for layer in range(last + 1):
            weight = torch.empty(self.sizes[layer], self.sizes[layer + 1])
            gain = self.output_gain if layer == last else math.sqrt(2.0)
            nn.init.orthogonal_(weight, gain=gain, generator=generator)
            with torch.no_grad():
                parameters[f"{self.name}.{layer}.weight"][learner].copy_(weight)
                parameters[f"{self.name}.{layer}.bias"][learner].zero_()

    def __call__(self, parameters: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """[stack, sample, inputs] -> [stack, sample, outputs]."""
        if not torch.is_grad_enabled():
            return self.forward(parameters, features)[-1]
        last = len(self.sizes) - 2
        for layer, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            features = torch.baddbmm(parameters[bias], features, parameters[weight])
            if layer < last:
                features = activations[self.activation](features)
        return features

    def forward(self, parameters: Mapping[str, Tensor], features: Tensor) -> list[Tensor]:
        """What goes into each layer, and last the outputs: to be called without a graph, for `backward`."""
        weights, biases = [parameters[n] for n in self._weights], [parameters[n] for n in self._biases]
        return dense.forward(features, weights, biases, self.activation)

    def backward(
        self,
        parameters: Mapping[str, Tensor],
        values: Sequence[Tensor],
        gradient: Tensor,
        into: Mapping[str, Tensor],
    ) -> None:
        """Write the gradient of the parameters `into` tensors of their names; `values` are `forward`'s, `gradient`
        is dL / d outputs."""
        weights = [parameters[n] for n in self._weights]
        into_weights, into_biases = [into[n] for n in self._weights], [into[n] for n in self._biases]
        dense.backward(gradient, values, weights, self.activation, into_weights, into_biases)


class ParameterStack:
    """The parameters of `size` learners in one buffer, with one gradient buffer beside it.

    Attributes:
        flat: the buffer, a Parameter [stack, parameters]; optimisers take this one tensor.
        parameters: name -> leaf tensor [stack, *shape], a view of the buffer.
        gradients: name -> the view of the gradient buffer of the same shape.
    """

    def __init__(self, layout: Layout, size: int, device: torch.device) -> None:
        self.layout = layout
        self.size = size
        self.count = sum(math.prod(shape) for shape in layout.values())
        self.flat = nn.Parameter(torch.zeros(size, self.count, device=device))
        self.flat.grad = torch.zeros_like(self.flat)
        self.parameters: dict[str, Tensor] = {
            name: nn.Parameter(value) for name, value in self.view(self.flat.data).items()
        }
        self.gradients = self.view(self.flat.grad)

    def view(self, flat: Tensor) -> dict[str, Tensor]:
        """The named parameters inside any buffer of this layout: [stack, parameters] -> name -> [stack, *shape]."""
        named: dict[str, Tensor] = {}
        start = 0
        for name, shape in self.layout.items():
            count = math.prod(shape)
            named[name] = flat[:, start : start + count].view(flat.shape[0], *shape)
            start += count
        return named

    def packed(self, description: Mapping[str, Tensor], learners: int) -> Tensor:
        """The numbers of one member from its named tensors [learner, *shape]: [learner x parameters].

        Raises ValueError where a name is missing or a shape differs.
        """
        parts = []
        for name, shape in self.layout.items():
            value = named(description, name)
            if value.shape != (learners, *shape):
                raise ValueError(f"'{name}' has the shape {tuple(value.shape)}, not {(learners, *shape)}")
            parts.append(value.reshape(learners, -1))
        return torch.cat(parts, 1).flatten()

    def backward(self, loss: Tensor) -> None:
        """Set the gradient buffer to the gradient of the summed loss; `loss` has any shape."""
        assert self.flat.grad is not None
        gradients = torch.autograd.grad(loss.sum(), tuple(self.parameters.values()))
        torch.cat([gradient.flatten(1) for gradient in gradients], 1, out=self.flat.grad)

    def clip_gradient(self, maximum_norm: float) -> Tensor:
        """Scale each learner's gradient to at most a norm; returns the norms before, [stack]."""
        gradient = self.flat.grad
        assert gradient is not None
        norm = torch.linalg.vector_norm(gradient, dim=1)
        gradient.mul_((maximum_norm / (norm + 1e-6)).clamp(max=1.0).unsqueeze(1))
        return norm


def named(description: Mapping[str, Tensor], name: str) -> Tensor:
    """A policy's tensor of that name; ValueError where there is none."""
    if name not in description:
        raise ValueError(f"there is no '{name}' in the policy")
    return description[name]
