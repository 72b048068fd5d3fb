"""RMSprop on the one buffer of a parameter stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from marlbench.algorithms.stack import ParameterStack


class RMSprop:
    """Hinton's rule with the variance instead of the second moment (Graves 2013, arXiv 1308.0850, equations 38-45,
    without momentum):

        n = rho n + (1 - rho) g^2,  m = rho m + (1 - rho) g,  theta -= learning_rate g / (sqrt(n - m^2) + epsilon).

    The arithmetic is that of torch.optim.RMSprop with `centered`, and is tested against it.
    """

    def __init__(
        self, stack: ParameterStack, learning_rate: float, decay: float = 0.95, epsilon: float = 1e-8
    ) -> None:
        self.stack, self.learning_rate, self.decay, self.epsilon = stack, learning_rate, decay, epsilon
        self.mean = torch.zeros_like(stack.flat, requires_grad=False)
        self.square = torch.zeros_like(stack.flat, requires_grad=False)

    @torch.no_grad()
    def step(self) -> None:
        """Move every learner along the stack's gradient buffer."""
        gradient = self.stack.flat.grad
        assert gradient is not None
        self.square.mul_(self.decay).addcmul_(gradient, gradient, value=1.0 - self.decay)
        self.mean.lerp_(gradient, 1.0 - self.decay)
        deviation = self.square.addcmul(self.mean, self.mean, value=-1.0).clamp_(min=0.0).sqrt_()
        self.stack.flat.addcdiv_(gradient, deviation.add_(self.epsilon), value=-self.learning_rate)

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean.clone(), "square": self.square.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mean.copy_(state["mean"])
        self.square.copy_(state["square"])
