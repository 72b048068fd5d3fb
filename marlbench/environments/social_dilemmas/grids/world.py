"""The base of the grid worlds: agents with a direction on a map, what they see, and what is measured of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import Discrete, EnvironmentSpecification
from marlbench.environments.simulator import TensorSimulator
from marlbench.environments.social_dilemmas.grids.rules import (
    AGENT_FEATURES,
    APPLE,
    SUMS,
    Layout,
    Rules,
    Window,
)
from marlbench.environments.social_dilemmas.measures import efficiency, equality, peace, sustainability

CPU = torch.device("cpu")


class GridParameters(contract.Parameters):
    """What both grid worlds can be told. Numbers without a value are those of the variant."""

    agents: int | None = Field(default=None, ge=1, le=16, description="players")
    length: int = Field(default=1_000, ge=1, le=100_000, description="steps of an episode")
    time_out: int | None = Field(
        default=None, ge=0, le=1_000, description="steps that who was zapped is out of the game"
    )
    zap_cost: float | None = Field(default=None, ge=0, description="what zapping costs")
    fine: float | None = Field(default=None, ge=0, description="what being zapped costs")

    def punishment(self, **usual: float) -> dict[str, Any]:
        """`time_out`, `zap_cost` and `fine`, the usual ones where none were given."""
        given = {name: getattr(self, name) for name in usual}
        return {name: usual[name] if value is None else value for name, value in given.items()}


class GridWorld(TensorSimulator):
    """Rows of a grid world; they are played on the CPU, whatever the device of the tensors.

    Attributes:
        PLANES: of the picture that an agent sees.
        METRICS: their names.
        layout, rules, window: set by the subclass before `super().__init__`.
        river: whether there is one, with waste and a cleaning beam.
        ripe: whether apples hang at all their places when an episode begins.
    """

    PLANES: tuple[str, ...]
    METRICS: tuple[str, ...] = (
        *("efficiency", "equality", "sustainability", "peace"),
        *("apples_mean", "zaps_mean"),
    )

    layout: Layout
    rules: Rules
    window: Window
    river: bool
    ripe: bool

    def __init__(
        self, parameters: GridParameters, agents: int, actions: int, rows: int, device: torch.device
    ) -> None:
        layout, window = self.layout, self.window
        self.agents, self.length = agents, parameters.length
        self._vector = 3 if self.river else 2
        self.specification = EnvironmentSpecification(
            agents=tuple(f"agent_{agent}" for agent in range(agents)),
            observation_size=len(self.PLANES) * window.height * window.width + self._vector,
            state_size=len(layout.apples) + len(layout.waste) * self.river + agents * AGENT_FEATURES,
            action=Discrete(actions),
            metrics=self.METRICS,
            episode_limit=self.length,
            image=(len(self.PLANES), window.height, window.width),
        )
        super().__init__(parameters, rows, device)
        self._start = layout.cells.copy()
        if self.ripe:
            self._start[layout.apples] |= APPLE
        self._waste = layout.waste if self.river else layout.waste[:0]
        self._steps, self._seen = layout.steps(), layout.window(window)

    @abstractmethod
    def play(self, action: NDArray[np.int64], reward: NDArray[np.float32], rows: tuple[Any, ...]) -> None:
        """One compiled step of all rows: changes the memory's arrays, `rows`, and adds to the rewards."""

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        from marlbench.environments.social_dilemmas.grids.dynamics import begin_rows

        rows = len(keys)
        memory = {
            "key": keys.cpu(),
            "time": torch.zeros(rows, dtype=torch.int64),
            "cells": torch.empty(rows, self.layout.cells.size, dtype=torch.uint8),
            "place": torch.empty(rows, self.agents, dtype=torch.int64),
            "facing": torch.empty(rows, self.agents, dtype=torch.int64),
            # Steps out of the game, until a zap, until a cleaning beam.
            "timers": torch.zeros(rows, self.agents, 3, dtype=torch.int64),
            "sums": torch.zeros(rows, self.agents, SUMS),
            "returns": torch.zeros(rows, self.agents),
            "covered": torch.zeros(rows),
        }
        arrays = (memory[name].numpy() for name in ("key", "cells", "place", "facing"))
        begin_rows(*arrays, self.layout.spawns, self.layout.inside, self._start)
        return memory

    def restore(self) -> None:
        # A saved state comes back on the device of the tensors.
        self.memory = {name: value.to(CPU) for name, value in self.memory.items()}

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        memory = self.memory
        reward = torch.zeros(self.rows, self.agents)
        names = ("key", "time", "cells", "place", "facing", "timers", "sums")
        self.play(action.cpu().numpy(), reward.numpy(), tuple(memory[name].numpy() for name in names))
        memory["returns"] += reward
        return reward.to(self.device), None

    def observe(self) -> tuple[Tensor, Tensor]:
        from marlbench.environments.social_dilemmas.grids.views import look, survey

        names = ("cells", "place", "facing", "timers")
        arrays = tuple(self.memory[name].numpy() for name in names)
        specification = self.specification
        observation = torch.empty(self.rows, self.agents, specification.observation_size)
        state = torch.empty(self.rows, specification.state_size)
        look(*arrays, self._seen, self.river, self.rules, observation.numpy())
        shape = (self.layout.height, self.layout.width)
        survey(*arrays, self.layout.apples, self._waste, shape, self.rules, state.numpy())
        return observation.to(self.device), state.to(self.device)

    def measure(self) -> dict[str, Tensor]:
        memory = self.memory
        apples, times, disturbed, zaps, _ = memory["sums"].unbind(2)
        measures = {
            "efficiency": efficiency(memory["returns"], self.length),
            "equality": equality(apples),
            "sustainability": sustainability(times, apples),
            "peace": peace(disturbed, self.length),
            "apples_mean": apples.mean(1),
            "zaps_mean": zaps.mean(1),
        }
        return {name: value.to(self.device) for name, value in measures.items()}

    def draw(self, memory: dict[str, Tensor], row: int) -> NDArray[np.uint8]:
        from marlbench.environments.social_dilemmas.grids.drawing import draw_grid

        return draw_grid(self.layout, {name: value.numpy() for name, value in memory.items()}, self.length)
