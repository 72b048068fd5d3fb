"""What value-based methods share: an action value of each agent, and what is made of them.

The deep Q-network of Mnih et al. 2015 (replay, target network; eq. 2) for one agent or, with a mixer, for the team:

    L(theta) = E[ (y - Q(o, a))^2 ],   y = r + gamma max_a' Q_target(o', a')   (y = r where the episode terminated)

`double` takes the action a' of Q and its value of Q_target (van Hasselt et al. 2016, eq. 4), `n_step` sums n rewards
before it bootstraps (Sutton 1988), `prioritised` samples by |y - Q| (Schaul et al. 2016). Recurrent forms unroll
sequences from the recurrent state that was stored when they were played, after a burn-in without gradient
(Kapturowski et al. 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from marlbench.algorithms.actors import EpsilonGreedyActor
from marlbench.algorithms.adam import Adam
from marlbench.algorithms.agent_identity import AgentIdentity
from marlbench.algorithms.base import (
    Hyperparameters,
    Memory,
    Setting,
    discrete_actions,
    initialised,
    sharing_for,
)
from marlbench.algorithms.distributions import mask_logits
from marlbench.algorithms.experience import Experience
from marlbench.algorithms.gradients import backward, clip_together
from marlbench.algorithms.mixers import JointChoice, Mixer, WrittenMixer
from marlbench.algorithms.networks import AgentNetwork
from marlbench.algorithms.off_policy import OffPolicy
from marlbench.algorithms.q_error import error_size, importance, mean_square, per_learner
from marlbench.algorithms.q_hyperparameters import QLearningHyperparameters, TeamHyperparameters
from marlbench.algorithms.q_memory import kept_by, memory_of
from marlbench.algorithms.stack import ParameterStack
from marlbench.algorithms.targets import decision_targets, step_targets
from marlbench.algorithms.value_normalisation import ValueNormalisation
from marlbench.environments.contract import EnvironmentSpecification
from marlbench.errors import ConfigurationError
from marlbench.training.replay import Drawn

# What the rows show before and after a step, as far as it is kept.
SHOWN = ("observation", "state", "available_actions", "acting")


@dataclass(frozen=True)
class Lesson:
    """What an update learns from: values before and after, and what happened between; * stands for the axes of the
    batch, [batch] or [time, batch].

    Attributes:
        values: Q of all actions, [member, *, agent, action], with gradients.
        fields: those of the replay, name -> [member, *, ...].
        target: y, [member, *, agent], or [member, *] of the team.
        valid: what is learnt from, bool as `target`; None for everything.
        entered: what went into each layer of the network, where `values` come without a graph; None where with one.
    """

    values: Tensor
    fields: dict[str, Tensor]
    target: Tensor
    valid: Tensor | None
    entered: Sequence[Tensor] | None = None


class QLearner(OffPolicy):
    """Base of the value-based methods. Subclasses say how values of agents make one of the team: `mixer`."""

    Hyperparameters: ClassVar[type[Hyperparameters]] = QLearningHyperparameters

    @classmethod
    def mixer(cls, setting: Setting, options: Any) -> Mixer | None:
        """What makes the team's value; None where every agent learns its own from its own rewards."""
        return None

    def __init__(self, setting: Setting, hyperparameters: QLearningHyperparameters) -> None:
        options: Any = hyperparameters
        self.options = options
        specification, device = setting.specification, setting.device
        actions = discrete_actions(type(self).__name__.lower(), specification)
        self._check(specification)
        mixer = self.mixing = self.mixer(setting, options)
        keep = kept_by(options, mixer is not None, mixer is not None and mixer.needs_state)
        capacity = self.capacity(options.replay_steps, setting.rows)
        if keep.sequence is not None and capacity < 2 * keep.sequence:
            raise ConfigurationError(
                f"replay_steps: {options.replay_steps} is {capacity} joint steps of {setting.rows} rows, which do not "
                f"hold two sequences of {keep.sequence - 1}.",
                hint="Raise replay_steps, or lower sequence_length or burn_in.",
            )
        experience = Experience(setting, capacity, keep, options.n_step, options.discount)
        super().__init__(setting, experience, options.learning_starts, options.update_interval)
        self.sharing = sharing_for(options.sharing, setting)
        self.identity = AgentIdentity(options.agent_identity, self.sharing, device)
        self.network = AgentNetwork(
            "values",
            specification.observation_size + self.identity.size,
            options.hidden,
            actions,
            options.activation,
            # A mixer multiplies what the first values happen to be by weights that depend on the state, and the
            # maximum over actions feeds on that.
            output_gain=1.0 if mixer is None else 0.01,
            recurrent_units=options.recurrent_units,
            image=specification.image,
        )
        self.stack = ParameterStack(self.network.layout, setting.members * self.sharing.groups, device)
        initialised(self.stack, (self.network,), setting.seeds, self.sharing.groups)
        self.stacks = [self.stack]
        if mixer is not None and mixer.layout:
            self.stacks.append(ParameterStack(mixer.layout, setting.members, device))
            initialised(self.stacks[1], (mixer,), setting.seeds, 1, stream=3)
        self.targets = [stack.flat.detach().clone() for stack in self.stacks]
        self.target_parameters = [
            stack.view(flat) for stack, flat in zip(self.stacks, self.targets, strict=True)
        ]
        self.optimisers = [Adam(stack, options.learning_rate) for stack in self.stacks]
        self.policy = self.actor = EpsilonGreedyActor(
            setting, self.stack, self.sharing, self.network, self.identity
        )
        self.reward_statistics: ValueNormalisation | None = None
        if options.standardise_rewards:
            self.reward_statistics = ValueNormalisation(setting.members, device)
        self.copied_at = 0
        # Where the gradient is written out and nothing is recorded to differentiate.
        self.written = self.network.dense and (mixer is None or isinstance(mixer, WrittenMixer))
        self.learners = self.stack.size if mixer is None else setting.members

    def _check(self, specification: EnvironmentSpecification) -> None:
        if self.options.n_step > 1 and specification.skips_steps:
            raise ConfigurationError(
                f"n_step: {self.options.n_step} needs agents that act at every step, and in this task they skip steps.",
                hint="Use n_step: 1 for this task.",
            )

    @classmethod
    def estimate_memory(
        cls,
        specification: EnvironmentSpecification,
        hyperparameters: QLearningHyperparameters,
        rows: int,
        seeds: int,
    ) -> Memory:
        team = issubclass(cls.Hyperparameters, TeamHyperparameters)
        capacity = cls.capacity(hyperparameters.replay_steps, rows)
        return memory_of(specification, hyperparameters, team, rows, seeds, capacity)

    def begin(self, steps: int) -> None:
        super().begin(steps)
        options = self.options
        falls_over = options.exploration_steps or options.exploration_fraction * self.setting.steps
        share = min(1.0, steps / falls_over)
        self.actor.epsilon = options.exploration_start + share * (
            options.exploration_end - options.exploration_start
        )

    def update(self) -> dict[str, Tensor]:
        # Nothing of a gradient that is written out is recorded, so that tensors need not keep what recording needs.
        with torch.inference_mode(self.written):
            return self._update()

    def _update(self) -> dict[str, Tensor]:
        options = self.options
        drawn = self.experience.replay.draw(self.generators, options.batch)
        with torch.set_grad_enabled(not self.written):
            lesson = self._sequences(drawn) if options.recurrent_units else self._transitions(drawn)
            parameters = [stack.parameters for stack in self.stacks]
            joint = self._joint(lesson.values, lesson.fields["action"], lesson.fields)
            chosen, kept = self._of_choice(parameters, joint)
        with torch.no_grad():
            error = lesson.target - chosen
            sharing = self.sharing if self.mixing is None else None
            loss, gradient = mean_square(error, lesson.valid, self._importance(drawn), sharing)
            if lesson.entered is None:
                backward(self.stacks, chosen, gradient)
            else:
                self._write_gradients(lesson, lesson.entered, joint, kept, gradient)
            norm = clip_together(self.stacks, self.learners, options.maximum_gradient_norm)
            for optimiser in self.optimisers:
                optimiser.step()
            self._move_targets()
            if options.prioritised:
                size = error_size(error, lesson.valid, sharing is not None, options.recurrent_units > 0)
                self.experience.replay.reprioritise(drawn, size**options.priority_exponent)
            measured = chosen if sharing is None else per_learner(chosen, sharing)
            return {"loss": loss, "value_mean": measured.flatten(1).mean(1), "gradient_norm": norm}

    def _write_gradients(
        self, lesson: Lesson, entered: Sequence[Tensor], joint: JointChoice, kept: Any, gradient: Tensor
    ) -> None:
        """The chain rule from dL / d chosen value to the gradient buffers, without automatic differentiation."""
        if self.mixing is not None:
            assert isinstance(self.mixing, WrittenMixer)
            mixer = self.stacks[-1]
            gradient = self.mixing.backward(mixer.parameters, kept, gradient, mixer.gradients)
            if joint.acting is not None:
                gradient = gradient * joint.acting
        action = joint.action.unsqueeze(-1)
        of_values = torch.zeros_like(lesson.values).scatter_(-1, action, gradient.unsqueeze(-1))
        folded = self.sharing.fold(of_values)
        copies = self.sharing.sample_weight(self.setting.members, folded.shape[1])
        if copies is not None:
            folded = folded * copies.unsqueeze(-1)
        self.network.head.backward(self.stack.parameters, entered, folded, self.stack.gradients)

    def _values(self, parameters: Mapping[str, Tensor], observation: Tensor) -> Tensor:
        """Q of a memoryless network: [member, batch, agent, features] -> [member, batch, agent, action]."""
        found = self.network(parameters, self.sharing.fold(self.identity(observation)))
        return self.sharing.unfold(found, (observation.shape[1],))

    def _transitions(self, drawn: Drawn) -> Lesson:
        """One transition for each sample."""
        fields = self.experience.transitions(drawn)
        after = {name: fields[f"following_{name}"] for name in SHOWN if f"following_{name}" in fields}
        with torch.no_grad():
            following = self._values(self.target_parameters[0], after["observation"])
            learning = following
            if self.options.double:
                learning = self._values(self.stack.parameters, after["observation"])
            value = self._bootstrap(following, learning, after)
            reward, alive = self._rewards(fields)
            discount = fields.get("discount", self.options.discount)
            if isinstance(discount, Tensor) and self.mixing is None:
                discount = discount.unsqueeze(-1)
            target = reward + discount * alive.to(reward.dtype) * value
        valid = fields.get("valid")
        if valid is not None and self.mixing is not None:
            valid = valid.any(-1)
        if not self.written:
            return Lesson(self._values(self.stack.parameters, fields["observation"]), fields, target, valid)
        features = self.sharing.fold(self.identity(fields["observation"]))
        *entered, found = self.network.head.forward(self.stack.parameters, features)
        values = self.sharing.unfold(found, (fields["observation"].shape[1],))
        return Lesson(values, fields, target, valid, entered)

    def _sequences(self, drawn: Drawn) -> Lesson:
        """Every step of each sampled sequence after the burn-in."""
        sequences, skip = self.experience.sequences(drawn), self.options.burn_in
        observation, fresh = sequences.fields["observation"], sequences.fresh.unsqueeze(-1)
        skips = "new_occupant" in sequences.fields
        fresh = fresh | sequences.fields["new_occupant"] if skips else fresh.expand(observation.shape[:-1])
        features, begins = (
            self._stacked(self.identity(observation)),
            self._stacked(fresh.unsqueeze(-1)).squeeze(-1),
        )
        memory = self.sharing.fold(sequences.memory)
        length, batch = observation.shape[1] - skip, observation.shape[2]

        def unrolled(parameters: Mapping[str, Tensor]) -> Tensor:
            before = memory
            if skip:
                with torch.no_grad():
                    _, warm = self.network.unroll(parameters, features[:, :skip], memory, begins[:, :skip])
                    assert warm is not None
                    before = warm
            found, _ = self.network.unroll(parameters, features[:, skip:], before, begins[:, skip:])
            return self.sharing.unfold(found.flatten(1, 2), (length, batch))

        values = unrolled(self.stack.parameters)
        fields = {name: value[:, skip:] for name, value in sequences.fields.items()}
        with torch.no_grad():
            following = unrolled(self.target_parameters[0])
            learning = values.detach() if self.options.double else following
            value = self._bootstrap(following, learning, fields)
            before = {name: value[:, :-1] for name, value in fields.items()}
            reward, alive = self._rewards(before)
            transition = ~sequences.final[:, skip:-1]
            ends = sequences.cut[:, skip:-1]
            if self.mixing is None:
                transition, ends = transition.unsqueeze(-1), ends.unsqueeze(-1)
            if skips:
                acting = fields["acting"]
                if self.mixing is None:
                    replaced = fields["new_occupant"][:, 1:]
                    # The one who left is not worth what its successor sees.
                    alive, ends = alive & ~replaced, ends | before["terminated"] | replaced
                else:
                    acting = acting.any(-1)
                target, told = decision_targets(value, reward, alive, acting, ends, self.options.discount)
                valid = told & transition
            else:
                target = step_targets(
                    value, reward, alive, transition, self.options.discount, self.options.n_step
                )
                valid = transition.expand_as(target)
        return Lesson(values[:, :-1], before, target, valid)

    def _stacked(self, values: Tensor) -> Tensor:
        """[member, time, batch, agent, features] -> [stack, time, sample, features]."""
        folded = self.sharing.fold(values)
        return folded.view(folded.shape[0], values.shape[1], -1, folded.shape[-1])

    def _rewards(self, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The reward that is learnt from and whether anything follows it: each agent's own, or the team's."""
        reward = fields["reward"]
        if self.mixing is None:
            return self._standardised(self.reward_of_agents(reward)), ~fields["terminated"]
        team = reward.mean(-1) if self.options.team_reward == "mean" else reward.sum(-1)
        return self._standardised(team), ~fields["over"]

    def reward_of_agents(self, reward: Tensor) -> Tensor:
        """What each agent learns from where nothing is mixed, [member, ..., agent]."""
        return reward

    def _standardised(self, reward: Tensor) -> Tensor:
        """[member, ...] in deviations from the mean of what the member sampled so far, as EPyMARL does [code]."""
        if self.reward_statistics is None:
            return reward
        flat = reward.flatten(1)
        self.reward_statistics.update(flat, None)
        return self.reward_statistics.normalise(flat).view_as(reward)

    def _bootstrap(self, values: Tensor, learning: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        """The value, after `values` of the target network, of the action that `learning` takes for the best."""
        available = fields.get("available_actions")
        if self.mixing is None and learning is values:
            return _masked(values, available).amax(-1)
        action = _masked(learning, available).argmax(-1)
        return self._of_choice(self.target_parameters, self._joint(values, action, fields))[0]

    def _joint(self, values: Tensor, action: Tensor, fields: Mapping[str, Tensor]) -> JointChoice:
        """What the agents chose and what they think of it, [member, *, agent]."""
        chosen = values.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        if self.mixing is None:
            return JointChoice(chosen, None, action, chosen, None)
        best, acting = None, fields.get("acting")
        if acting is not None:
            chosen = torch.where(acting, chosen, 0.0)
        if self.mixing.needs_best:
            best = _masked(values, fields.get("available_actions")).amax(-1)
        return JointChoice(
            chosen, best, action, fields["state"] if self.mixing.needs_state else chosen, acting
        )

    def _of_choice(
        self, parameters: Sequence[Mapping[str, Tensor]], joint: JointChoice
    ) -> tuple[Tensor, Any]:
        """Q of what was chosen, [member, *, agent], or the team's, [member, *]; and what the mixer needs to go back."""
        if self.mixing is None:
            return joint.chosen, None
        flat = joint.flattened()
        if isinstance(self.mixing, WrittenMixer) and not torch.is_grad_enabled():
            found, kept = self.mixing.forward(parameters[-1], flat)
        else:
            found, kept = self.mixing(parameters[-1], flat), None
        return found.view(joint.chosen.shape[:-1]), kept

    def _importance(self, drawn: Drawn) -> Tensor | None:
        """Weights of samples, with beta rising to 1."""
        if drawn.probability is None:
            return None
        start = self.options.importance_exponent
        exponent = start + (1.0 - start) * min(1.0, self.steps / self.setting.steps)
        weight = importance(drawn.probability, exponent).to(self.setting.device)
        if self.options.recurrent_units:
            weight = weight.unsqueeze(1)
        return weight.unsqueeze(-1) if self.mixing is None else weight

    def _move_targets(self) -> None:
        interval = self.options.target_interval
        if interval and self.steps - self.copied_at < interval:
            return
        self.copied_at = self.steps
        for target, stack in zip(self.targets, self.stacks, strict=True):
            target.lerp_(stack.flat, 1.0 if interval else self.options.target_rate)

    def start_from(self, parameters: Tensor) -> None:
        super().start_from(parameters)
        for target, stack in zip(self.targets, self.stacks, strict=True):
            target.copy_(stack.flat.detach())

    def learnt(self) -> dict[str, Any]:
        return {
            "parameters": [stack.flat.detach().clone() for stack in self.stacks],
            "targets": [target.clone() for target in self.targets],
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "rewards": None if self.reward_statistics is None else self.reward_statistics.state_dict(),
            "epsilon": self.actor.epsilon,
            "copied_at": self.copied_at,
        }

    def load_learnt(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for stack, saved in zip(self.stacks, state["parameters"], strict=True):
                stack.flat.copy_(saved)
            for target, saved in zip(self.targets, state["targets"], strict=True):
                target.copy_(saved)
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        if self.reward_statistics is not None:
            self.reward_statistics.load_state_dict(state["rewards"])
        self.actor.epsilon = float(state["epsilon"])
        self.copied_at = int(state["copied_at"])


def _masked(values: Tensor, available: Tensor | None) -> Tensor:
    """Unavailable actions are never the best; finite where none is available, to an agent that is gone."""
    return values if available is None else mask_logits(values, available).clamp(min=-1e9)
