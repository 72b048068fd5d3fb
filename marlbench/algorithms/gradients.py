"""Gradients of one loss with respect to several parameter stacks: agents and what puts their values together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from marlbench.algorithms.stack import ParameterStack


def backward(stacks: Sequence[ParameterStack], loss: Tensor) -> None:
    """Set the gradient buffers of all stacks to the gradient of the summed loss; `loss` has any shape."""
    parameters = [tuple(stack.parameters.values()) for stack in stacks]
    found = iter(torch.autograd.grad(loss.sum(), [one for of_stack in parameters for one in of_stack]))
    for stack, of_stack in zip(stacks, parameters, strict=True):
        assert stack.flat.grad is not None
        torch.cat([next(found).flatten(1) for _ in of_stack], 1, out=stack.flat.grad)


def clip_together(stacks: Sequence[ParameterStack], members: int, maximum_norm: float) -> Tensor:
    """Scale each member's gradient over all stacks to at most a norm; returns the norms before, [member]."""
    gradients = []
    for stack in stacks:
        assert stack.flat.grad is not None
        gradients.append(stack.flat.grad.view(members, -1))
    squares = torch.stack([gradient.square().sum(1) for gradient in gradients])
    norm = squares.sum(0).sqrt()
    scale = (maximum_norm / (norm + 1e-6)).clamp(max=1.0).unsqueeze(1)
    for gradient in gradients:
        gradient.mul_(scale)
    return norm
