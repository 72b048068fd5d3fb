"""The course of learning on storage systems, online: every so many requests a few updates, then the copies that act
take over what was learnt.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field
from torch import Tensor

from marlbench.algorithms.base import Algorithm, Hyperparameters, Memory, Setting, discrete_actions
from marlbench.algorithms.decision_learner import DecisionLearner
from marlbench.algorithms.storage_columns import PLACEMENT, PlacementReward, Reward
from marlbench.algorithms.swish_network import parameters_of
from marlbench.algorithms.system_policy import SystemPolicy
from marlbench.algorithms.systems_apart import Apart
from marlbench.environments.contract import Step
from marlbench.errors import ConfigurationError


class SystemHyperparameters(Hyperparameters):
    """What learners of storage systems have in common. Requests are those that one learner sees."""

    rows_share: bool = Field(
        False, description="the rows of a seed share a learner; by default every row, a system, has its own"
    )
    reward_unit: float = Field(
        10.0, gt=0, description="microseconds in which the method's own rewards count latencies"
    )
    synchronisation_interval: int = Field(
        1_000, ge=1, description="requests between copies of the learning network to the one that acts"
    )
    updates: int = Field(8, ge=1, description="of each network in that time, made together at its end")
    learning_starts: int = Field(1_000, ge=1, description="requests before the first update")
    exploration_start: float = Field(0.001, ge=0, le=1, description="epsilon at the first request")
    exploration_end: float = Field(0.001, ge=0, le=1, description="epsilon after its schedule")
    exploration_fraction: float = Field(
        0.25, gt=0, le=1, description="share of all steps over which epsilon falls"
    )


class SystemLearning(Algorithm):
    """Base of Sibyl and Harmonia; they build the learners and hand over what happened."""

    def __init__(self, setting: Setting, options: SystemHyperparameters, method: str) -> None:
        self.setting, self.shared = setting, options
        self.actions = discrete_actions(method, setting.specification)
        if self.actions > 255:
            raise ConfigurationError(f"{method} keeps at most 255 actions, and this task has {self.actions}.")
        learners = 1 if options.rows_share else setting.rows
        self.apart = Apart(setting.members, learners)
        self.lanes = setting.rows // learners
        self.rollout_length = max(1, options.synchronisation_interval // self.lanes)
        self.steps = 0
        self.updates_due = 0.0
        self.learners: tuple[DecisionLearner, ...] = ()

    def _agent(self, method: str, name: str) -> int:
        agents = self.setting.specification.agents
        if name not in agents:
            raise ConfigurationError(
                f"{method} decides for an agent '{name}', and this task has none.",
                hint="Use it on tasks with `environment: storage_placement`.",
            )
        return agents.index(name)

    def _finish(self, learners: Sequence[DecisionLearner], players: Mapping[str, str]) -> None:
        """The learners are built: make the policy."""
        self.learners = tuple(learners)
        self.policy = self.acting = SystemPolicy(self.setting, self.apart, self.learners, players)
        self._explore(self.setting.steps)

    def _placement_reward(self, kind: Reward) -> PlacementReward:
        specification = self.setting.specification
        return PlacementReward(
            kind, self.shared.reward_unit, specification, specification.agents.index(PLACEMENT)
        )

    def _explore(self, steps: int) -> None:
        options = self.shared
        progress = min(1.0, steps / (options.exploration_fraction * self.setting.steps))
        start, end = options.exploration_start, options.exploration_end
        self.acting.epsilon = start + (end - start) * progress

    def begin(self, steps: int) -> None:
        self.steps = steps
        self._explore(steps)

    def observe(self, step: Step, memory: Tensor | None, action: Tensor, following: Step) -> None:
        self.steps += self.setting.rows
        self.updates_due += self.lanes * self.shared.updates / self.shared.synchronisation_interval
        self.keep(step, action, following)

    @abstractmethod
    def keep(self, step: Step, action: Tensor, following: Step) -> None:
        """Put one step into the replays."""

    def learn(self) -> dict[str, Tensor]:
        updates = int(self.updates_due + 1e-9)
        self.updates_due -= updates
        if self.steps * self.lanes < self.shared.learning_starts * self.setting.rows or not updates:
            return {}
        found: dict[str, Tensor] = {}
        for learner in self.learners:
            for _ in range(updates):
                for name, value in learner.update().items():
                    name = f"{learner.network.name}_{name}"
                    found[name] = found[name] + value if name in found else value
            learner.synchronise()
        members = self.setting.members
        return {name: value.view(members, -1).mean(1) / updates for name, value in found.items()}

    def rows_restarted(self) -> int:
        for learner in self.learners:
            learner.replay.forget_open()
        return 0

    def agent_bytes(self) -> int:
        return sum(learner.bytes for learner in self.learners) // self.apart.stack

    @staticmethod
    def _memory(
        rows: int,
        seeds: int,
        networks: Sequence[tuple[tuple[int, ...], int, int]],
        shared: SystemHyperparameters,
    ) -> Memory:
        """Args: networks: for each, its units from inputs to outputs, the batch, and the decisions kept."""
        learners = seeds * (1 if shared.rows_share else rows)
        lanes = rows * seeds // learners
        total = 0
        for sizes, batch, kept in networks:
            width = 8 * sizes[0] + 8
            replay = 2 * (kept + 60 * lanes) * width
            working = 4 * batch * (2 * sum(sizes) + 6 * sizes[-1])
            total += learners * (4 * 6 * parameters_of(sizes) + replay + working)
        noise = 4 * 4 * rows * seeds * shared.synchronisation_interval // lanes
        return Memory(resident=total + 2 * noise, disk=0)

    def state_dict(self) -> dict[str, Any]:
        return {
            "learners": [learner.state_dict() for learner in self.learners],
            "steps": self.steps,
            "updates_due": self.updates_due,
            "epsilon": self.acting.epsilon,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for learner, saved in zip(self.learners, state["learners"], strict=True):
            learner.load_state_dict(saved)
        self.steps = int(state["steps"])
        self.updates_due = float(state["updates_due"])
        self.acting.epsilon = float(state["epsilon"])
