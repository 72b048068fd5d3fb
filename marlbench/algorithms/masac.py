"""MASAC: soft actor-critic with critics of the joint action.

Haarnoja et al. 2018, "Soft actor-critic algorithms and applications" (arXiv 1812.05905, eq. 5, 7, 9 and 18), for many
agents as MADDPG is DDPG (Lowe et al. 2017, arXiv 1706.02275). With x the state or all observations and two critics k:

    L(Q_ik) = E[ (Q_ik(x, a) - y_i)^2 ],   y_i = r_i + gamma (min_k Q'_ik(x', a') - alpha log pi_i(a'_i | o'_i))
    L(pi_i) = E[ alpha log pi_i(a_i | o_i) - min_k Q_ik(x, a) ]
    L(alpha) = E[ -alpha (log pi_i(a_i | o_i) + H) ],   H the target entropy

a' and, for the policy, a are drawn from the present policies of all agents: with the others' actions of the replay an
agent adapts to partners that are no more (Iqbal and Sha 2019, arXiv 1810.02912, section 3.2).

Discrete actions take expectations over the agent's own action instead of samples (Christodoulou 2019, arXiv
1910.07207): the critic is given the others' actions and has one output for each own action, as the counterfactual
critic of Foerster et al. 2018 (arXiv 1705.08926, section 4), so its size grows linearly with the number of agents:

    V_i(x) = sum_a pi_i(a | o_i) (min_k Q_ik(x, a_-i)[a] - alpha log pi_i(a | o_i))
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from marlbench.algorithms.actors import CategoricalActor
from marlbench.algorithms.base import Setting
from marlbench.algorithms.continuous_actors import SquashedGaussianActor, squashed_sample
from marlbench.algorithms.distributions import mask_logits, standard_normal
from marlbench.algorithms.joint_batch import Batch, acted
from marlbench.algorithms.joint_critic import joint_actions
from marlbench.algorithms.off_policy_actor_critic import (
    OffPolicyActorCritic,
    OffPolicyActorCriticHyperparameters,
    action_width,
)
from marlbench.algorithms.relaxed_categorical import something_available, standard_gumbel
from marlbench.algorithms.stack import Layout
from marlbench.environments.contract import Discrete


class MASACHyperparameters(OffPolicyActorCriticHyperparameters):
    """Settings of MASAC."""

    temperature: float = Field(1.0, gt=0, description="alpha, at first where it is learnt")
    learn_temperature: bool = Field(True, description="move alpha towards the target entropy")
    temperature_learning_rate: float = Field(1e-3, gt=0, description="of Adam, for the logarithm of alpha")
    target_entropy: float = Field(
        -1.0, description="of one agent's continuous actions in [-1, 1], per dimension, in nats"
    )
    target_entropy_share: float = Field(
        0.3, ge=0, le=1, description="of one agent's discrete actions, in that of all available ones alike"
    )


class MASAC(OffPolicyActorCritic):
    """Multi-agent soft actor-critic on the parameter stack."""

    revision = 1
    Hyperparameters = MASACHyperparameters

    def __init__(self, setting: Setting, hyperparameters: MASACHyperparameters) -> None:
        width = action_width(setting.specification)
        discrete = isinstance(setting.specification.action, Discrete)
        super().__init__(
            setting, hyperparameters, width if discrete else 2 * width, width if discrete else 1, critics=2
        )
        actor = CategoricalActor if discrete else SquashedGaussianActor
        self.policy = actor(setting, self.stacks["actor"], self.sharing, self.network, self.identity)
        layout: Layout = {"log_temperature": (1,)}
        self.add_stack("temperature", layout, hyperparameters.temperature_learning_rate)
        with torch.no_grad():
            self.stacks["temperature"].flat.fill_(math.log(hyperparameters.temperature))
        self.add_target("critic")

    def learn_from(self, batch: Batch) -> dict[str, Tensor]:
        measures = self._update_critics(batch, self._target(batch)) | self._update_actors(batch)
        self.follow()
        return measures

    def soft_values(
        self, outputs: Tensor, batch: Batch, *, following: bool, target: bool
    ) -> tuple[Tensor, Tensor]:
        """V of the present policies, and their entropy.

        Args:
            outputs: of the actors, [member, *batch, agent, outputs].
            following: at the ends of transitions, or at their beginnings.
            target: by the target critics, or by the critics.

        Returns:
            both [member, *batch, agent]; gradients flow through an agent's own action alone.
        """
        moment = batch.following if following else batch.now
        critics = self.parameters_of("critic", target)
        alpha = self.per_agent(self.stacks["temperature"].flat.detach().exp().squeeze(1), moment.joint)
        if moment.acting is not None:
            # Who does not act decides nothing, and is not paid for it.
            alpha = alpha * moment.acting
        if not self.discrete:
            uniforms = self.drawn((*outputs.shape[1:-1], self.width))
            action, log_probability = squashed_sample(outputs, standard_normal(uniforms))
            action = acted(action, moment.acting)
            values = self.values(critics, batch, joint_actions(action.detach(), action), following)
            return values.amin(0).squeeze(-1) - alpha * log_probability, -log_probability
        masked = mask_logits(outputs, something_available(moment.available))
        log_probability = torch.log_softmax(masked, -1)
        probability = log_probability.exp()
        # Probability zero times minus infinity counts nothing, and must be a number.
        log_probability = log_probability.clamp(min=-100.0)
        drawn = (masked.detach() + standard_gumbel(self.drawn(outputs.shape[1:]))).argmax(-1)
        others = acted(one_hot(drawn, self.width).to(outputs.dtype), moment.acting)
        values = self.values(critics, batch, joint_actions(others, torch.zeros_like(others)), following).amin(
            0
        )
        soft = values - alpha.unsqueeze(-1) * log_probability
        return (probability * soft).sum(-1), -(probability * log_probability).sum(-1)

    @torch.no_grad()
    def _target(self, batch: Batch) -> Tensor:
        """y: [member, *batch, agent]."""
        outputs = self.actor_outputs(self.parameters_of("actor"), batch, following=True)
        values, _ = self.soft_values(outputs, batch, following=True, target=True)
        return batch.reward + batch.discount * values

    def _update_critics(self, batch: Batch, target: Tensor) -> dict[str, Tensor]:
        action, critics = acted(batch.action, batch.now.acting), self.stacks["critic"].parameters
        own = torch.zeros_like(action) if self.discrete else None
        values = self.values(critics, batch, joint_actions(action, own), following=False)
        values = (values * batch.action).sum(-1) if self.discrete else values.squeeze(-1)
        loss = self.mean((values - target).square().sum(0), batch.weight)
        norm = self.descend("critic", loss)
        value = self.mean(values[0].detach(), batch.weight)
        return {"critic_loss": loss.detach(), "value_mean": value, "critic_gradient_norm": norm}

    def _update_actors(self, batch: Batch) -> dict[str, Tensor]:
        outputs = self.actor_outputs(self.stacks["actor"].parameters, batch, following=False)
        values, entropy = self.soft_values(outputs, batch, following=False, target=False)
        loss = -self.mean(values, batch.decides)
        norm = self.descend("actor", loss)
        surplus = self.mean(entropy.detach() - self._target_entropy(batch), batch.decides)
        if self.options.learn_temperature:
            self._update_temperature(surplus)
        return {
            "actor_loss": loss.detach(),
            "actor_gradient_norm": norm,
            "entropy": self.mean(entropy.detach(), batch.decides),
            "temperature": self.stacks["temperature"].flat.detach().exp().squeeze(1),
        }

    def _target_entropy(self, batch: Batch) -> Tensor:
        """H, to be broadcast against [member, *batch, agent]."""
        if not self.discrete:
            return batch.reward.new_full((), self.options.target_entropy * self.width)
        share = self.options.target_entropy_share
        if batch.now.available is None:
            return batch.reward.new_full((), share * math.log(self.width))
        return share * batch.now.available.sum(-1).clamp(min=1).log()

    def _update_temperature(self, surplus: Tensor) -> None:
        """Lower alpha where the entropy is above its target, by so much on average: [stack]."""
        alpha = self.stacks["temperature"].parameters["log_temperature"].squeeze(-1).exp()
        self.descend("temperature", alpha * surplus)
