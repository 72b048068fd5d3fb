"""What a training brings while it goes on: means for its records, and for evaluations where it is its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from marlbench.catalog.types import Protocol
from marlbench.environments.contract import EnvironmentSpecification, Step
from marlbench.training.episodes import EpisodeSums, Window


class Tally:
    """Counts the joint steps of a training.

    Args:
        members, rows: seeds, and environment rows of each.
        online: the protocol where the training is its own evaluation, else None.
        total_steps: of the training.

    Attributes:
        episodes: sums of the present episodes.
        since_record: since the last record of the training.
        since_point: since the last evaluation of an online task.
        final: over the end of an online task that its protocol counts.
    """

    def __init__(
        self,
        specification: EnvironmentSpecification,
        members: int,
        rows: int,
        online: Protocol | None,
        total_steps: int,
        device: torch.device,
    ) -> None:
        self.members, self.rows, self.online = members, rows, online
        self._continuing = specification.continuing
        self.episodes = EpisodeSums(members * rows, len(specification.agents), device)
        self.since_record, self.since_point, self.final = (Window(members, device) for _ in range(3))
        if online is not None:
            assert online.window is not None
            self._final_from = total_steps - online.window * (1.0 - (online.warm_up or 0.0))

    def count(self, step: Step, steps: int) -> None:
        """Count one joint step, before which each member had taken `steps` environment steps."""
        if not self._continuing:
            self.episodes.add(step)
        if step.any_ended:
            values = self.episodes.metrics(step)
            for window in (self.since_record, *self._evaluating(steps)):
                window.add_rows(values, step.completed)
            self.episodes.clear(step.ended)
        if self.online is not None:
            total = step.reward.sum(1, dtype=torch.float64)
            rewards = {"reward_mean": total / step.reward.shape[1], "reward_sum": total}
            self.add_online(rewards, steps)
            if self._continuing:
                self.add_online(step.metrics, steps)

    def add_online(self, values: Mapping[str, Tensor], steps: int) -> None:
        """Count measures of one joint step of an online task, name -> [member x row]; `steps` as for `count`."""
        windows = self._evaluating(steps)
        for name, value in values.items():
            mean = value.to(torch.float64)
            if self.rows > 1:
                mean = mean.view(self.members, self.rows).mean(1)
            for window in windows:
                window.add(name, mean, 1.0)

    def _evaluating(self, steps: int) -> list[Window]:
        if self.online is None:
            return []
        return [self.since_point, self.final] if steps >= self._final_from else [self.since_point]

    def state_dict(self) -> dict[str, Any]:
        windows = (self.since_record, self.since_point, self.final)
        return {"sums": self.episodes.state_dict(), "windows": [window.state_dict() for window in windows]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.episodes.load_state_dict(state["sums"])
        windows = (self.since_record, self.since_point, self.final)
        for window, saved in zip(windows, state["windows"], strict=True):
            window.load_state_dict(saved)
