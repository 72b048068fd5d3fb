"""The base of simulators written as tensor operations: episodes, truncation, resets and exact resume.

A simulator keeps everything that changes in `self.memory`, a dictionary of tensors whose first axis is the
row, and fills the hooks `start`, `advance` and `observe`; where it needs them also `measure`,
`available_actions`, `restore` and `draw`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlbench.environments.contract import (
    BatchedEnvironment,
    Discrete,
    EnvironmentSpecification,
    Parameters,
    Step,
)
from marlbench.environments.keys import derive


class TensorSimulator(BatchedEnvironment):
    """A deterministic simulator with exact resume. Subclasses set `specification` before `super().__init__`.

    Attributes:
        limit_terminates: True where an episode that reaches its limit is over by the rules of the task, and
            is terminated instead of truncated.
    """

    draws_final = True

    specification: EnvironmentSpecification
    limit_terminates: bool = False

    def __init__(self, parameters: Parameters, rows: int, device: torch.device) -> None:
        self.rows = rows
        self.device = device
        agents = len(self.specification.agents)
        columns = self.specification.action.count if isinstance(self.specification.action, Discrete) else 1
        self.memory: dict[str, Tensor] = {}
        self._keys = torch.zeros(rows, dtype=torch.int64, device=device)
        self._episode = torch.zeros(rows, dtype=torch.int64, device=device)
        # While every row started at the same time and none can end early, the host counts the steps: it
        # knows when they end, and the device is never waited for. `_elapsed` counts only after that.
        self._lockstep: int | None = 0
        self._elapsed = torch.zeros(rows, dtype=torch.int64, device=device)
        self._everything = torch.ones(rows, agents, columns, dtype=torch.bool, device=device)
        self._yes = torch.ones(rows, agents, dtype=torch.bool, device=device)
        self._no = torch.zeros(rows, agents, dtype=torch.bool, device=device)
        self._nothing = torch.zeros(rows, agents, device=device)
        self._none_ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self._all_ended = torch.ones(rows, dtype=torch.bool, device=device)
        # Once something was drawn, the ends of episodes are kept for a picture; training does not pay for it.
        self._drawn = False
        self._ends: tuple[Tensor, dict[str, Tensor]] | None = None

    @abstractmethod
    def start(self, keys: Tensor) -> dict[str, Tensor]:
        """The memory of fresh episodes: every tensor [row, ...], drawn from `keys` (int64 [row]) alone."""

    @abstractmethod
    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        """Change `self.memory` by one joint step.

        Returns:
            reward, float [row, agent], and terminated, bool [row], or None where episodes end by their limit
            only.
        """

    @abstractmethod
    def observe(self) -> tuple[Tensor, Tensor]:
        """observation [row, agent, features] and state [row, features] of the memory, as new tensors."""

    def restore(self) -> None:
        """Build what is derived from `self.memory`, after it was replaced: fresh episodes, a saved state.

        A simulator that works in buffers of its own copies the memory into them here and puts views of
        them back.
        """
        return

    def available_actions(self) -> Tensor:
        """bool [row, agent, action] of the present memory."""
        return self._everything

    def draw(self, memory: dict[str, Tensor], row: int) -> NDArray[np.uint8]:
        """A picture, uint8 [height, width, 3], of one row.

        Args:
            memory: of that row, on the CPU; tensors without the row axis.
            row: its number, for what was drawn of it before.
        """
        return super().render(row)

    def render(self, row: int) -> NDArray[np.uint8]:
        return self.draw(self._shown(row), row)

    def record(self, row: int) -> Callable[[], NDArray[np.uint8]]:
        if type(self).draw is TensorSimulator.draw:
            return super().record(row)
        kept = {name: value.clone() for name, value in self._shown(row).items()}
        return lambda: self.draw(kept, row)

    def _shown(self, row: int) -> dict[str, Tensor]:
        """What `draw` takes of one row."""
        self._drawn = True
        memory = self.memory
        if self._ends is not None and bool(self._ends[0][row]):
            memory = self._ends[1]
        return {name: value[row].cpu() for name, value in memory.items()}

    def measure(self) -> dict[str, Tensor]:
        """The task's measures over the episode so far, name -> float [row]; called where an episode ends."""
        return {}

    def measure_step(self) -> dict[str, Tensor]:
        """For tasks without an end: measures of the step just taken, name -> float [row]."""
        return {}

    def reset(self, keys: Tensor) -> Step:
        self._keys = keys.to(self.device).clone()
        self._episode.zero_()
        self._elapsed.zero_()
        self._lockstep = 0
        self._ends = None
        self.memory = self.start(derive(self._keys, 0))
        self.restore()
        return self._show()

    def step(self, action: Tensor) -> Step:
        self._ends = None
        reward, terminated = self.advance(action)
        limit = self.specification.episode_limit
        if terminated is None and self._lockstep is not None:
            self._lockstep += 1
            if self._lockstep != limit:
                return self._show(reward)
            self._lockstep = 0
            if self.limit_terminates:
                return self._end(reward, self._all_ended, self._none_ended, every_row=True)
            return self._end(reward, self._none_ended, self._all_ended, every_row=True)
        if self._lockstep is not None:
            self._elapsed.fill_(self._lockstep)
            self._lockstep = None
        self._elapsed += 1
        done = terminated if terminated is not None else self._none_ended
        cut = self._none_ended
        if limit is not None and self.limit_terminates:
            done = done | (self._elapsed >= limit)
        elif limit is not None:
            cut = (self._elapsed >= limit) & ~done
        if not bool((done | cut).any()):
            return self._show(reward)
        return self._end(reward, done, cut, every_row=False)

    def _show(self, reward: Tensor | None = None) -> Step:
        observation, state = self.observe()
        available = self.available_actions()
        return Step(
            observation=observation,
            state=state,
            available_actions=available,
            acting=self._yes,
            new_occupant=self._no,
            reward=self._nothing if reward is None else reward,
            terminated=self._no,
            truncated=self._no,
            ended=self._none_ended,
            any_ended=False,
            final_observation=observation,
            final_state=state,
            final_available_actions=available,
            metrics=self.measure_step(),
        )

    def _end(self, reward: Tensor, terminated: Tensor, truncated: Tensor, every_row: bool) -> Step:
        final_observation, final_state = self.observe()
        final_available = self.available_actions()
        metrics = self.measure()
        ended = terminated | truncated
        if self._drawn:
            self._ends = (ended, {name: value.clone() for name, value in self.memory.items()})
        self._episode += ended
        self._restart(ended, every_row)
        step = self._show(reward)
        step.terminated = terminated.unsqueeze(1).expand_as(self._no)
        step.truncated = truncated.unsqueeze(1).expand_as(self._no)
        step.ended = ended
        step.any_ended = True
        step.final_observation = final_observation
        step.final_state = final_state
        step.final_available_actions = final_available
        step.metrics = metrics
        return step

    def _restart(self, ended: Tensor, every_row: bool) -> None:
        """Begin the present episodes of the rows that ended, bool [row]."""
        fresh = self.start(derive(self._keys, self._episode))
        if every_row:
            self.memory = fresh
        else:
            for name, value in fresh.items():
                mask = ended.view(-1, *(1,) * (value.dim() - 1))
                self.memory[name] = torch.where(mask, value, self.memory[name])
            self._elapsed.masked_fill_(ended, 0)
        self.restore()

    def state_dict(self) -> dict[str, object]:
        return {
            "memory": {name: value.clone() for name, value in self.memory.items()},
            "keys": self._keys.clone(),
            "episode": self._episode.clone(),
            "elapsed": self._elapsed.clone(),
            "lockstep": self._lockstep,
        }

    def load_state_dict(self, state: dict[str, object]) -> Step:
        memory = state["memory"]
        assert isinstance(memory, dict)
        self.memory = {name: value.to(self.device).clone() for name, value in memory.items()}
        for name in ("keys", "episode", "elapsed"):
            value = state[name]
            assert isinstance(value, Tensor)
            setattr(self, f"_{name}", value.to(self.device).clone())
        lockstep = state["lockstep"]
        assert lockstep is None or isinstance(lockstep, int)
        self._lockstep = lockstep
        self.restore()
        return self._show()
