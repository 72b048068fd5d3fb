"""The schedule of off-policy methods: remember every joint step, learn from samples when updates fall due."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from marlbench.algorithms.base import Algorithm, Setting, generators
from marlbench.algorithms.experience import Experience
from marlbench.environments.contract import Step


class OffPolicy(Algorithm):
    """Base of methods with a replay. Subclasses write `update` and say what they learnt.

    Everything is scheduled in environment steps of one member: updates begin after `learning_starts` of them and fall
    due every `update_interval`; a joint step is `rows` of them.

    Attributes:
        experience: the replay.
        generators: one per member, for sampling.
        steps: environment steps so far.
    """

    def __init__(
        self, setting: Setting, experience: Experience, learning_starts: int, update_interval: int
    ) -> None:
        self.setting, self.experience = setting, experience
        self.learning_starts, self.update_interval = learning_starts, update_interval
        self.rollout_length = max(1, update_interval // setting.rows)
        self.generators = generators(setting.seeds, stream=2)
        self.steps = 0
        self.updates_due = 0.0

    @staticmethod
    def capacity(replay_steps: int, rows: int) -> int:
        """Joint steps of a replay that keeps so many environment steps."""
        return max(1, replay_steps // rows)

    @abstractmethod
    def update(self) -> dict[str, Tensor]:
        """One update of every learner from a sample; returns measures, name -> [member] or [member x learner]."""

    @abstractmethod
    def learnt(self) -> dict[str, Any]:
        """What updates change: tensors and plain values."""

    @abstractmethod
    def load_learnt(self, state: Mapping[str, Any]) -> None:
        """Take over what `learnt` returned."""

    def begin(self, steps: int) -> None:
        self.steps = steps

    def observe(self, step: Step, memory: Tensor | None, action: Tensor, following: Step) -> None:
        self.experience.add(step, memory, action, following)
        self.steps += self.setting.rows
        if self.steps > self.learning_starts:
            self.updates_due += self.setting.rows / self.update_interval

    def learn(self) -> dict[str, Tensor]:
        updates = int(self.updates_due)
        self.updates_due -= updates
        if not updates or not self.experience.available:
            return {}
        totals: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        for _ in range(updates):
            for name, value in self.update().items():
                totals[name] = totals[name] + value if name in totals else value
                counts[name] = counts.get(name, 0) + 1
        members = self.setting.members
        return {name: (total / counts[name]).view(members, -1).mean(1) for name, total in totals.items()}

    def rows_restarted(self) -> int:
        self.experience.rows_restarted()
        return 0

    @property
    def must_checkpoint(self) -> bool:
        return self.experience.replay.must_checkpoint

    def checkpoint_begins(self) -> None:
        self.experience.replay.flush()

    def checkpoint_done(self) -> None:
        self.experience.replay.checkpoint_done()

    def state_dict(self) -> dict[str, Any]:
        return {
            "learnt": self.learnt(),
            "generators": [g.get_state() for g in self.generators],
            "experience": self.experience.state_dict(),
            "steps": self.steps,
            "updates_due": self.updates_due,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.load_learnt(state["learnt"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved.cpu())
        self.experience.load_state_dict(state["experience"])
        self.steps = int(state["steps"])
        self.updates_due = float(state["updates_due"])
