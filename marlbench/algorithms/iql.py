"""IQL: every agent learns action values of its own observations, as if the others were part of the environment.

Tan 1993, "Multi-agent reinforcement learning: independent vs. cooperative agents", with the deep Q-network of Mnih et
al. 2015 (see `q_learning`): each agent i learns

    L(theta_i) = E[ (y_i - Q_i(o_i, a_i))^2 ],   y_i = r_i + gamma max_a' Q_i,target(o_i', a')

from its own rewards; nothing is mixed.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from marlbench.algorithms import tuned
from marlbench.algorithms.q_hyperparameters import QLearningHyperparameters, legacy
from marlbench.algorithms.q_learning import QLearner


class IQLHyperparameters(QLearningHyperparameters):
    """Settings of IQL."""

    reward: Literal["own", "sum"] = Field(
        "own",
        description="that an agent learns from: its own, or everybody's together, as in EPyMARL",
        json_schema_extra=legacy("own"),
    )


class IQL(QLearner):
    """Independent Q-learning."""

    revision = 1
    Hyperparameters = IQLHyperparameters
    settings = tuned.IQL

    def reward_of_agents(self, reward: Tensor) -> Tensor:
        return reward.sum(-1, keepdim=True).expand_as(reward) if self.options.reward == "sum" else reward
