"""VDN: the team's action value is the sum of the agents', learnt from the team's reward.

Sunehag et al. 2018, "Value-decomposition networks for cooperative multi-agent learning" (arXiv 1706.05296), section 3:

    Q_tot(h, a) = sum_i Q_i(h_i, a_i)

With options of later work: double Q-learning is on by default, as in the comparison of Samvelyan et al. 2019.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from marlbench.algorithms import tuned
from marlbench.algorithms.base import Setting
from marlbench.algorithms.mixers import JointChoice, Mixer, WrittenMixer
from marlbench.algorithms.q_hyperparameters import TeamHyperparameters
from marlbench.algorithms.q_learning import QLearner


class Sum(WrittenMixer):
    """Q_tot = sum_i Q_i over the agents that act."""

    needs_state = False

    def __call__(self, parameters: Mapping[str, Tensor], joint: JointChoice) -> Tensor:
        return joint.chosen.sum(-1)

    def forward(self, parameters: Mapping[str, Tensor], joint: JointChoice) -> tuple[Tensor, int]:
        return joint.chosen.sum(-1), joint.chosen.shape[-1]

    def backward(
        self, parameters: Mapping[str, Tensor], kept: int, gradient: Tensor, into: Mapping[str, Tensor]
    ) -> Tensor:
        return gradient.unsqueeze(-1).expand(*gradient.shape, kept)


class VDN(QLearner):
    """Value decomposition by a sum."""

    revision = 1
    Hyperparameters = TeamHyperparameters
    settings = tuned.VDN

    @classmethod
    def mixer(cls, setting: Setting, options: TeamHyperparameters) -> Mixer:
        return Sum()
