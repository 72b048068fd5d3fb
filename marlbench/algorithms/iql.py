"""IQL: every agent learns action values of its own observations, as if the others were part of the environment.

Tan 1993, "Multi-agent reinforcement learning: independent vs. cooperative agents", with the deep Q-network of Mnih et
al. 2015 (see `q_learning`): each agent i learns

    L(theta_i) = E[ (y_i - Q_i(o_i, a_i))^2 ],   y_i = r_i + gamma max_a' Q_i,target(o_i', a')

from its own rewards; nothing is mixed.
"""

from __future__ import annotations

from marlbench.algorithms import tuned
from marlbench.algorithms.q_hyperparameters import QLearningHyperparameters
from marlbench.algorithms.q_learning import QLearner


class IQL(QLearner):
    """Independent Q-learning."""

    revision = 1
    Hyperparameters = QLearningHyperparameters
    settings = tuned.IQL
