"""GLOSA, green light optimal speed advisory: arrive at the signal when it is green. Nothing is learnt.

The rule of advisories such as Katsaros et al. 2011 ("Performance study of a Green Light Optimized Speed Advisory
(GLOSA) application using an integrated cooperative ITS simulation platform"), in its plainest form [ours]: with
distance d to the stop line and speed limit V,

    where there is green for r more seconds and d <= V (r - margin): drive at V
    else, with T seconds until the next green begins: drive at d / (T + margin), between the lowest speed advised and V

It sees what a learner sees, queues not at all; the simulator's car-following model keeps it from running into them.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms.base import Algorithm, Hyperparameters, Mode, Policy, Setting
from marlbench.environments.contract import Continuous, Step
from marlbench.errors import ConfigurationError

# What the features are divided by: metres per second, metres, seconds.
_SPEED, _DISTANCE, _TIME = 15.0, 250.0, 100.0

_NEEDED = (
    "speed",
    "stop_line",
    "signal.green",
    "signal.remaining",
    "signal.second_green",
    "edge.incoming",
    "context.speed_limit",
)


class GlosaHyperparameters(Hyperparameters):
    """How the advice is followed."""

    lowest_speed: float = Field(5.0, gt=0, description="metres per second; nobody is advised to go slower")
    margin: float = Field(
        1.0, ge=0, description="seconds by which green is missed at its end, and waited for"
    )
    acceleration: float = Field(2.6, gt=0, description="most, metres per second squared")
    deceleration: float = Field(1.5, gt=0, description="most, metres per second squared, of its own accord")
    reaction: float = Field(1.0, gt=0, description="seconds in which a difference of speed is made up")


class GlosaPolicy(Policy):
    """Reads observations by the names of their features.

    Raises:
        ConfigurationError: the task's observations are not named so, or its actions are no accelerations.
    """

    def __init__(self, setting: Setting, options: GlosaHyperparameters) -> None:
        specification = setting.specification
        index = {name: number for number, name in enumerate(specification.features)}
        action = specification.action
        if not set(_NEEDED) <= index.keys() or not isinstance(action, Continuous) or action.size != 1:
            raise ConfigurationError(
                "glosa needs observations that name distance, speed and signal, as in the tasks of `eco_driving`.",
                hint="Leave it out on this task: `tasks: [...]` in its entry of the suite.",
            )
        self.members, self.options, self.action = setting.members, options, action
        self._columns = [index[name] for name in _NEEDED]

    def uniforms(self, mode: Mode) -> int:
        return 0

    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        options = self.options
        told = step.observation[..., self._columns].unbind(-1)
        speed, limit = told[0] * _SPEED, told[6] * _SPEED
        distance = -told[1] * _DISTANCE
        remaining, second = told[3] * _TIME, told[4] * _TIME
        green = told[2] > 0
        in_time = green & (distance <= limit * (remaining - options.margin))
        until_green = torch.where(green, second, remaining) + options.margin
        paced = torch.minimum((distance / until_green).clamp(min=options.lowest_speed), limit)
        advised = torch.where((told[5] > 0) & ~in_time, paced, limit)
        acceleration = (advised - speed) / options.reaction
        acceleration = acceleration.clamp(-options.deceleration, options.acceleration)
        return acceleration.clamp(self.action.low, self.action.high).unsqueeze(-1), memory


class Glosa(Algorithm):
    """Green light optimal speed advisory; tasks without named signals refuse it."""

    revision = 1
    Hyperparameters = GlosaHyperparameters
    learns = False

    def __init__(self, setting: Setting, hyperparameters: Any) -> None:
        self.policy = GlosaPolicy(setting, hyperparameters)
