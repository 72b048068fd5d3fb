"""MADDPG: every agent follows the gradient of its own critic of the joint action.

Lowe et al. 2017, "Multi-agent actor-critic for mixed cooperative-competitive environments" (arXiv 1706.02275), eq. 5
and 6. With x the state or all observations, mu_i the policies and mu', Q' the target networks:

    L(Q_i) = E[ (Q_i(x, a_1, ..., a_N) - y_i)^2 ],   y_i = r_i + gamma Q'_i(x', a'_1, ..., a'_N),  a'_j = mu'_j(o'_j)
    grad J(mu_i) = E[ grad mu_i(o_i) grad_{a_i} Q_i(x, a_1, ..., a_i, ..., a_N) ]   at a_i = mu_i(o_i)

where the other agents' actions are those of the replay. Discrete actions are one-hot samples of the policy through
which the gradient passes by Gumbel-softmax (straight-through). `twin_critics`, `target_noise` and `actor_interval` are
the three changes of TD3 (Fujimoto et al. 2018, arXiv 1802.09477): the smaller of two target critics, noise on the
target actions, policies and targets that move less often than critics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms import tuned
from marlbench.algorithms.base import Setting
from marlbench.algorithms.continuous_actors import DeterministicActor
from marlbench.algorithms.distributions import standard_normal
from marlbench.algorithms.joint_batch import Batch, acted
from marlbench.algorithms.joint_critic import joint_actions
from marlbench.algorithms.off_policy_actor_critic import (
    OffPolicyActorCritic,
    OffPolicyActorCriticHyperparameters,
    action_width,
)
from marlbench.algorithms.relaxed_categorical import (
    ExploringCategoricalActor,
    standard_gumbel,
    straight_through,
)


class MADDPGHyperparameters(OffPolicyActorCriticHyperparameters):
    """Settings of MADDPG."""

    exploration_start: float = Field(
        0.5,
        ge=0,
        le=1,
        description="at the first step: deviation of the noise in half ranges of an action; "
        "where actions are discrete, probability of a random one",
    )
    exploration_end: float = Field(0.05, ge=0, le=1, description="the same after its schedule")
    exploration_fraction: float = Field(
        0.5, gt=0, le=1, description="share of all steps over which exploration falls"
    )
    output_penalty: float = Field(
        1e-3, ge=0, description="weight of the actor's mean squared outputs, before tanh or softmax"
    )
    relaxation_temperature: float = Field(1.0, gt=0, description="of Gumbel-softmax, for discrete actions")
    twin_critics: bool = Field(False, description="two critics, and the smaller value in the target")
    target_noise: float = Field(
        0.0, ge=0, description="deviation of the noise on continuous target actions, in half ranges"
    )
    target_noise_bound: float = Field(0.5, ge=0, description="where that noise is clipped")
    actor_interval: int = Field(1, ge=1, description="updates of the critics for one of actors and targets")


class MADDPG(OffPolicyActorCritic):
    """Multi-agent deep deterministic policy gradient on the parameter stack."""

    revision = 1
    Hyperparameters = MADDPGHyperparameters
    settings = tuned.MADDPG

    def __init__(self, setting: Setting, hyperparameters: MADDPGHyperparameters) -> None:
        width = action_width(setting.specification)
        super().__init__(setting, hyperparameters, width, 1, 2 if hyperparameters.twin_critics else 1)
        actor = ExploringCategoricalActor if self.discrete else DeterministicActor
        self.policy = self.actor = actor(
            setting, self.stacks["actor"], self.sharing, self.network, self.identity
        )
        self.add_target("actor")
        self.add_target("critic")

    def begin(self, steps: int) -> None:
        super().begin(steps)
        options = self.options
        share = min(1.0, steps / (options.exploration_fraction * self.setting.steps))
        self.actor.exploration = options.exploration_start + share * (
            options.exploration_end - options.exploration_start
        )

    def learn_from(self, batch: Batch) -> dict[str, Tensor]:
        measures = self._update_critics(batch, self._target(batch))
        if self.updates % self.options.actor_interval == 0:
            measures |= self._update_actors(batch)
            self.follow()
        return measures

    @torch.no_grad()
    def _target(self, batch: Batch) -> Tensor:
        """y: [member, *batch, agent]."""
        outputs = self.actor_outputs(self.parameters_of("actor", target=True), batch, following=True)
        uniforms = self.drawn(outputs.shape[1:])
        if self.discrete:
            action = straight_through(outputs, batch.following.available, standard_gumbel(uniforms))
        else:
            bound = self.options.target_noise_bound
            noise = (self.options.target_noise * standard_normal(uniforms)).clamp(-bound, bound)
            action = (torch.tanh(outputs) + noise).clamp(-1.0, 1.0)
        joint_action = joint_actions(acted(action, batch.following.acting))
        critics = self.parameters_of("critic", target=True)
        values = self.values(critics, batch, joint_action, following=True)
        return batch.reward + batch.discount * values.amin(0).squeeze(-1)

    def _update_critics(self, batch: Batch, target: Tensor) -> dict[str, Tensor]:
        joint_action = joint_actions(acted(batch.action, batch.now.acting))
        values = self.values(self.stacks["critic"].parameters, batch, joint_action, following=False)
        values = values.squeeze(-1)
        loss = self.mean((values - target).square().sum(0), batch.weight)
        norm = self.descend("critic", loss)
        value = self.mean(values[0].detach(), batch.weight)
        return {"critic_loss": loss.detach(), "value_mean": value, "critic_gradient_norm": norm}

    def _update_actors(self, batch: Batch) -> dict[str, Tensor]:
        outputs = self.actor_outputs(self.stacks["actor"].parameters, batch, following=False)
        if self.discrete:
            gumbel = standard_gumbel(self.drawn(outputs.shape[1:]))
            temperature = self.options.relaxation_temperature
            own = straight_through(outputs, batch.now.available, gumbel, temperature)
        else:
            own = torch.tanh(outputs)
        acting = batch.now.acting
        joint_action = joint_actions(acted(batch.action, acting), acted(own, acting))
        values = self.values(self.parameters_of("critic"), batch, joint_action, following=False)
        penalty = self.options.output_penalty * outputs.square().mean(-1)
        loss = self.mean(penalty - values[0].squeeze(-1), batch.decides)
        norm = self.descend("actor", loss)
        return {"actor_loss": loss.detach(), "actor_gradient_norm": norm}

    def learnt(self) -> dict[str, Any]:
        return {**super().learnt(), "exploration": self.actor.exploration}

    def load_learnt(self, state: Mapping[str, Any]) -> None:
        super().load_learnt(state)
        self.actor.exploration = float(state["exploration"])
