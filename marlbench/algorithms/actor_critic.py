"""What on-policy actor-critic methods do alike: a rollout, values and advantages of it, and updates on samples of it.

A method adds its hyperparameters, what its critic sees, and the loss that it minimises. With recurrent networks the
rollout is cut into sequences: gradients run through time inside a sequence, which starts with the memory that the
networks had there when the rollout was made (of the actor as it was acting, of the critic by unrolling it over the
rollout before learning), emptied where an episode ended or another agent took the slot.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from marlbench.algorithms.actors import CategoricalActor
from marlbench.algorithms.adam import Adam
from marlbench.algorithms.agent_identity import AgentIdentity
from marlbench.algorithms.base import (
    Algorithm,
    Hyperparameters,
    Memory,
    Setting,
    generators,
    initialised,
    sharing_for,
)
from marlbench.algorithms.critic_inputs import CriticInput, CriticInputs
from marlbench.algorithms.gaussian_actor import GaussianActor, LogDeviation
from marlbench.algorithms.networks import AgentNetwork
from marlbench.algorithms.on_policy import Rollout
from marlbench.algorithms.rollout_critic import RolloutCritic
from marlbench.algorithms.samples import CRITIC, Batch, Samples
from marlbench.algorithms.sharing import Common, Sharing, SharingOption
from marlbench.algorithms.stack import Activation, ParameterStack
from marlbench.environments.contract import Discrete, EnvironmentSpecification, Step


class ActorCriticHyperparameters(Hyperparameters):
    """Settings that all on-policy methods have; lengths in joint steps, counts in samples of one agent."""

    sharing: SharingOption = Field("shared", description="which agents share parameters")
    agent_identity: bool = Field(
        False,
        description="append a one-hot of the agent to its observation where agents share parameters",
        json_schema_extra={"legacy": False},
    )
    hidden: tuple[int, ...] = Field(
        (64, 64), description="units of the hidden layers, actor and critic alike"
    )
    activation: Activation = Field("tanh", description="after every hidden layer")
    recurrent_units: int = Field(
        0,
        ge=0,
        description="of a recurrent unit after the hidden layers, actor and critic alike; 0 for none",
        json_schema_extra={"legacy": 0},
    )
    sequence_length: int = Field(
        16,
        ge=1,
        description="joint steps that gradients of recurrent networks run back; divides rollout_length",
        json_schema_extra={"legacy": 16},
    )
    squash: bool = Field(
        False,
        description="continuous actions as tanh of a Gaussian; otherwise a Gaussian is clipped to the bounds",
        json_schema_extra={"legacy": False},
    )
    learning_rate: float = Field(5e-4, gt=0, description="of Adam")
    anneal_learning_rate: bool = Field(False, description="lower the learning rate linearly to zero")
    rollout_length: int = Field(128, ge=1, description="joint steps of every row between updates")
    discount: float = Field(0.99, ge=0, le=1, description="gamma")
    trace_decay: float = Field(0.95, ge=0, le=1, description="lambda of the advantages")
    value_coefficient: float = Field(0.5, ge=0, description="weight of the value loss")
    value_normalisation: bool = Field(
        False,
        description="the critic learns targets of mean 0 and deviation 1, by running statistics",
        json_schema_extra={"legacy": False},
    )
    entropy_coefficient: float = Field(0.01, ge=0, description="weight of the entropy bonus")
    normalise_advantages: bool = Field(True, description="to mean 0 and deviation 1 in each minibatch")
    maximum_gradient_norm: float = Field(0.5, gt=0, description="of one learner's actor and critic together")
    reward_scale: float = Field(
        1.0,
        gt=0,
        description="factor of rewards in advantages and targets",
        json_schema_extra={"legacy": 1.0},
    )

    @model_validator(mode="after")
    def _sequences_fit(self) -> Self:
        if self.recurrent_units and self.rollout_length % self.sequence_length:
            raise ValueError(
                f"rollout_length {self.rollout_length} is no multiple of sequence_length {self.sequence_length}"
            )
        return self


class ActorCritic(Algorithm):
    """Collects a rollout, judges it, and improves actor and critic on it.

    Class attributes:
        compares_policies: whether the loss needs the probability that an action had when it was taken.
        preserves_values: whether the critic's values stay when the statistics of its targets move, see `RolloutCritic`.

    Attributes:
        keeps_values: whether the loss needs what the critic said before learning.
    """

    compares_policies: ClassVar[bool] = True
    preserves_values: ClassVar[bool] = False
    keeps_values: bool = False

    def __init__(self, setting: Setting, hyperparameters: Any) -> None:
        specification = setting.specification
        self.setting, self.options = setting, hyperparameters
        self.discrete = isinstance(specification.action, Discrete)
        self.rollout_length = hyperparameters.rollout_length
        self.sharing = sharing_for(hyperparameters.sharing, setting)
        self.identity = AgentIdentity(hyperparameters.agent_identity, self.sharing, setting.device)
        inputs = CriticInputs(self.critic_sees(hyperparameters), specification, self.identity)
        units = hyperparameters.recurrent_units
        self.length = hyperparameters.sequence_length if units else 1
        self.slots = setting.rows * self.sharing.group_size
        actor, critic = _architectures(specification, hyperparameters, self.identity, inputs)
        deviation = LogDeviation("actor.log_deviation", actor.outputs)
        parts = (actor, critic) if self.discrete else (actor, deviation, critic)
        layout = {name: shape for part in parts for name, shape in part.layout.items()}
        self.stack = ParameterStack(layout, setting.members * self.sharing.groups, setting.device)
        initialised(self.stack, parts, setting.seeds, self.sharing.groups)
        acting = (setting, self.stack, self.sharing, actor)
        self.actor: CategoricalActor | GaussianActor
        if self.discrete:
            self.actor = CategoricalActor(*acting, self.identity)
        else:
            self.actor = GaussianActor(*acting, deviation, self.identity, hyperparameters.squash)
        self.policy = self.actor
        self.critic = RolloutCritic(
            critic,
            self.stack,
            self.sharing,
            inputs,
            setting.rows,
            hyperparameters.value_normalisation,
            self.length,
            hyperparameters.discount,
            hyperparameters.trace_decay,
            hyperparameters.reward_scale,
            self.preserves_values,
        )
        self.optimiser = Adam(self.stack, hyperparameters.learning_rate, epsilon=1e-5)
        self.generators = generators(setting.seeds, stream=2)
        interval = self.length if units else 0
        self.rollout = Rollout(setting, self.rollout_length, inputs.uses_state, interval)

    @abstractmethod
    def loss(
        self, batch: Batch, log_probability: Tensor, entropy: Tensor, value: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the method minimises.

        Args:
            batch: samples.
            log_probability: of the batch's actions, now: [stack, sample].
            entropy: of the policy at the batch's observations: [stack, sample].
            value: what the critic says now, in its own units: [stack, sample].

        Returns:
            the loss [stack], and measures, name -> [stack], without gradients.
        """

    @abstractmethod
    def batches(self, samples: Samples) -> Iterator[Batch]:
        """The batches of a rollout, one for each update."""

    @classmethod
    def critic_sees(cls, hyperparameters: Any) -> CriticInput:
        """What the critic is given."""
        return "observation"

    @classmethod
    def estimate_memory(
        cls, specification: EnvironmentSpecification, hyperparameters: Any, rows: int, seeds: int
    ) -> Memory:
        sharing = Sharing(hyperparameters.sharing, len(specification.agents), torch.device("cpu"))
        identity = AgentIdentity(hyperparameters.agent_identity, sharing, torch.device("cpu"))
        inputs = CriticInputs(cls.critic_sees(hyperparameters), specification, identity)
        actor, critic = _architectures(specification, hyperparameters, identity, inputs)
        slots = sharing.groups * sharing.group_size * rows * seeds
        samples = hyperparameters.rollout_length * slots
        # Per sample of an agent, and one of the critic may be for all agents of a learner.
        for_agents = sharing.group_size if inputs.common else 1
        width = actor.inputs + (inputs.size // for_agents if inputs.central else 0) + 8
        if inputs.uses_state:
            width += specification.state_size // len(specification.agents)
        # Rollout, packed and shuffled copies; activations of a minibatch forwards and backwards, two networks.
        stored = 4 * samples * 3 * (width + actor.outputs)
        updated = samples // getattr(hyperparameters, "minibatches", 1)
        activations = 4 * updated * (actor.units + critic.units // for_agents) * 4
        # Values and probabilities of the whole rollout, before learning, without gradients.
        judged = 4 * samples * 2 * max(actor.units, critic.units)
        count = sum(math.prod(shape) for part in (actor, critic) for shape in part.layout.values())
        parameters = 4 * seeds * sharing.groups * 5 * count
        return Memory(resident=stored + max(activations, judged) + parameters, disk=0)

    def begin(self, steps: int) -> None:
        if self.options.anneal_learning_rate:
            left = max(0.0, 1.0 - steps / self.setting.steps)
            self.optimiser.learning_rate = self.options.learning_rate * left

    def observe(self, step: Step, memory: Tensor | None, action: Tensor, following: Step) -> None:
        drawn = self.actor.drawn if isinstance(self.actor, GaussianActor) else action
        self.rollout.add(step, memory, drawn, following)

    def learn(self) -> dict[str, Tensor]:
        samples = self._samples()
        self.rollout.clear()
        totals: dict[str, Tensor] = {}
        updates = 0
        for batch in self.batches(samples):
            for name, value in self._update(batch).items():
                totals[name] = totals[name] + value if name in totals else value
            updates += 1
        per_member = (self.setting.members, self.sharing.groups)
        return {name: (total / updates).view(per_member).mean(1) for name, total in totals.items()}

    def _update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of Adam for every learner; returns its measures, name -> [stack]."""
        log_probability, entropy = self._likelihood(batch)
        remembered = batch.critic_fresh, batch.critic_memory
        value = self._applied(self.critic.network, batch.critic_input, batch.length, *remembered).squeeze(-1)
        loss, measures = self.loss(batch, log_probability, entropy, value)
        self.stack.backward(loss)
        norm = self.stack.clip_gradient(self.options.maximum_gradient_norm)
        self.optimiser.step()
        return {**measures, "gradient_norm": norm}

    def _likelihood(self, batch: Batch) -> tuple[Tensor, Tensor]:
        outputs = self._applied(
            self.actor.network, batch.observation, batch.length, batch.fresh, batch.memory
        )
        return self.actor.likelihood(outputs, batch.action, batch.available)

    def _applied(
        self,
        network: AgentNetwork,
        features: Tensor,
        length: int,
        fresh: Tensor | None,
        memory: Tensor | None,
    ) -> Tensor:
        """[stack, sample, features] -> [stack, sample, outputs], through time where the network has memory."""
        if memory is None or fresh is None:
            return network(self.stack.parameters, features)
        split = (features.shape[0], length, -1)
        sequences = features.view(*split, features.shape[-1])
        found, _ = network.unroll(self.stack.parameters, sequences, memory, fresh.view(split))
        return found.flatten(1, 2)

    @torch.no_grad()
    def _samples(self) -> Samples:
        """The rollout as samples, with advantages and targets."""
        rollout, fold, critic = self.rollout, self.sharing.fold, self.critic
        central, common = critic.inputs.central, critic.inputs.common
        action = rollout.filled("action")
        action = fold(action.unsqueeze(-1) if self.discrete else action)
        available = fold(rollout.filled("available_actions")) if rollout.masks else None
        seen = fold(self.identity(rollout.filled("observation")))
        fresh = self._fresh(self.sharing)
        weight, critic_weight = self._weights(seen)
        if common:
            # Copies of agents have no sample of their own.
            critic_weight, critic_fresh = None, self._fresh(critic.folding)
        else:
            critic_fresh = fresh
        judged = critic.judge(rollout, seen, critic_fresh, critic_weight)
        memories: dict[str, Tensor] = {}
        if judged.memory is not None:
            memories = {"memory": fold(torch.stack(rollout.memories, 1)), "critic_memory": judged.memory}
        log_probability = None
        if self.compares_policies:
            outputs = self._acted(seen, memories.get("memory"), fresh)
            log_probability = self.actor.likelihood(outputs, action, available)[0].unsqueeze(-1)
        columns = {
            "action": action,
            "log_probability": log_probability,
            "advantage": judged.advantage,
            "target": judged.target,
            "weight": weight,
            "critic_weight": critic_weight if central else None,
            "available": available,
            "value": judged.value if self.keeps_values else None,
            "fresh": fresh,
            "critic_fresh": critic_fresh if common else None,
            "observation": seen,
            "critic_input": judged.features if central else None,
        }
        present = {name: column for name, column in columns.items() if column is not None}
        if not common:
            return Samples(present, self.length, self.slots, self.discrete, memories)
        # One sample of the critic for all agents: it is not dealt out beside theirs.
        own, kept = (
            {name: held.pop(name) for name in CRITIC if name in held} for held in (present, memories)
        )
        of_critic = Samples(own, self.length, critic.slots, self.discrete, kept)
        return Samples(present, self.length, self.slots, self.discrete, memories, of_critic)

    def _fresh(self, folding: Sharing | Common) -> Tensor | None:
        """float [stack, time x slot, 1]: whether the memory was emptied before a step; None without memory."""
        if not self.rollout.memory_interval:
            return None
        cut = self.rollout.filled("cut")
        # Memory that is kept from before the rollout has been emptied already.
        before = torch.cat([torch.zeros_like(cut[:, :1]), cut[:, :-1]], 1)
        return folding.fold(before.unsqueeze(-1).to(torch.float32))

    def _weights(self, seen: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Of samples for the actor and for the critic, [stack, sample, 1]; None where all weigh the same.

        Who does not act has nothing to learn of the actor, nor of a critic of its own observation. A central critic
        learns what agents that do not act are worth as well: values of the steps at which they do are built on it.
        """
        rollout = self.rollout
        copies = self.sharing.sample_weight(rollout.members, seen.shape[1])
        weight = None if copies is None else copies.unsqueeze(-1)
        if not rollout.skips:
            return weight, weight
        acting = self.sharing.fold(rollout.filled("acting").unsqueeze(-1).to(seen.dtype))
        own = acting if weight is None else acting * weight
        if not self.critic.inputs.central:
            return own, own
        return own, torch.ones_like(acting) if weight is None else weight

    def _acted(self, seen: Tensor, memory: Tensor | None, fresh: Tensor | None) -> Tensor:
        """The actor's outputs as they were in the rollout: [stack, time x slot, outputs]."""
        network, parameters = self.actor.network, self.stack.parameters
        if memory is None or fresh is None:
            return network(parameters, seen)
        # All sequences side by side, each from the memory it started with.
        split = (seen.shape[0], -1, self.length, self.slots)

        def by_sequence(values: Tensor) -> Tensor:
            return values.view(*split, values.shape[-1]).transpose(1, 2).flatten(2, 3)

        emptied = by_sequence(fresh).squeeze(-1) > 0.5
        outputs, _ = network.unroll(parameters, by_sequence(seen), memory, emptied)
        parts = outputs.view(seen.shape[0], self.length, -1, self.slots, network.outputs)
        return parts.transpose(1, 2).flatten(1, 3)

    def rows_restarted(self) -> int:
        forgotten = self.rollout.time
        self.rollout.clear()
        self.critic.forget()
        return forgotten

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameters": self.stack.flat.detach().clone(),
            "optimiser": self.optimiser.state_dict(),
            "generators": [g.get_state() for g in self.generators],
            "rollout": self.rollout.state_dict(),
            "critic": self.critic.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self.stack.flat.copy_(state["parameters"])
        self.optimiser.load_state_dict(state["optimiser"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved.cpu())
        self.rollout.load_state_dict(state["rollout"])
        # A checkpoint from before critics had a state of their own lacks it.
        if "critic" in state:
            self.critic.load_state_dict(state["critic"])


def _architectures(
    specification: EnvironmentSpecification,
    options: Any,
    identity: AgentIdentity,
    critic_inputs: CriticInputs,
) -> tuple[AgentNetwork, AgentNetwork]:
    """The networks of actor and critic."""
    action, memory = specification.action, {"recurrent_units": options.recurrent_units}
    outputs = action.count if isinstance(action, Discrete) else action.size
    seen = specification.observation_size + identity.size
    shape = (options.hidden, outputs, options.activation)
    # A small gain makes the first policy nearly uniform (Andrychowicz et al. 2021, section 3.2).
    actor = AgentNetwork("actor", seen, *shape, 0.01, **memory, image=specification.image)
    shape = (options.hidden, 1, options.activation)
    return actor, AgentNetwork("critic", critic_inputs.size, *shape, **memory, image=critic_inputs.image)
