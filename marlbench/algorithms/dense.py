"""Fully connected layers over a parameter stack, forwards and, written out, backwards.

For networks of a few dozen units the book-keeping of automatic differentiation takes longer than the products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

_in_place: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh_, "relu": torch.relu_}
# From the gradient of what an activation gave, and that, to the gradient of what it got.
_through: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "tanh": torch.ops.aten.tanh_backward.default,
    "relu": partial(torch.ops.aten.threshold_backward.default, threshold=0),
}


def forward(
    features: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str
) -> list[Tensor]:
    """What goes into each layer, and last what comes out of the network; without a graph.

    Args:
        features: [stack, sample, inputs].
        weights: of each layer, [stack, inputs, outputs].
        biases: of each layer, [stack, 1, outputs].
        activation: `relu` or `tanh`, after every layer but the last.
    """
    values, last = [features], len(weights) - 1
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        features = torch.baddbmm(bias, features, weight)
        if layer < last:
            features = _in_place[activation](features)
        values.append(features)
    return values


def backward(
    gradient: Tensor,
    values: Sequence[Tensor],
    weights: Sequence[Tensor],
    activation: str,
    into_weights: Sequence[Tensor],
    into_biases: Sequence[Tensor],
) -> None:
    """The chain rule through `forward`, from the last layer to the first:

    dL/dW = x^T g, dL/db = sum of g over samples, dL/dx = g W^T, and through the activation that made x.

    Args:
        gradient: dL / d outputs, [stack, sample, outputs].
        values: what `forward` returned.
        weights: of each layer.
        activation: as in `forward`.
        into_weights, into_biases: where dL/dW and dL/db go, of each layer.
    """
    for layer in range(len(weights) - 1, -1, -1):
        entered = values[layer]
        torch.sum(gradient, 1, keepdim=True, out=into_biases[layer])
        torch.bmm(entered.transpose(1, 2), gradient, out=into_weights[layer])
        if layer == 0:
            return
        gradient = torch.bmm(gradient, weights[layer].transpose(1, 2))
        gradient = _through[activation](gradient, entered)
