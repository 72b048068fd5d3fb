"""DQN: the deep Q-learner of hundreds of agents in a social dilemma.

Weng et al., "How exploration breaks cooperation in shared-policy multi-agent reinforcement learning"
(arXiv 2601.05509), with the constants of its code as defaults [code]: the double deep Q-network (van Hasselt et al.
2016) with n-step returns and Boltzmann exploration,

    L(theta) = E[ huber(y - Q(o, a)) ],   y = r + gamma r' + ... + gamma^n Q_target(o_n, argmax_a Q(o_n, a)),
    pi(a | o) = exp((Q(o, a) - max Q) / tau) / sum of the same over actions,

where o_n is seen n steps later, or one step later where the replay or the episode holds fewer. Ties of the maximum are
broken at random. tau falls linearly while there is learning; then everybody goes on acting, without learning, at its
last value. A transition is a single agent's: each learner samples over its agents and the recent steps alike.

Where observations are a few bits, forward passes are made over the different observations and looked up; results are
those of passes over all samples up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from marlbench.algorithms.adam import Adam
from marlbench.algorithms.assignment import Assignment
from marlbench.algorithms.base import (
    Algorithm,
    Memory,
    Setting,
    discrete_actions,
    generators,
    sharing_for,
)
from marlbench.algorithms.boltzmann import BoltzmannPolicy
from marlbench.algorithms.distributions import inverse_cumulative, mask_logits
from marlbench.algorithms.dqn_hyperparameters import DQNHyperparameters
from marlbench.algorithms.recent_steps import RecentSteps, discounts, whole_or_single
from marlbench.algorithms.sharing import Sharing
from marlbench.algorithms.stack import MultilayerPerceptron, ParameterStack
from marlbench.environments.contract import EnvironmentSpecification, Step
from marlbench.errors import ConfigurationError

# What `augmentation` appends.
TOLD = 2


class DQN(Algorithm):
    """Double deep Q-learning of agents who explore by the Boltzmann distribution."""

    revision = 1
    Hyperparameters = DQNHyperparameters

    def __init__(self, setting: Setting, hyperparameters: DQNHyperparameters) -> None:
        self.setting, self.options = setting, hyperparameters
        specification, device = setting.specification, setting.device
        self.actions = discrete_actions("dqn", specification)
        if specification.skips_steps:
            raise ConfigurationError(
                "dqn needs agents that act at every step, and in this task they skip steps.",
                hint="Use iql, whose transitions run from a decision of an agent to its next.",
            )
        self.rollout_length = max(1, hyperparameters.update_interval // setting.rows)
        sharing = sharing_for(hyperparameters.sharing, setting)
        self.assignment = Assignment(sharing, setting.seeds, hyperparameters.shuffled_groups, device)
        told = TOLD if hyperparameters.augmentation else 0
        self.network = MultilayerPerceptron(
            "values", specification.observation_size + told, hyperparameters.hidden, self.actions, "relu"
        )
        self.stack = ParameterStack(self.network.layout, setting.members * sharing.groups, device)
        self._initialise(sharing.groups)
        self.target = self.stack.flat.detach().clone()
        self.target_parameters = self.stack.view(self.target)
        self.optimiser = Adam(self.stack, hyperparameters.learning_rate)
        self.policy = self.actor = BoltzmannPolicy(
            setting, self.stack, self.assignment, self.network, hyperparameters.temperature_end, told
        )
        self.generators = generators(setting.seeds, stream=2)
        self.horizon = hyperparameters.learning_fraction * setting.steps
        self.episodes = not specification.continuing
        self.powers = discounts(hyperparameters.discount, hyperparameters.n_step, device)
        self.replay = self._replay()
        self._target_table: Tensor | None = None
        self.steps = self.copied_at = 0
        self.updates_due = 0.0
        self._tell(self.horizon)

    def _initialise(self, learners: int) -> None:
        """Weights and biases uniform in +-1 / sqrt(inputs), torch's own beginning of a linear layer [code]."""
        for member, generator in enumerate(generators(self.setting.seeds, stream=0)):
            for learner in range(learners):
                for layer, inputs in enumerate(self.network.sizes[:-1]):
                    bound = 1.0 / math.sqrt(inputs)
                    for part in ("weight", "bias"):
                        values = self.stack.parameters[f"values.{layer}.{part}"][member * learners + learner]
                        drawn = torch.rand(values.shape, generator=generator)
                        with torch.no_grad():
                            values.copy_((2.0 * drawn - 1.0) * bound)

    def _fields(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        specification, bits = self.setting.specification, self.actor.bits
        if bits is not None:
            shown: tuple[tuple[int, ...], torch.dtype] = ((), bits.dtype)
        else:
            shown = ((specification.observation_size,), torch.float32)
        fields = {"observation": shown, "following": shown, "reward": ((), torch.float32)}
        fields["action"] = ((), torch.uint8 if self.actions <= 256 else torch.int32)
        if self.episodes:
            fields["terminated"] = fields["cut"] = ((), torch.bool)
        if specification.masks_actions:
            fields["available"] = ((self.actions,), torch.bool)
        if self.options.augmentation:
            fields["told"] = fields["following_told"] = ((TOLD,), torch.float32)
        return fields

    @staticmethod
    def _capacity(options: DQNHyperparameters, rows: int, agents: int) -> int:
        return max(options.n_step, options.replay_transitions // (rows * agents))

    def _replay(self) -> RecentSteps:
        setting = self.setting
        capacity = self._capacity(self.options, setting.rows, setting.agents)
        lead = (setting.members, setting.rows, setting.agents, capacity)
        return RecentSteps(*lead, self._fields(), setting.device)

    @classmethod
    def estimate_memory(
        cls,
        specification: EnvironmentSpecification,
        hyperparameters: DQNHyperparameters,
        rows: int,
        seeds: int,
    ) -> Memory:
        options, agents, features = hyperparameters, len(specification.agents), specification.observation_size
        actions = discrete_actions("dqn", specification)
        groups = Sharing(options.sharing, agents, torch.device("cpu")).groups
        width = 2 * 4 * features + 16 + 4 * actions + (16 if options.augmentation else 0)
        kept = cls._capacity(options, rows, agents) * rows * agents * width
        sizes = (features + TOLD, *options.hidden, actions)
        parameters = sum((a + 1) * b for a, b in pairwise(sizes))
        sampled = options.batch * (3 * sum(sizes) + 8 * options.n_step + features) * 2
        acting = 4 * rows * agents * sum(sizes)
        # Parameters, their gradient, the target and two moments.
        return Memory(
            resident=seeds * (2 * kept + 4 * groups * (5 * parameters + 2 * sampled) + acting), disk=0
        )

    @classmethod
    def obstacle_to_extension(cls, hyperparameters: DQNHyperparameters) -> str:
        if hyperparameters.learning_fraction < 1:
            return "learning ended before the end, by learning_fraction"
        return ""

    def _progress(self, steps: float) -> float:
        return min(1.0, steps / self.horizon)

    def _told(self, steps: float) -> Tensor:
        """How far learning has come, steps / horizon, after how warm exploration is,
        (tau - tau_end) / (tau_start - tau_end): both between 0 and 1 [code]."""
        progress = self._progress(steps)
        return torch.tensor([1.0 - progress, progress], device=self.setting.device)

    def _tell(self, steps: float) -> None:
        options, actor = self.options, self.actor
        start, end = options.temperature_start, options.temperature_end
        actor.warm(start + (end - start) * self._progress(steps))
        if actor.telling is not None:
            actor.telling = self._told(steps)
            actor.forget()

    def begin(self, steps: int) -> None:
        self.steps = steps
        self._tell(steps)

    @property
    def learning(self) -> bool:
        return self.steps <= self.horizon

    def observe(self, step: Step, memory: Tensor | None, action: Tensor, following: Step) -> None:
        self.steps += self.setting.rows
        if not self.learning:
            return
        values = {
            "observation": self.actor.numbers(step.observation),
            "following": self.actor.numbers(following.final_observation),
        }
        if not following.any_ended:
            self.actor.expect(following.observation, values["following"])
        coded = values["observation"] is not None and values["following"] is not None
        if not coded or self.replay.values["observation"].dim() == 5:
            self._keep_features()
            values = {"observation": step.observation, "following": following.final_observation}
        kept = {name: value for name, value in values.items() if value is not None}
        kept |= {"action": action, "reward": following.reward}
        if self.episodes:
            kept["terminated"] = following.terminated
            kept["cut"] = following.terminated | following.truncated
        if self.setting.specification.masks_actions:
            kept["available"] = following.final_available_actions
        if self.options.augmentation:
            shape = (*action.shape, TOLD)
            kept["told"] = self.actor.with_telling(step.observation)[..., -TOLD:]
            kept["following_told"] = self._told(self.steps).expand(shape)
        self.replay.add(kept)
        self.updates_due += self.setting.rows / self.options.update_interval

    def _keep_features(self) -> None:
        """An observation was not of bits: from now on observations are kept as they are."""
        bits = self.actor.bits
        for name in ("observation", "following"):
            kept = self.replay.values[name]
            if kept.dim() == 4:
                assert bits is not None
                self.replay.replace(name, bits.decode(kept.long()))

    def learn(self) -> dict[str, Tensor]:
        updates = int(self.updates_due)
        self.updates_due -= updates
        measures: dict[str, Tensor] = {}
        for _ in range(updates):
            for name, value in self._update().items():
                measures[name] = measures[name] + value if name in measures else value
        if updates:
            members = self.setting.members
            measures = {name: value.view(members, -1).mean(1) / updates for name, value in measures.items()}
            measures["temperature"] = torch.full_like(measures["loss"], self.actor.temperature)
        return measures

    def _update(self) -> dict[str, Tensor]:
        """One update of every learner; measures, name -> [stack]."""
        options, lesson = self.options, self._draw()
        if self._looks_up(lesson):
            value, loss = self._learn_table(lesson)
        else:
            value, loss = self._learn_samples(lesson)
        norm = self.stack.clip_gradient(options.maximum_gradient_norm)
        with torch.no_grad():
            # Decay apart from the gradient: Loshchilov and Hutter 2019 (arXiv 1711.05101).
            self.stack.flat.mul_(1.0 - options.learning_rate * options.weight_decay)
        self.optimiser.step()
        self.actor.forget()
        if self.steps - self.copied_at >= options.target_interval:
            self.copied_at = self.steps
            self.target.copy_(self.stack.flat.detach())
            self._target_table = None
        return {"loss": loss.mean(1), "value_mean": value.mean(1), "gradient_norm": norm}

    def _draw(self) -> dict[str, Tensor]:
        """Transitions of each learner's agents, [stack, batch]; `tie` is a uniform."""
        replay, options, assignment = self.replay, self.options, self.assignment
        shape = (2, assignment.sharing.groups, options.batch)
        drawn = torch.cat([torch.rand(shape, generator=g, dtype=torch.float64) for g in self.generators], 1)
        which, tie = drawn.to(self.setting.device).unbind()
        steps, width = options.n_step, replay.rows * replay.agents
        if assignment.sharing.groups == 1:
            start = (which * (replay.count * width)).to(torch.int64)
        else:
            number = (which * (assignment.size * (replay.rows * replay.count))).to(torch.int64)
            step = torch.div(number, assignment.size, rounding_mode="floor")
            start = step * replay.agents + assignment.agent(number - step * assignment.size)
        index = replay.sequences(assignment.member, start, steps)
        cut = replay.take("cut", index[..., :-1]) if self.episodes else None
        whole = start < (replay.count - steps + 1) * width
        returns = whole_or_single(replay.take("reward", index), cut, whole, self.powers)
        first = index[..., 0]
        last = torch.where(returns.whole, index[..., -1], first)
        lesson = {"reward": returns.reward, "discount": returns.discount, "tie": tie}
        for name in ("observation", "action", "told"):
            if name in replay.values:
                lesson[name] = replay.take(name, first)
        for name in ("following", "terminated", "available", "following_told"):
            if name in replay.values:
                lesson[name] = replay.take(name, last)
        return lesson

    def _looks_up(self, lesson: Mapping[str, Tensor]) -> bool:
        """Whether values are computed once for each observation: where there are fewer than samples."""
        bits = self.actor.bits
        coded = bits is not None and lesson["observation"].dim() == 2 and "told" not in lesson
        return coded and bits is not None and bits.count <= self.options.batch

    def _learn_table(self, lesson: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Set the gradient; returns Q of what was done and the loss of each sample, [stack, batch].

        The derivative of Huber's function, at most its threshold, is added up over the samples of each observation and
        action, and goes through the network from there.
        """
        bits, options = self.actor.bits, self.options
        assert bits is not None
        with torch.no_grad():
            inputs = bits.vectors.expand(self.stack.size, -1, -1)
            layers = self.network.forward(self.stack.parameters, inputs)
            table = layers[-1]
            if self._target_table is None:
                self._target_table = self.network(self.target_parameters, inputs)
            best = table.amax(-1, keepdim=True)
            candidates = table >= best
            seen, after = lesson["observation"].to(torch.int64), lesson["following"].to(torch.int64)
            if "available" in lesson or int(candidates.sum()) > table.shape[0] * table.shape[1]:
                index = after.unsqueeze(-1).expand(-1, -1, self.actions)
                online, behind = table.gather(1, index), self._target_table.gather(1, index)
                following = self._bootstrap(online, behind, lesson)
            else:
                hoped = self._target_table.gather(2, table.argmax(-1, keepdim=True)).squeeze(-1)
                following = hoped.gather(1, after)
            done = torch.add(lesson["action"], seen, alpha=self.actions)
            value, target = table.flatten(1).gather(1, done), self._target(lesson, following)
            error = (value - target).clamp_(-options.huber_threshold, options.huber_threshold)
            slope = torch.zeros_like(table.flatten(1)).scatter_add_(1, done, error.div_(options.batch))
            self.network.backward(self.stack.parameters, layers, slope.view_as(table), self.stack.gradients)
            return value, self._huber(value, target)

    def _learn_samples(self, lesson: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The same by forward passes over all samples and automatic differentiation."""
        parameters, action = self.stack.parameters, lesson["action"].to(torch.int64).unsqueeze(-1)
        after = self._features(lesson, "following")
        with torch.no_grad():
            online, behind = self.network(parameters, after), self.network(self.target_parameters, after)
            target = self._target(lesson, self._bootstrap(online, behind, lesson))
        value = self.network(parameters, self._features(lesson, "")).gather(2, action).squeeze(-1)
        loss = self._huber(value, target)
        self.stack.backward(loss.mean(1))
        return value.detach(), loss.detach()

    def _bootstrap(self, online: Tensor, behind: Tensor, lesson: Mapping[str, Tensor]) -> Tensor:
        """Q_target of the action that Q takes for the best: [stack, batch, action] -> [stack, batch]."""
        best = best_action(online, lesson.get("available"), lesson["tie"])
        return behind.gather(2, best.unsqueeze(-1)).squeeze(-1)

    def _target(self, lesson: Mapping[str, Tensor], following: Tensor) -> Tensor:
        """y, [stack, batch]."""
        if "terminated" in lesson:
            following = following.masked_fill(lesson["terminated"], 0.0)
        return torch.addcmul(lesson["reward"], lesson["discount"], following)

    def _huber(self, value: Tensor, target: Tensor) -> Tensor:
        delta = self.options.huber_threshold
        return torch.nn.functional.huber_loss(value, target, reduction="none", delta=delta)

    def _features(self, lesson: Mapping[str, Tensor], which: str) -> Tensor:
        """[stack, batch, features] of observations, with what was told beside them."""
        found = lesson[which or "observation"]
        if found.dim() == 2:
            assert self.actor.bits is not None
            found = self.actor.bits.decode(found.to(torch.int64))
        told = lesson.get(f"{which}_told" if which else "told")
        return found if told is None else torch.cat([found, told], -1)

    def rows_restarted(self) -> int:
        if self.episodes:
            self.replay.cut_newest("cut")
        return 0

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameters": self.stack.flat.detach().clone(),
            "target": self.target.clone(),
            "optimiser": self.optimiser.state_dict(),
            "replay": self.replay.state_dict(),
            "generators": [g.get_state() for g in self.generators],
            "steps": self.steps,
            "copied_at": self.copied_at,
            "updates_due": self.updates_due,
            "temperature": self.actor.temperature,
            "telling": self.actor.telling,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self.stack.flat.copy_(state["parameters"])
            self.target.copy_(state["target"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.replay.load_state_dict(state["replay"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved.cpu())
        self.steps, self.copied_at = int(state["steps"]), int(state["copied_at"])
        self.updates_due = float(state["updates_due"])
        self.actor.warm(float(state["temperature"]))
        if state["telling"] is not None:
            self.actor.telling = state["telling"].to(self.setting.device, copy=True)
        self.actor.forget()
        self._target_table = None


def best_action(values: Tensor, available: Tensor | None, uniform: Tensor) -> Tensor:
    """The action of the largest value, one of them at random where there are several: [..., action] -> int64 [...]."""
    allowed = mask_logits(values, available)
    return inverse_cumulative((allowed >= allowed.amax(-1, keepdim=True)).to(uniform.dtype), uniform)
