"""Gradients of one loss with respect to several parameter stacks: agents and what puts their values together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from marlbench.algorithms.stack import ParameterStack


def backward(stacks: Sequence[ParameterStack], values: Tensor, gradient: Tensor) -> None:
    """Set the gradient buffers of all stacks by the chain rule from dL / d values to the parameters."""
    parameters = [tuple(stack.parameters.values()) for stack in stacks]
    leaves = [one for of_stack in parameters for one in of_stack]
    found = iter(torch.autograd.grad(values, leaves, gradient))
    for stack, of_stack in zip(stacks, parameters, strict=True):
        assert stack.flat.grad is not None
        torch.cat([next(found).flatten(1) for _ in of_stack], 1, out=stack.flat.grad)


def clip_together(stacks: Sequence[ParameterStack], learners: int, maximum_norm: float) -> Tensor:
    """Scale each learner's gradient over all stacks to at most a norm; returns the norms before, [learner]."""
    gradients = []
    for stack in stacks:
        assert stack.flat.grad is not None
        gradients.append(stack.flat.grad.view(learners, -1))
    norms = [torch.linalg.vector_norm(gradient, dim=1) for gradient in gradients]
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms), dim=0)
    scale = (maximum_norm / (norm + 1e-6)).clamp(max=1.0).unsqueeze(1)
    for gradient in gradients:
        gradient.mul_(scale)
    return norm
