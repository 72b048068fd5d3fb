"""Adam on the one buffer of a parameter stack.

The arithmetic is torch.optim.Adam's and is tested against it. What differs is the start: constructing any torch
optimiser imports torch's compiler, which takes longer than many a cell trains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from marlbench.algorithms.stack import ParameterStack


class Adam:
    """Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1, with their decay rates .9 and .999.

    Attributes:
        learning_rate: may be changed between steps.
    """

    def __init__(self, stack: ParameterStack, learning_rate: float, epsilon: float = 1e-8) -> None:
        self.stack, self.learning_rate, self.epsilon = stack, learning_rate, epsilon
        self.first_decay, self.second_decay = 0.9, 0.999
        self.first_moment = torch.zeros_like(stack.flat, requires_grad=False)
        self.second_moment = torch.zeros_like(stack.flat, requires_grad=False)
        self.updates = 0

    @torch.no_grad()
    def step(self) -> None:
        """Move every learner along the stack's gradient buffer."""
        gradient = self.stack.flat.grad
        assert gradient is not None
        self.updates += 1
        self.first_moment.lerp_(gradient, 1.0 - self.first_decay)
        self.second_moment.mul_(self.second_decay).addcmul_(gradient, gradient, value=1.0 - self.second_decay)
        first_correction = 1.0 - self.first_decay**self.updates
        second_correction = 1.0 - self.second_decay**self.updates
        deviation = self.second_moment.sqrt().div_(math.sqrt(second_correction)).add_(self.epsilon)
        self.stack.flat.addcdiv_(self.first_moment, deviation, value=-self.learning_rate / first_correction)

    def state_dict(self) -> dict[str, Any]:
        return {
            "first_moment": self.first_moment.clone(),
            "second_moment": self.second_moment.clone(),
            "updates": self.updates,
            "learning_rate": self.learning_rate,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        first, second = state["first_moment"], state["second_moment"]
        assert isinstance(first, Tensor)
        assert isinstance(second, Tensor)
        self.first_moment.copy_(first)
        self.second_moment.copy_(second)
        self.updates = int(state["updates"])
        self.learning_rate = float(state["learning_rate"])
