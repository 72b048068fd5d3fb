"""A fully connected network with swish (Ramachandran et al. 2017, arXiv 1710.05941), its backward pass written out.

For the small networks of storage agents: recording the graph would cost more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from marlbench.algorithms.stack import MultilayerPerceptron, ParameterStack


class SwishNetwork(MultilayerPerceptron):
    """swish(x) = x sigmoid(x) after every layer but the last. Its parameters are all of their stack's."""

    def _linear(self, parameters: Mapping[str, Tensor], layer: int, features: Tensor) -> Tensor:
        bias, weight = (parameters[f"{self.name}.{layer}.{part}"] for part in ("bias", "weight"))
        return torch.baddbmm(bias, features, weight)

    def __call__(self, parameters: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """[stack, sample, inputs] -> [stack, sample, outputs], without a gradient."""
        with torch.no_grad():
            last = len(self.sizes) - 2
            for layer in range(last):
                features = torch.nn.functional.silu(self._linear(parameters, layer, features), inplace=True)
            return self._linear(parameters, last, features)

    def keep(self, parameters: Mapping[str, Tensor], features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The outputs, and for `set_gradient` the input of every layer and what every hidden layer is before swish."""
        kept = [features]
        with torch.no_grad():
            last = len(self.sizes) - 2
            for layer in range(last):
                before = self._linear(parameters, layer, kept[-1])
                kept += [before, torch.nn.functional.silu(before)]
            return self._linear(parameters, last, kept[-1]), kept

    def set_gradient(self, stack: ParameterStack, kept: list[Tensor], slope: Tensor) -> None:
        """Set the stack's gradient, from what `keep` kept and the slope of the loss in the outputs."""
        assert stack.flat.grad is not None
        gradient = stack.view(stack.flat.grad)
        for layer in range(len(self.sizes) - 2, -1, -1):
            torch.bmm(kept[2 * layer].transpose(1, 2), slope, out=gradient[f"{self.name}.{layer}.weight"])
            torch.sum(slope, 1, keepdim=True, out=gradient[f"{self.name}.{layer}.bias"])
            if layer:
                weight = stack.parameters[f"{self.name}.{layer}.weight"].detach()
                slope = torch.bmm(slope, weight.transpose(1, 2))
                slope = torch.ops.aten.silu_backward(slope, kept[2 * layer - 1])


def parameters_of(sizes: tuple[int, ...]) -> int:
    """How many parameters a fully connected network with these units has, inputs and outputs included."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
