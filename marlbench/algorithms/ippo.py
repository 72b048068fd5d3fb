"""IPPO: every agent runs proximal policy optimisation on its own observations.

De Witt et al. 2020, "Is independent learning all you need in the StarCraft multi-agent challenge?" (arXiv 2011.09533),
with the clipped surrogate of Schulman et al. 2017 (arXiv 1707.06347, eq. 7):

    L(theta) = E[ min(r A, clip(r, 1 - epsilon, 1 + epsilon) A) ] - c_v E[(V - R)^2] + c_e E[H],
    r = pi(a | o) / pi_old(a | o),

where A are generalised advantages and R = A + V_old. Feed-forward networks, discrete actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms.actors import CategoricalActor
from marlbench.algorithms.adam import Adam
from marlbench.algorithms.base import (
    Algorithm,
    Hyperparameters,
    Memory,
    Setting,
    discrete_actions,
    generators,
    initialised,
    sharing_for,
)
from marlbench.algorithms.distributions import mask_logits
from marlbench.algorithms.networks import AgentNetwork
from marlbench.algorithms.on_policy import (
    Advantages,
    Rollout,
    advantages_over_decisions,
    generalised_advantages,
)
from marlbench.algorithms.sharing import SharingOption
from marlbench.algorithms.stack import Activation, ParameterStack
from marlbench.environments.contract import EnvironmentSpecification, Step


class IPPOHyperparameters(Hyperparameters):
    """Settings of IPPO; lengths in joint steps, counts in samples of one agent."""

    sharing: SharingOption = Field("shared", description="which agents share parameters")
    hidden: tuple[int, ...] = Field(
        (64, 64), description="units of the hidden layers, actor and critic alike"
    )
    activation: Activation = Field("tanh", description="after every hidden layer")
    learning_rate: float = Field(5e-4, gt=0, description="of Adam")
    anneal_learning_rate: bool = Field(False, description="lower the learning rate linearly to zero")
    rollout_length: int = Field(128, ge=1, description="joint steps of every row between updates")
    epochs: int = Field(4, ge=1, description="passes over each rollout")
    minibatches: int = Field(4, ge=1, description="parts that a pass is split into")
    discount: float = Field(0.99, ge=0, le=1, description="gamma")
    trace_decay: float = Field(0.95, ge=0, le=1, description="lambda of the advantages")
    clip: float = Field(0.2, gt=0, description="epsilon of the clipped surrogate")
    value_coefficient: float = Field(0.5, ge=0, description="weight of the value loss")
    entropy_coefficient: float = Field(0.01, ge=0, description="weight of the entropy bonus")
    normalise_advantages: bool = Field(True, description="to mean 0 and deviation 1 in each minibatch")
    maximum_gradient_norm: float = Field(0.5, gt=0, description="of one learner's actor and critic together")


class IPPO(Algorithm):
    """Independent proximal policy optimisation on the parameter stack."""

    revision = 1
    Hyperparameters = IPPOHyperparameters

    def __init__(self, setting: Setting, hyperparameters: IPPOHyperparameters) -> None:
        specification = setting.specification
        actions = discrete_actions("ippo", specification)
        self.setting, self.options = setting, hyperparameters
        self.rollout_length = hyperparameters.rollout_length
        hidden, activation = hyperparameters.hidden, hyperparameters.activation
        features = specification.observation_size
        # A small gain makes the first policy nearly uniform (Andrychowicz et al. 2021, section 3.2).
        actor = AgentNetwork("actor", features, hidden, actions, activation, 0.01)
        self.critic = AgentNetwork("critic", features, hidden, 1, activation)
        self.sharing = sharing_for(hyperparameters.sharing, setting)
        self.stack = ParameterStack(
            {**actor.layout, **self.critic.layout}, setting.members * self.sharing.groups, setting.device
        )
        initialised(self.stack, (actor, self.critic), setting.seeds, self.sharing.groups)
        self.policy = self.actor = CategoricalActor(setting, self.stack, self.sharing, actor)
        self.optimiser = Adam(self.stack, hyperparameters.learning_rate, epsilon=1e-5)
        self.generators = generators(setting.seeds, stream=2)
        self.rollout = Rollout(setting, self.rollout_length, keep_state=False)
        # Samples weigh differently where agents skip steps or groups are filled with copies.
        self.weighs = self.rollout.skips or self.sharing.weight is not None

    @classmethod
    def estimate_memory(
        cls,
        specification: EnvironmentSpecification,
        hyperparameters: IPPOHyperparameters,
        rows: int,
        seeds: int,
    ) -> Memory:
        samples = hyperparameters.rollout_length * rows * len(specification.agents) * seeds
        # Rollout, packed and shuffled copies; activations of a minibatch forwards and backwards, two networks.
        stored = 4 * samples * 3 * (specification.observation_size + 8)
        activations = 4 * samples // hyperparameters.minibatches * sum(hyperparameters.hidden) * 8
        return Memory(resident=stored + activations, disk=0)

    def begin(self, steps: int) -> None:
        if self.options.anneal_learning_rate:
            left = max(0.0, 1.0 - steps / self.setting.steps)
            self.optimiser.learning_rate = self.options.learning_rate * left

    def observe(self, step: Step, memory: Tensor | None, action: Tensor, following: Step) -> None:
        self.rollout.add(step, action, following)

    def learn(self) -> dict[str, Tensor]:
        samples = self._samples()
        self.rollout.clear()
        totals: dict[str, Tensor] = {}
        updates = 0
        for _ in range(self.options.epochs):
            shuffled = self._shuffled(samples)
            for minibatch in torch.tensor_split(shuffled, self.options.minibatches, dim=1):
                for name, value in self._update(minibatch).items():
                    totals[name] = totals[name] + value if name in totals else value
                updates += 1
        per_member = (self.setting.members, self.sharing.groups)
        return {name: (total / updates).view(per_member).mean(1) for name, total in totals.items()}

    @torch.no_grad()
    def _samples(self) -> Tensor:
        """One packed row per decision: [stack, sample, (action, old log-probability, advantage, target, weight?,
        available?, observation)]."""
        rollout, fold = self.rollout, self.sharing.fold
        observation, action = rollout.filled("observation"), rollout.filled("action")
        batch = tuple(observation.shape[1:3])
        folded = fold(observation)
        value = self._values(folded, batch)
        columns = [action.unsqueeze(-1).to(value.dtype)]
        available = rollout.filled("available_actions") if rollout.masks else None
        logits = self.sharing.unfold(self.actor.network(self.stack.parameters, folded), batch)
        log_probability = torch.log_softmax(mask_logits(logits, available), -1)
        columns.append(log_probability.gather(-1, action.unsqueeze(-1)))
        advantages = self._advantages(value)
        columns += [advantages.advantage.unsqueeze(-1), advantages.target.unsqueeze(-1)]
        if self.weighs:
            decides = rollout.filled("acting") if rollout.skips else torch.ones_like(action)
            columns.append(decides.unsqueeze(-1).to(value.dtype))
        if available is not None:
            columns.append(available.to(value.dtype))
        samples = fold(torch.cat([*columns, observation], -1))
        copies = self.sharing.sample_weight(rollout.members, samples.shape[1])
        if copies is not None:
            samples[..., 4] *= copies
        return samples

    def _values(self, folded: Tensor, batch: tuple[int, ...]) -> Tensor:
        """V of folded observations: [member, *batch, agent]."""
        return self.sharing.unfold(self.critic(self.stack.parameters, folded), batch).squeeze(-1)

    def _advantages(self, value: Tensor) -> Advantages:
        rollout, options = self.rollout, self.options
        assert rollout.last is not None
        shown = rollout.last.observation.view(rollout.members, 1, rollout.rows, *value.shape[3:], -1)
        beyond = self._values(self.sharing.fold(shown), (1, rollout.rows))
        following = torch.cat([value[:, 1:], beyond], 1)
        if rollout.ended:
            finals = torch.stack(rollout.final_observations, 1)
            final_value = self._values(self.sharing.fold(finals), (len(rollout.ended), rollout.rows))
            following[:, rollout.ended] = final_value
        experience = (
            rollout.filled("reward"),
            value,
            following,
            rollout.filled("terminated"),
            rollout.filled("truncated"),
        )
        if rollout.skips:
            return advantages_over_decisions(
                *experience,
                rollout.filled("acting"),
                rollout.filled("new_occupant"),
                options.discount,
                options.trace_decay,
            )
        return generalised_advantages(*experience, options.discount, options.trace_decay)

    def _shuffled(self, samples: Tensor) -> Tensor:
        """Each learner's samples in an order of its own: [stack, sample, columns]."""
        learners, count, columns = samples.shape
        order = torch.stack(
            [torch.randperm(count, generator=g) for g in self.generators for _ in range(self.sharing.groups)]
        )
        order += torch.arange(learners).unsqueeze(1) * count
        index = order.flatten().to(samples.device)
        return samples.view(-1, columns).index_select(0, index).view(learners, count, columns)

    def _update(self, minibatch: Tensor) -> dict[str, Tensor]:
        """One step of Adam for every learner; returns its measures, name -> [stack]."""
        options, rollout = self.options, self.rollout
        action, old_log_probability = minibatch[..., :1].long(), minibatch[..., 1]
        advantage, target = minibatch[..., 2], minibatch[..., 3]
        start = 4
        weight = available = None
        if self.weighs:
            weight = minibatch[..., start]
            start += 1
        if rollout.masks:
            actions = rollout.values["available_actions"].shape[-1]
            available = minibatch[..., start : start + actions] > 0.5
            start += actions
        observation = minibatch[..., start:]

        def mean(values: Tensor) -> Tensor:
            if weight is None:
                return values.mean(1)
            return (values * weight).sum(1) / weight.sum(1).clamp(min=1.0)

        if options.normalise_advantages:
            centred = advantage - mean(advantage).unsqueeze(1)
            advantage = centred / (mean(centred.square()).sqrt().unsqueeze(1) + 1e-8)
        logits = mask_logits(self.actor.network(self.stack.parameters, observation), available)
        log_probabilities = torch.log_softmax(logits, -1)
        log_ratio = log_probabilities.gather(-1, action).squeeze(-1) - old_log_probability
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1.0 - options.clip, 1.0 + options.clip)
        surrogate = mean(torch.minimum(ratio * advantage, clipped * advantage))
        value = self.critic(self.stack.parameters, observation).squeeze(-1)
        value_loss = mean((value - target).square())
        weighted = log_probabilities.exp() * torch.clamp(log_probabilities, min=-100.0)
        entropy = -mean(weighted.sum(-1))
        loss = options.value_coefficient * value_loss - surrogate - options.entropy_coefficient * entropy
        self.stack.backward(loss)
        norm = self.stack.clip_gradient(options.maximum_gradient_norm)
        self.optimiser.step()
        with torch.no_grad():
            return {
                "policy_loss": -surrogate.detach(),
                "value_loss": value_loss.detach(),
                "entropy": entropy.detach(),
                "gradient_norm": norm,
                "clip_fraction": mean((ratio != clipped).to(ratio.dtype)),
            }

    def rows_restarted(self) -> int:
        forgotten = self.rollout.time
        self.rollout.clear()
        return forgotten

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameters": self.stack.flat.detach().clone(),
            "optimiser": self.optimiser.state_dict(),
            "generators": [g.get_state() for g in self.generators],
            "rollout": self.rollout.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self.stack.flat.copy_(state["parameters"])
        self.optimiser.load_state_dict(state["optimiser"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved.cpu())
        self.rollout.load_state_dict(state["rollout"])
