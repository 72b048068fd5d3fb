"""QMIX: the team's action value rises with every agent's, in a way that depends on the state.

Rashid et al. 2018, "QMIX: monotonic value function factorisation for deep multi-agent reinforcement learning" (arXiv
1803.11485), section 4.1. Hypernetworks make the weights of a network with one hidden layer out of the state s:

    Q_tot = |w2(s)| . elu(|W1(s)|^T Q + b1(s)) + V(s),   Q = (Q_1, ..., Q_n)

so dQ_tot / dQ_i >= 0 (eq. 5), and the agents' best actions make the best joint action.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms import tuned
from marlbench.algorithms.base import Setting
from marlbench.algorithms.mixers import Hypernetwork, JointChoice, Mixer, WrittenMixer
from marlbench.algorithms.q_hyperparameters import TeamHyperparameters
from marlbench.algorithms.q_learning import QLearner


class QMIXHyperparameters(TeamHyperparameters):
    """Settings of QMIX.

    The learning rate is a fifth of the other Q-learners': with theirs Q_tot is overestimated without bound on
    simple_spread after some 200,000 steps and takes the policy with it, as Pan et al. 2021 (arXiv 2103.11883) found of
    QMIX in particle worlds, with double Q or without.
    """

    learning_rate: float = Field(1e-4, gt=0, description="of Adam")
    mixer_units: int = Field(32, ge=1, description="units of the mixer's hidden layer")
    hypernetwork_units: int = Field(
        64, ge=0, description="units between the state and the mixer's weights; 0 for none, as in the paper"
    )


class MonotonicMixer(WrittenMixer):
    """The mixing network of figure 2 and its hypernetworks.

    Args:
        agents: n.
        state: features of s.
        units: of the mixing network's hidden layer.
        hypernetwork_units: of a hidden layer in the hypernetworks of W1 and w2; 0 for none. That of V always has one.
    """

    def __init__(self, agents: int, state: int, units: int, hypernetwork_units: int) -> None:
        self.agents, self.units = agents, units
        hidden = (hypernetwork_units,) if hypernetwork_units else ()
        self.first = Hypernetwork("mixer.first", state, hidden, agents * units)
        self.first_bias = Hypernetwork("mixer.first_bias", state, (), units)
        self.second = Hypernetwork("mixer.second", state, hidden, units)
        self.value = Hypernetwork("mixer.value", state, (units,), 1)
        self.networks = (self.first, self.first_bias, self.second, self.value)

    def __call__(self, parameters: Mapping[str, Tensor], joint: JointChoice) -> Tensor:
        state = joint.state
        first = self.first(parameters, state).abs().unflatten(-1, (self.agents, self.units))
        hidden = (joint.chosen.unsqueeze(-1) * first).sum(-2) + self.first_bias(parameters, state)
        second = self.second(parameters, state).abs()
        mixed = (torch.nn.functional.elu(hidden) * second).sum(-1)
        return mixed + self.value(parameters, state).squeeze(-1)

    def forward(self, parameters: Mapping[str, Tensor], joint: JointChoice) -> tuple[Tensor, Any]:
        state, networks = joint.state, (self.first, self.first_bias, self.second, self.value)
        kept = [network.forward(parameters, state) for network in networks]
        raw, bias, second, value = (values[-1] for values in kept)
        first = raw.abs().unflatten(-1, (self.agents, self.units))
        chosen = joint.chosen.unsqueeze(-1)
        hidden = (chosen * first).sum(-2).add_(bias)
        activated, weight = torch.nn.functional.elu(hidden), second.abs()
        mixed = (activated * weight).sum(-1) + value.squeeze(-1)
        return mixed, (kept, chosen, first, activated, weight)

    def backward(
        self, parameters: Mapping[str, Tensor], kept: Any, gradient: Tensor, into: Mapping[str, Tensor]
    ) -> Tensor:
        """With h what goes into elu and g = dL/dQ_tot: dL/d|w2| = g elu(h), dL/dh = g |w2| elu'(h), dL/dQ_i = dL/dh .
        |W1_i|, dL/d|W1_i| = Q_i dL/dh."""
        values, chosen, first, activated, weight = kept
        raw, second = values[0][-1], values[2][-1]
        outer = gradient.unsqueeze(-1)
        of_second = (activated * outer).mul_(second.sign())
        # elu'(h) is 1 above 0 and elu(h) + 1 below.
        of_hidden = (activated.clamp(max=0.0).add_(1.0)).mul_(weight).mul_(outer)
        spread = of_hidden.unsqueeze(-2)
        of_first = (chosen * spread).flatten(-2).mul_(raw.sign())
        for network, own, of_outputs in (
            (self.first, values[0], of_first),
            (self.first_bias, values[1], of_hidden),
            (self.second, values[2], of_second),
            (self.value, values[3], outer),
        ):
            network.backward(parameters, own, of_outputs, into)
        return (first * spread).sum(-1)


class QMIX(QLearner):
    """Monotonic value factorisation."""

    revision = 1
    Hyperparameters = QMIXHyperparameters
    settings = tuned.QMIX

    @classmethod
    def mixer(cls, setting: Setting, options: QMIXHyperparameters) -> Mixer:
        return MonotonicMixer(
            setting.agents, setting.specification.state_size, options.mixer_units, options.hypernetwork_units
        )
