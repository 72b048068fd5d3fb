"""A fully connected relu network with its backward pass written out, for inputs so few that recording costs more."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from marlbench.algorithms.stack import MultilayerPerceptron


class ValueNetwork(MultilayerPerceptron):
    """relu after every layer but the last."""

    def layers(self, parameters: Mapping[str, Tensor], features: Tensor) -> list[Tensor]:
        """What every layer says of [stack, sample, inputs]: [stack, sample, units] each, the outputs last."""
        found = []
        for layer in range(len(self.sizes) - 1):
            if layer:
                features = torch.relu(found[-1])
                found[-1] = features
            bias, weight = (parameters[f"{self.name}.{layer}.{part}"] for part in ("bias", "weight"))
            found.append(torch.baddbmm(bias, features, weight))
        return found

    def backward(
        self,
        parameters: Mapping[str, Tensor],
        gradient: Mapping[str, Tensor],
        layers: list[Tensor],
        inputs: Tensor,
        slope: Tensor,
    ) -> None:
        """Fill the gradient.

        Args:
            gradient: where it goes, shaped as the parameters.
            layers: what `layers` returned for `inputs`.
            slope: of the loss in the outputs, [stack, sample, outputs].
        """
        for layer in range(len(layers) - 1, -1, -1):
            before = layers[layer - 1] if layer else inputs
            gradient[f"{self.name}.{layer}.weight"].copy_(torch.bmm(before.transpose(1, 2), slope))
            torch.sum(slope, 1, keepdim=True, out=gradient[f"{self.name}.{layer}.bias"])
            if layer:
                weight = parameters[f"{self.name}.{layer}.weight"]
                slope = torch.bmm(slope, weight.transpose(1, 2)).mul_(before > 0)
