"""Hyperparameters of value-based methods. Those with a legacy value came after IQL's first release."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from marlbench.algorithms.base import Hyperparameters
from marlbench.algorithms.experience import ReplayPrecision
from marlbench.algorithms.sharing import SharingOption
from marlbench.algorithms.stack import Activation


def legacy(value: Any) -> dict[str, Any]:
    return {"legacy": value}


class QLearningHyperparameters(Hyperparameters):
    """Settings of Q-learners; everything that is scheduled is scheduled in environment steps of one seed."""

    sharing: SharingOption = Field("shared", description="which agents share parameters")
    agent_identity: bool = Field(
        False,
        description="append a one-hot of the agent to its observation where agents share parameters",
        json_schema_extra=legacy(False),
    )
    hidden: tuple[int, ...] = Field((64, 64), description="units of the hidden layers")
    activation: Activation = Field("relu", description="after every hidden layer")
    recurrent_units: int = Field(
        0, ge=0, description="of a GRU after the hidden layers; 0 for none", json_schema_extra=legacy(0)
    )
    sequence_length: int = Field(
        32, ge=1, description="joint steps of a replayed sequence (recurrent)", json_schema_extra=legacy(32)
    )
    burn_in: int = Field(
        0, ge=0, description="joint steps before them that warm up the memory", json_schema_extra=legacy(0)
    )
    learning_rate: float = Field(5e-4, gt=0, description="of Adam")
    discount: float = Field(0.99, ge=0, le=1, description="gamma")
    double: bool = Field(
        False,
        description="the target's action is the learning network's best",
        json_schema_extra=legacy(False),
    )
    n_step: int = Field(
        1, ge=1, description="rewards summed before a target bootstraps", json_schema_extra=legacy(1)
    )
    batch: int = Field(
        128, ge=1, description="environment rows (recurrent: sequences) of an update, with all their agents"
    )
    replay_steps: int = Field(100_000, ge=1, description="environment steps kept")
    replay_dtype: ReplayPrecision = Field(
        "float32",
        description="observations and states in the replay: exact, float16, or int8 with a scale for each vector",
        json_schema_extra=legacy("float32"),
    )
    prioritised: bool = Field(
        False, description="sample by the size of errors", json_schema_extra=legacy(False)
    )
    priority_exponent: float = Field(
        0.6, ge=0, le=1, description="alpha: 0 samples uniformly", json_schema_extra=legacy(0.6)
    )
    importance_exponent: float = Field(
        0.4,
        ge=0,
        le=1,
        description="beta of the importance weights at the first step; 1 at the last",
        json_schema_extra=legacy(0.4),
    )
    learning_starts: int = Field(1_000, ge=0, description="environment steps before the first update")
    update_interval: int = Field(32, ge=1, description="environment steps between updates")
    target_rate: float = Field(
        0.01, gt=0, le=1, description="share of the target network replaced at an update"
    )
    target_interval: int = Field(
        0,
        ge=0,
        description="environment steps between whole copies to the target network; 0 for `target_rate`",
        json_schema_extra=legacy(0),
    )
    standardise_rewards: bool = Field(
        False,
        description="rewards are brought to mean 0 and deviation 1 by the statistics of those sampled so far",
        json_schema_extra=legacy(False),
    )
    exploration_start: float = Field(1.0, ge=0, le=1, description="epsilon at the first step")
    exploration_end: float = Field(0.05, ge=0, le=1, description="epsilon after its schedule")
    exploration_fraction: float = Field(
        0.5, gt=0, le=1, description="share of all steps over which epsilon falls"
    )
    exploration_steps: int | None = Field(
        None,
        ge=1,
        description="environment steps over which epsilon falls, in place of the share",
        json_schema_extra=legacy(None),
    )
    maximum_gradient_norm: float = Field(
        10.0, gt=0, description="of one learner; with a mixer, of the team together"
    )


TeamReward = Literal["mean", "sum"]


class TeamHyperparameters(QLearningHyperparameters):
    """Settings of methods that learn one value of the team."""

    double: bool = Field(True, description="the target's action is the learning network's best")
    team_reward: TeamReward = Field(
        "mean", description="of the agents' rewards; where all get the same, mean is it"
    )
