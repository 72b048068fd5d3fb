"""iPLAN: agents that infer what others are like and what they are about to do, and plan with it.

Wu et al. 2023, "iPLAN: intent-aware planning in heterogeneous traffic via distributed multi-agent reinforcement
learning" (arXiv 2306.06236), with the constants of the authors' code [code]. Every agent has networks of its own and
sees its own observation alone. It keeps two latents of everybody whom it sees: a behavioural incentive beta, which
changes slowly, and an instant incentive alpha: `intent_policy.py` has the equations, `intent_networks.py` the networks.
On the observation with these beside it, it runs proximal policy optimisation with a recurrent actor and critic.

    while rows play:  beta, alpha follow what is seen; the actor sees them
    every episode of the rows:  one step of Adam on L_behaviour and one on L_instant, after the warm-up
    every `update_episodes` episodes:  `epochs` steps on the clipped surrogate

The policy's loss does not reach the inference. Of the authors' code are left out: layer normalisation, a slot of zeros
for each vehicle that is out of sight (latents are those of the entities that the rows of the observation show), and the
agent's identity where every agent has a network of its own. PopArt does what its paper says; in the authors' code its
statistics are never updated. Instants learn from the steps at which an agent acts, which the authors' code masks out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms import tuned
from marlbench.algorithms.adam import Adam
from marlbench.algorithms.base import Memory, Setting, generators, initialised
from marlbench.algorithms.intent_learning import SEQUENCES, BehaviourLearning, InstantLearning
from marlbench.algorithms.intent_memory import Recollection, entities_of
from marlbench.algorithms.intent_networks import BehaviourNetworks, InstantNetworks
from marlbench.algorithms.intent_policy import IntentPolicy
from marlbench.algorithms.intent_record import IntentRecord, Lesson
from marlbench.algorithms.proximal import ProximalHyperparameters, ProximalPolicyOptimisation
from marlbench.algorithms.sharing import SharingOption
from marlbench.algorithms.stack import Activation, Layout, ParameterStack
from marlbench.environments.contract import Discrete, EnvironmentSpecification, Step
from marlbench.errors import ConfigurationError

# Of Adam, in the authors' code.
_EPSILON = 1e-5


class IPLANHyperparameters(ProximalHyperparameters):
    """Settings of iPLAN; lengths in joint steps, counts in samples of one agent."""

    behaviour: Literal["soft", "hard", "none"] = Field(
        "soft",
        description="behavioural incentive: latents that move slowly, that are replaced, or none",
    )
    instant: bool = Field(True, description="whether there is an instant incentive")
    history: int = Field(
        10, ge=2, description="joint steps that a behaviour is told from, and that are predicted"
    )
    behaviour_latent: int = Field(8, ge=1, description="numbers of a behavioural latent")
    behaviour_rate: float = Field(
        0.1, gt=0, le=1, description="share of a soft latent that is replaced at a step"
    )
    encoder_units: int = Field(32, ge=1, description="of the recurrent unit that reads histories")
    decoder_units: int = Field(64, ge=1, description="of the one that predicts what follows them")
    behaviour_learning_rate: float = Field(1e-4, gt=0, description="of Adam, for behaviour")
    attention_units: int = Field(32, ge=1, description="of encodings and hard attention")
    instant_latent: int = Field(
        32, ge=1, description="numbers of an instant latent, of queries, keys and values"
    )
    attention_temperature: float = Field(0.01, gt=0, description="of the hard attention's Gumbel-softmax")
    predicted_steps: int = Field(5, ge=1, description="joint steps that instants predict")
    instant_batch: int = Field(64, ge=1, description="moments of an update of each learner's instants")
    instant_learning_rate: float = Field(2e-5, gt=0, description="of Adam, for instants")
    decoder_dropout: float = Field(0.1, ge=0, lt=1, description="of both decoders, while they learn")
    inference_warm_up: int = Field(20_000, ge=0, description="environment steps before inference learns")
    inference_interval: int | None = Field(
        None, ge=2, description="joint steps between updates of inference; null for an episode at its limit"
    )
    update_episodes: int | None = Field(
        32,
        ge=1,
        description="episodes of every row, at their limit, between updates of the policy; null for rollout_length",
    )
    sharing: SharingOption = Field("independent", description="which agents share parameters")
    activation: Activation = Field("relu", description="after every hidden layer")
    recurrent_units: int = Field(
        64,
        ge=0,
        description="of a recurrent unit after the hidden layers, actor and critic alike; 0 for none",
    )
    sequence_length: int = Field(
        1,
        ge=1,
        description="joint steps that gradients of recurrent networks run back; divides rollout_length",
    )
    epochs: int = Field(15, ge=1, description="passes over each rollout")
    minibatches: int = Field(1, ge=1, description="parts that a pass is split into")
    value_normalisation: bool = Field(
        True,
        description="PopArt: the critic learns normalised targets, its last layer is rescaled as they move",
    )
    value_clip: float | None = Field(
        0.2,
        gt=0,
        description="most that an update of a value counts, in the critic's units; null for no limit",
    )
    huber_threshold: float | None = Field(
        10.0,
        gt=0,
        description="value errors beyond it count linearly, in the critic's units; null for squares",
    )
    maximum_gradient_norm: float = Field(
        10.0, gt=0, description="of one learner's actor and critic together, and of each of its inferences"
    )

    def resolved(self, episode_limit: int | None) -> Self:
        """With `rollout_length` and `inference_interval` in joint steps, on a task whose episodes are so long.

        A rollout holds whole intervals, and an interval as many episodes as it needs for two histories and what follows
        them: the first one's latent is what the second one predicts with.

        Raises ConfigurationError where the intervals that were given do not.
        """
        least = max((3 if self.behaviour == "hard" else 2) * self.history + 1, self.predicted_steps + 1)
        length = self.rollout_length
        if self.update_episodes is not None and episode_limit is not None:
            length = self.update_episodes * episode_limit
        interval = self.inference_interval
        if interval is None:
            episode = episode_limit or length
            interval = episode * -(-least // episode)
            if self.update_episodes is not None:
                length = interval * -(-length // interval)
        if (self.behaviour != "none" or self.instant) and (interval < least or length % interval):
            raise ConfigurationError(
                f"inference_interval {interval} has to divide rollout_length {length} and to be at least {least}.",
                hint="Leave inference_interval and update_episodes to their defaults, or change them together.",
            )
        return self.model_copy(update={"rollout_length": length, "inference_interval": interval})


class IPLAN(ProximalPolicyOptimisation):
    """Decentralised planning on inferred intent, on the parameter stack."""

    revision = 1
    Hyperparameters = IPLANHyperparameters
    settings = tuned.IPLAN
    preserves_values: ClassVar[bool] = True

    def __init__(self, setting: Setting, hyperparameters: IPLANHyperparameters) -> None:
        parts = _Parts(setting.specification, hyperparameters)
        hyperparameters = parts.options
        super().__init__(replace(setting, specification=parts.widened), hyperparameters)
        learners, device = setting.members * self.sharing.groups, setting.device
        self.behaviour_stack = ParameterStack(parts.behaviour_layout, learners, device)
        self.instant_stack = ParameterStack(parts.instant_layout, learners, device)
        norm, dropped = hyperparameters.maximum_gradient_norm, hyperparameters.decoder_dropout
        self.behaviour_learning: BehaviourLearning | None = None
        self.instant_learning: InstantLearning | None = None
        if parts.behaviour is not None:
            initialised(
                self.behaviour_stack, (parts.behaviour,), setting.seeds, self.sharing.groups, stream=3
            )
            self.behaviour_learning = BehaviourLearning(
                parts.behaviour,
                self.behaviour_stack,
                Adam(self.behaviour_stack, hyperparameters.behaviour_learning_rate, _EPSILON),
                hyperparameters.history,
                parts.rate,
                hyperparameters.history if hyperparameters.behaviour == "hard" else 1,
                dropped,
                norm,
            )
        if parts.instant is not None:
            initialised(self.instant_stack, (parts.instant,), setting.seeds, self.sharing.groups, stream=4)
            self.instant_learning = InstantLearning(
                parts.instant,
                self.instant_stack,
                Adam(self.instant_stack, hyperparameters.instant_learning_rate, _EPSILON),
                hyperparameters.predicted_steps,
                hyperparameters.instant_batch,
                dropped,
                norm,
            )
        self.intent = IntentPolicy(
            self.actor,
            parts.recollection,
            parts.behaviour,
            parts.instant,
            self.behaviour_stack,
            self.instant_stack,
            parts.rate,
        )
        self.policy = self.intent
        self.record = IntentRecord(setting, parts.recollection, parts.interval)
        self.inference_generators = generators(setting.seeds, stream=5)
        self.inferences: dict[str, Tensor] = {}
        self.steps = 0

    @property
    def infers(self) -> bool:
        """Whether there is anything to infer; not in the ablation without both incentives."""
        return self.behaviour_learning is not None or self.instant_learning is not None

    @classmethod
    def estimate_memory(
        cls, specification: EnvironmentSpecification, hyperparameters: Any, rows: int, seeds: int
    ) -> Memory:
        parts = _Parts(specification, hyperparameters)
        hyperparameters = parts.options
        planning = super().estimate_memory(parts.widened, hyperparameters, rows, seeds)
        slots = rows * seeds * len(specification.agents)
        entities, features = parts.recollection.entities, len(parts.recollection.entities.features)
        noise = 0 if parts.instant is None else parts.instant.uniforms
        recorded = entities.seen * (2 * features + 48) + entities.total * features * 4
        # The course of everybody in the record, its histories, and what a few thousand of them hold when unrolled.
        unrolled = seeds * 2 * SEQUENCES * hyperparameters.history * 16 * hyperparameters.decoder_units
        floats = slots * (
            hyperparameters.rollout_length * noise
            + parts.interval * (recorded + entities.seen * features * hyperparameters.history * 4)
            + 4 * parts.recollection.size
        )
        return Memory(resident=planning.resident + 4 * (floats + unrolled), disk=planning.disk)

    def begin(self, steps: int) -> None:
        super().begin(steps)
        self.steps = steps

    def observe(self, step: Step, memory: Tensor | None, action: Tensor, following: Step) -> None:
        inferred = self.intent.inferred
        assert memory is not None
        assert inferred is not None
        own = self.actor.memory_size
        after = self.intent.recollection.join(inferred.parts)
        # What follows is seen as it will be acted on; what nobody acts on any more is inferred here.
        if following.any_ended:
            kept = torch.cat([memory[..., :own], after], -1)
            final = self.intent.infer(following.final_observation, following.final_identity, kept)
            following = replace(following, final_observation=final.features)
        if self.rollout.time == self.rollout_length - 1:
            fresh = following.ended.unsqueeze(1) | following.new_occupant
            kept = torch.cat([memory[..., :own], after.masked_fill(fresh.unsqueeze(-1), 0.0)], -1)
            beyond = self.intent.infer(following.observation, following.identity, kept)
            following = replace(following, observation=beyond.features)
        shown = replace(step, observation=inferred.features)
        super().observe(shown, memory[..., :own] if own else None, action, following)
        self.intent.inferred = None
        if self.infers:
            self.record.add(step, memory[..., own:], inferred, following)
            if self.record.full:
                self._learn_to_infer()

    def _learn_to_infer(self) -> None:
        """One update of each inference on what was recorded."""
        played = self.steps + self.rollout.time * self.setting.rows
        if played > self.options.inference_warm_up:
            lesson = Lesson(self.record, self.sharing)
            per_member = (self.setting.members, self.sharing.groups)
            if self.behaviour_learning is not None:
                loss = self.behaviour_learning.learn(lesson, self.inference_generators)
                self.inferences["behaviour_loss"] = loss.view(per_member).mean(1)
            if self.instant_learning is not None:
                loss = self.instant_learning.learn(lesson, self.inference_generators)
                self.inferences["instant_loss"] = loss.view(per_member).mean(1)
        self.record.clear()

    def learn(self) -> dict[str, Tensor]:
        return {**super().learn(), **self.inferences}

    def rows_restarted(self) -> int:
        self.record.clear()
        return super().rows_restarted()

    def agent_bytes(self) -> int:
        stacks = (self.stack, self.behaviour_stack, self.instant_stack)
        # Parameters and two moments.
        return sum(3 * 4 * stack.flat.numel() for stack in stacks) // self.setting.members

    def _learnings(self) -> dict[str, BehaviourLearning | InstantLearning]:
        found = {"behaviour": self.behaviour_learning, "instant": self.instant_learning}
        return {name: learning for name, learning in found.items() if learning is not None}

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "inference": {
                name: {
                    "parameters": learning.stack.flat.detach().clone(),
                    "optimiser": learning.optimiser.state_dict(),
                }
                for name, learning in self._learnings().items()
            },
            "inference_generators": [g.get_state() for g in self.inference_generators],
            "inferences": dict(self.inferences),
            "record": self.record.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        for name, learning in self._learnings().items():
            saved = state["inference"][name]
            with torch.no_grad():
                learning.stack.flat.copy_(saved["parameters"])
            learning.optimiser.load_state_dict(saved["optimiser"])
        for generator, saved in zip(self.inference_generators, state["inference_generators"], strict=True):
            generator.set_state(saved.cpu())
        device = self.setting.device
        self.inferences = {name: value.to(device) for name, value in state["inferences"].items()}
        self.record.load_state_dict(state["record"])
        self.steps = int(state["steps"])


class _Parts:
    """What the hyperparameters make of a task: networks, memory, and the observation that actor and critic see."""

    def __init__(self, specification: EnvironmentSpecification, options: IPLANHyperparameters) -> None:
        entities = entities_of("iplan", specification)
        self.options = options = options.resolved(specification.episode_limit)
        assert options.inference_interval is not None
        self.interval = options.inference_interval
        seen, features = entities.seen, len(entities.features)
        self.rate = 1.0 if options.behaviour == "hard" else options.behaviour_rate
        self.behaviour: BehaviourNetworks | None = None
        self.instant: InstantNetworks | None = None
        latent = 0
        if options.behaviour != "none":
            latent = options.behaviour_latent
            self.behaviour = BehaviourNetworks(features, latent, options.encoder_units, options.decoder_units)
        size = 0
        if options.instant:
            size = options.instant_latent
            self.instant = InstantNetworks(
                seen, features, latent, options.attention_units, size, options.attention_temperature
            )
        action = specification.action
        told = action.count if isinstance(action, Discrete) else action.size
        history = 0 if self.behaviour is None else options.history
        self.recollection = Recollection(entities, history, latent, size, told)
        width = seen * (features + latent + size) + told
        self.widened = replace(specification, observation_size=width, features=(), entities=None, image=None)

    @property
    def behaviour_layout(self) -> Layout:
        return {} if self.behaviour is None else self.behaviour.layout

    @property
    def instant_layout(self) -> Layout:
        return {} if self.instant is None else self.instant.layout
