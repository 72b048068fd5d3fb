"""Harmonia: one agent places data, another migrates it; our reading of the re-implementation of arXiv 2503.20507.

There is no official code: what is said of the method comes from a re-implementation by third parties that cites the
paper's tables [reimpl]. Both agents see seven features and have networks of 10 hidden units with swish, each in two
copies, one that learns and one that decides, which takes over the weights every 1,000 requests [reimpl].

    placement   reward 1 / L, gamma 0.9, learning rate 1e-3, batch 128, the last 1,000 requests          [reimpl]
    migration   reward n / sum of the next n = 50 latencies less a penalty on pages that ping-pong,
                gamma 0.1, learning rate 1e-2, batch 256, the last 1,000 decisions                       [reimpl]

epsilon is 0.001 for both. Whether values are distributions (C51) or expectations (DQN) is not said: the default is
DQN, whose network has one output for each device, the N of "7-10-N" [ours]. Adam and eight updates in 1,000 requests
are [ours]. The reward of migration, its delay and its penalty are the task's (`migration_window`, `ping_pong`); a
decision's transition leads to the agent's next decision.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from marlbench.algorithms.base import Memory, Setting, discrete_actions
from marlbench.algorithms.categorical import Support
from marlbench.algorithms.decision_learner import DecisionLearner, LearnerOptions
from marlbench.algorithms.decision_replays import DelayedReplay, StepReplay
from marlbench.algorithms.storage_columns import HARMONIA_COLUMNS, MIGRATION, PLACEMENT, Columns, Reward
from marlbench.algorithms.system_learning import SystemHyperparameters, SystemLearning
from marlbench.algorithms.value_heads import CategoricalHead, ExpectedHead, ReturnHead
from marlbench.environments.contract import EnvironmentSpecification, Step
from marlbench.errors import ConfigurationError


class HarmoniaHyperparameters(SystemHyperparameters):
    """Settings of Harmonia; the defaults are the re-implementation's, see the module."""

    values: Literal["dqn", "c51"] = Field("dqn", description="expected returns, or their distributions")
    atoms: int = Field(51, ge=2, description="of distributions, on [0, reward_high / (1 - gamma)]")
    reward_high: float = Field(1.0, gt=0, description="largest reward that distributions allow for")
    hidden: tuple[int, ...] = Field(
        (10,), description="units of the hidden layers of both agents, with swish"
    )
    reward: Reward = Field("harmonia", description="of placement; `environment` is what the task pays")
    placement_discount: float = Field(0.9, ge=0, lt=1, description="gamma of placement")
    placement_learning_rate: float = Field(1e-3, gt=0, description="of Adam, for placement")
    placement_batch: int = Field(128, ge=1, description="requests of an update")
    placement_replay: int = Field(1_000, ge=1, description="requests that a learner keeps")
    migration_discount: float = Field(0.1, ge=0, lt=1, description="gamma of migration")
    migration_learning_rate: float = Field(1e-2, gt=0, description="of Adam, for migration")
    migration_batch: int = Field(256, ge=1, description="decisions of an update")
    migration_replay: int = Field(1_000, ge=1, description="decisions that a learner keeps")
    migration_delay: int = Field(
        50, ge=1, description="requests after a decision that it is paid: the task's migration_window"
    )


class Harmonia(SystemLearning):
    """Two agents learn, one places and one migrates; see the module."""

    revision = 1
    Hyperparameters = HarmoniaHyperparameters

    def __init__(self, setting: Setting, hyperparameters: HarmoniaHyperparameters) -> None:
        super().__init__(setting, hyperparameters, "harmonia")
        options, device = hyperparameters, setting.device
        _check_delay(setting.specification, options.migration_delay)
        columns = Columns("harmonia", setting.specification, HARMONIA_COLUMNS, device)
        lead = (self.apart.stack, self.lanes)
        self.placed = StepReplay(
            *lead,
            options.placement_replay,
            columns.count,
            options.placement_discount,
            1,
            self._placement_reward(options.reward),
            device,
        )
        self.moved = DelayedReplay(
            *lead,
            options.migration_replay,
            columns.count,
            options.migration_discount,
            options.migration_delay,
            device,
        )
        place = LearnerOptions(
            options.hidden, "adam", options.placement_learning_rate, 1e-8, options.placement_batch
        )
        move = LearnerOptions(
            options.hidden, "adam", options.migration_learning_rate, 1e-8, options.migration_batch
        )
        self.placement = DecisionLearner(
            PLACEMENT,
            setting,
            self.apart,
            self._agent("harmonia", PLACEMENT),
            columns,
            self._head(options.placement_discount),
            place,
            self.placed,
            stream=0,
        )
        self.migration = DecisionLearner(
            MIGRATION,
            setting,
            self.apart,
            self._agent("harmonia", MIGRATION),
            columns,
            self._head(options.migration_discount),
            move,
            self.moved,
            stream=4,
        )
        self._finish([self.placement, self.migration], {})

    def _head(self, discount: float) -> ReturnHead:
        options: Any = self.shared
        if options.values == "dqn":
            return ExpectedHead(self.actions)
        high = options.reward_high / (1.0 - discount)
        return CategoricalHead(self.actions, Support(0.0, high, options.atoms, self.setting.device))

    def keep(self, step: Step, action: Tensor, following: Step) -> None:
        self.placed.add(step, action, following, self.placement.agent, self.placement.columns)
        agent = self.migration.agent
        self.moved.add(
            self.migration.columns.of(step.observation[:, agent]),
            action[:, agent],
            step.acting[:, agent],
            following.reward[:, agent],
            following.terminated[:, agent],
        )

    @classmethod
    def estimate_memory(
        cls, specification: EnvironmentSpecification, hyperparameters: Any, rows: int, seeds: int
    ) -> Memory:
        options: HarmoniaHyperparameters = hyperparameters
        actions = discrete_actions("harmonia", specification)
        outputs = actions * (options.atoms if options.values == "c51" else 1)
        sizes = (len(HARMONIA_COLUMNS), *options.hidden, outputs)
        networks = [
            (sizes, options.placement_batch, options.placement_replay),
            (sizes, options.migration_batch, options.migration_replay + options.migration_delay),
        ]
        return cls._memory(rows, seeds, networks, options)


def _check_delay(specification: EnvironmentSpecification, delay: int) -> None:
    """Raises ConfigurationError where the task pays migration at another time than these hyperparameters say."""
    told = (specification.paid_after or {}).get(MIGRATION, delay)
    if told != delay:
        raise ConfigurationError(
            f"harmonia expects the reward of migration {delay} requests after a decision (`migration_delay`), and this "
            f"task pays it after {told} (`migration_window`).",
            hint=f"Give harmonia `migration_delay: {told}`, or the task `migration_window: {delay}`.",
        )
