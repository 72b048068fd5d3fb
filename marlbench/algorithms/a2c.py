"""A2C: advantage actor-critic, one update for each short rollout.

Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning" (arXiv 1602.01783, section 4), with rows in
lockstep instead of threads:

    L(theta) = -E[ A log pi(a | o) ] - c_e E[H] + c_v E[(V - R)^2],
    A = R - V,   R_t = r_t + gamma r_{t+1} + ... + gamma^k V_{t+k},   t + k the end of the rollout or of the episode.

These are the generalised advantages of `trace_decay: 1`; less of it trades bias for variance. With `critic: local` V
sees the agent's own observation (independent learners, "IA2C" of Papoudakis et al. 2021, arXiv 2006.07869), with
`critic: central` the global state ("MAA2C").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms import tuned
from marlbench.algorithms.actor_critic import ActorCritic, ActorCriticHyperparameters
from marlbench.algorithms.critic_inputs import CriticInput
from marlbench.algorithms.samples import Batch, Samples, mean, normalised


class A2CHyperparameters(ActorCriticHyperparameters):
    """Settings of A2C; lengths in joint steps, counts in samples of one agent."""

    critic: Literal["local", "central"] = Field(
        "local", description="whether the critic sees the agent's own observation or the state"
    )
    agent_identity: bool = Field(
        True, description="append a one-hot of the agent to inputs where agents share parameters"
    )
    rollout_length: int = Field(5, ge=1, description="joint steps of every row between updates")
    sequence_length: int = Field(
        5,
        ge=1,
        description="joint steps that gradients of recurrent networks run back; divides rollout_length",
    )
    trace_decay: float = Field(1.0, ge=0, le=1, description="lambda of the advantages; 1 for n-step returns")
    normalise_advantages: bool = Field(False, description="to mean 0 and deviation 1 in each rollout")
    maximum_gradient_norm: float = Field(10.0, gt=0, description="of one learner's actor and critic together")
    value_normalisation: bool = Field(
        True, description="the critic learns targets of mean 0 and deviation 1, by running statistics"
    )


class A2C(ActorCritic):
    """Advantage actor-critic on the parameter stack."""

    revision = 1
    Hyperparameters = A2CHyperparameters
    settings = tuned.A2C
    compares_policies = False

    @classmethod
    def critic_sees(cls, hyperparameters: A2CHyperparameters) -> CriticInput:
        return "state" if hyperparameters.critic == "central" else "observation"

    def batches(self, samples: Samples) -> Iterator[Batch]:
        yield samples.whole()

    def loss(
        self, batch: Batch, log_probability: Tensor, entropy: Tensor, value: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        options, weight = self.options, batch.weight
        advantage = batch.advantage
        if options.normalise_advantages:
            advantage = normalised(advantage, weight)
        policy_loss = -mean(advantage * log_probability, weight)
        value_loss = mean((value - batch.target).square(), batch.critic_weight)
        entropy = mean(entropy, weight)
        loss = policy_loss - options.entropy_coefficient * entropy + options.value_coefficient * value_loss
        with torch.no_grad():
            return loss, {
                "policy_loss": policy_loss.detach(),
                "value_loss": value_loss.detach(),
                "entropy": entropy.detach(),
            }
