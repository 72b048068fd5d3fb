"""Sibyl: one reinforcement learner that places data in a hybrid storage system (Singh et al., ISCA 2022).

C51 over the devices, learning online while it places. The defaults are the paper's: six binned features, layers of
20 and 30 units, gamma 0.9, learning rate 1e-4, epsilon 0.001, batches of 128 out of the last 1,000 requests, and the
weights copied to the network that decides every 1,000 requests; eight batches are trained in that time [paper,
unverified]. Swish is the code's [code]; Adam and the support [0, 10], which holds sums of rewards, are [ours].

`settings: code` is the published code: eight other features, another reward, 51 atoms on [-20, 20], 2-step returns,
centred RMSprop, gamma 0.99, epsilon from 1 to 0.01 over a quarter of the trace, an update every second request [code].
Its optimiser's epsilon is 1, because one flag of the code sets it and that of exploration [code].

Only placement learns: migration is played by one that the task brings along, `none` by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from marlbench.algorithms.base import Memory, Setting, TunedSettings, discrete_actions
from marlbench.algorithms.categorical import Support
from marlbench.algorithms.decision_learner import DecisionLearner, LearnerOptions, OptimiserName
from marlbench.algorithms.decision_replays import StepReplay
from marlbench.algorithms.storage_columns import (
    MIGRATION,
    PLACEMENT,
    SIBYL_CODE_COLUMNS,
    SIBYL_COLUMNS,
    Columns,
    Reward,
)
from marlbench.algorithms.system_learning import SystemHyperparameters, SystemLearning
from marlbench.algorithms.value_heads import CategoricalHead
from marlbench.environments.contract import EnvironmentSpecification, Step

_COLUMNS = {"paper": SIBYL_COLUMNS, "code": SIBYL_CODE_COLUMNS}


class SibylHyperparameters(SystemHyperparameters):
    """Settings of Sibyl; the defaults are the paper's, see the module."""

    features: Literal["paper", "code"] = Field(
        "paper", description="six binned features, or the eight of the code"
    )
    reward: Reward = Field("sibyl", description="the method's own, or what the task pays (`environment`)")
    migration: str = Field("none", description="the task's built-in player that migrates")
    hidden: tuple[int, ...] = Field((20, 30), description="units of the hidden layers, with swish")
    atoms: int = Field(51, ge=2, description="of the distribution of returns")
    value_low: float = Field(0.0, description="its first atom")
    value_high: float = Field(10.0, description="its last atom")
    optimiser: OptimiserName = Field("adam", description="adam, or centred rmsprop")
    learning_rate: float = Field(1e-4, gt=0, description="of the optimiser")
    optimiser_epsilon: float = Field(1e-8, gt=0, description="in the optimiser's denominator")
    discount: float = Field(0.9, ge=0, le=1, description="gamma")
    n_step: int = Field(1, ge=1, description="rewards summed before a target bootstraps")
    batch: int = Field(128, ge=1, description="requests of an update")
    replay_requests: int = Field(1_000, ge=1, description="requests that a learner keeps")

    @model_validator(mode="after")
    def _ordered(self) -> SibylHyperparameters:
        if not self.value_low < self.value_high:
            raise ValueError("`value_low` must be below `value_high`")
        return self


class Sibyl(SystemLearning):
    """C51 places; see the module."""

    revision = 1
    Hyperparameters = SibylHyperparameters
    settings: ClassVar[Mapping[str, TunedSettings]] = {
        "code": TunedSettings(
            source="Sibyl's published code (CMU-SAFARI/Sibyl) [code]",
            hyperparameters={
                "features": "code",
                "reward": "sibyl_code",
                "value_low": -20.0,
                "value_high": 20.0,
                "optimiser": "rmsprop",
                "learning_rate": 2e-4,
                "optimiser_epsilon": 1.0,
                "discount": 0.99,
                "n_step": 2,
                "synchronisation_interval": 2,
                "updates": 1,
                "exploration_start": 1.0,
                "exploration_end": 0.01,
                "exploration_fraction": 0.25,
            },
        )
    }

    def __init__(self, setting: Setting, hyperparameters: SibylHyperparameters) -> None:
        super().__init__(setting, hyperparameters, "sibyl")
        options, device = hyperparameters, setting.device
        columns = Columns("sibyl", setting.specification, _COLUMNS[options.features], device)
        support = Support(options.value_low, options.value_high, options.atoms, device)
        self.placed = StepReplay(
            self.apart.stack,
            self.lanes,
            options.replay_requests,
            columns.count,
            options.discount,
            options.n_step,
            self._placement_reward(options.reward),
            device,
        )
        self.placement = DecisionLearner(
            PLACEMENT,
            setting,
            self.apart,
            self._agent("sibyl", PLACEMENT),
            columns,
            CategoricalHead(self.actions, support),
            LearnerOptions(
                options.hidden,
                options.optimiser,
                options.learning_rate,
                options.optimiser_epsilon,
                options.batch,
            ),
            self.placed,
            stream=0,
        )
        self._finish([self.placement], {MIGRATION: options.migration})

    def keep(self, step: Step, action: Tensor, following: Step) -> None:
        self.placed.add(step, action, following, self.placement.agent, self.placement.columns)

    @classmethod
    def estimate_memory(
        cls, specification: EnvironmentSpecification, hyperparameters: Any, rows: int, seeds: int
    ) -> Memory:
        options: SibylHyperparameters = hyperparameters
        outputs = discrete_actions("sibyl", specification) * options.atoms
        sizes = (len(_COLUMNS[options.features]), *options.hidden, outputs)
        return cls._memory(rows, seeds, [(sizes, options.batch, options.replay_requests)], options)
