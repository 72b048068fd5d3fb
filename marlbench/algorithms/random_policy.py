"""Random: every agent takes a uniformly random available action. The floor of every comparison."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from marlbench.algorithms.base import Algorithm, Hyperparameters, Mode, Policy, Setting
from marlbench.algorithms.distributions import inverse_cumulative
from marlbench.environments.contract import Continuous, Step


class UniformPolicy(Policy):
    """Uniform over available actions, or over the box of continuous ones, whatever the mode."""

    def __init__(self, setting: Setting) -> None:
        self.action = setting.specification.action
        self.members = setting.members

    def uniforms(self, mode: Mode) -> int:
        return self.action.size if isinstance(self.action, Continuous) else 1

    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        if isinstance(self.action, Continuous):
            return self.action.low + (self.action.high - self.action.low) * noise, None
        return inverse_cumulative(step.available_actions.to(torch.float32), noise[..., 0]), None


class RandomPolicy(Algorithm):
    """Every agent takes a uniformly random available action; there is nothing to set and nothing to learn."""

    revision = 1
    Hyperparameters = Hyperparameters
    learns = False

    def __init__(self, setting: Setting, hyperparameters: Any) -> None:
        self.policy = UniformPolicy(setting)
