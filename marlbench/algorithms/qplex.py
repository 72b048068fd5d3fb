"""QPLEX: duelling for every agent and for the team, so that every consistent factorisation can be learnt.

Wang et al. 2021, "QPLEX: duplex dueling multi-agent Q-learning" (arXiv 2008.01062), section 3.1. Of each agent's value
V_i = max_a Q_i and advantage A_i = Q_i - V_i <= 0 the transformation makes

    V_i(s) = w_i(s) V_i + b_i(s),   A_i(s) = w_i(s) A_i,   w_i > 0                                  (eq. 7, 8)

and the duelling mixer the team's value

    Q_tot = sum_i V_i(s) + sum_i lambda_i(s, a) A_i(s)                                              (eq. 9, 10)
    lambda_i(s, a) = sum_k lambda_ik(s, a) phi_ik(s) v_k(s) > 0                                     (eq. 11)

over the heads k of an attention. The authors' code has lambda_ik = sigmoid(MLP(s, a)), phi_ik = sigmoid(MLP(s)) and
v_k = |MLP(s)|, and mixes Q_tot = sum_i (w_i Q_i + b_i) + sum_i (lambda_i - 1) A_i [code: wjh720/QPLEX], as here.

The team's advantage is 0 where every agent's is and negative elsewhere: the agents' best actions make the best joint
action, whatever the networks. Gradients do not pass through the advantages that lambda - 1 weighs [code], for the
stability of the maximum in them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms.base import Setting, discrete_actions
from marlbench.algorithms.mixers import Hypernetwork, JointChoice, Mixer
from marlbench.algorithms.q_hyperparameters import TeamHyperparameters
from marlbench.algorithms.q_learning import QLearner


class QPLEXHyperparameters(TeamHyperparameters):
    """Settings of QPLEX."""

    attention_heads: int = Field(4, ge=1, description="heads of the weights of advantages")
    hypernetwork_units: int = Field(64, ge=1, description="units between the state and the mixer's weights")


class DuplexMixer(Mixer):
    """The transformation and the duelling mixer.

    Args:
        agents: n.
        actions: of each agent.
        state: features of s.
        heads: of the attention.
        units: of the hidden layer of every hypernetwork.
    """

    needs_best = True

    def __init__(self, agents: int, actions: int, state: int, heads: int, units: int) -> None:
        self.agents, self.actions, self.heads = agents, actions, heads
        self.transformation = Hypernetwork("mixer.transformation", state, (units,), 2 * agents)
        self.of_state = Hypernetwork("mixer.of_state", state, (units,), heads * (1 + agents))
        joint = state + agents * actions
        self.of_choice = Hypernetwork("mixer.of_choice", joint, (units,), heads * agents)
        self.networks = (self.transformation, self.of_state, self.of_choice)

    def weights(self, parameters: Mapping[str, Tensor], joint: JointChoice) -> Tensor:
        """lambda_i(s, a), [member, sample, agent]."""
        one_hot = torch.nn.functional.one_hot(joint.action, self.actions).to(joint.state.dtype)
        if joint.acting is not None:
            one_hot = one_hot * joint.acting.unsqueeze(-1)
        choice = self.of_choice(parameters, torch.cat([joint.state, one_hot.flatten(-2)], -1))
        of_choice = torch.sigmoid(choice).unflatten(-1, (self.heads, self.agents))
        of_state = self.of_state(parameters, joint.state).unflatten(-1, (self.heads, 1 + self.agents))
        # The least positive weight keeps the mixer strictly monotonic in rounded numbers.
        key = of_state[..., :1].abs() + 1e-6
        return (of_choice * torch.sigmoid(of_state[..., 1:]) * key).sum(-2)

    def __call__(self, parameters: Mapping[str, Tensor], joint: JointChoice) -> Tensor:
        assert joint.best is not None
        weight, bias = self.transformation(parameters, joint.state).chunk(2, -1)
        weight = weight.abs() + 1e-6
        advantage = (weight * (joint.chosen - joint.best)).detach()
        # V_i + A_i is the transformed Q_i, so Q_tot = sum_i Q_i(s) + sum_i (lambda_i - 1) A_i(s).
        duelling = (self.weights(parameters, joint) - 1.0) * advantage
        return joint.counted(weight * joint.chosen + bias + duelling).sum(-1)


class QPLEX(QLearner):
    """Duplex duelling."""

    revision = 1
    Hyperparameters = QPLEXHyperparameters

    @classmethod
    def mixer(cls, setting: Setting, options: QPLEXHyperparameters) -> Mixer:
        specification = setting.specification
        return DuplexMixer(
            setting.agents,
            discrete_actions("qplex", specification),
            specification.state_size,
            options.attention_heads,
            options.hypernetwork_units,
        )
