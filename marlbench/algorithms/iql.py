"""IQL: every agent learns action values of its own observations, as if the others were part of the environment.

Tan 1993, "Multi-agent reinforcement learning: independent vs. cooperative agents", with the deep Q-network of Mnih et
al. 2015 (replay, target network; eq. 2):

    L(theta) = E[ (y - Q(o, a))^2 ],   y = r + gamma max_a' Q_target(o', a')   (y = r where the episode terminated).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms.actors import EpsilonGreedyActor
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
from marlbench.algorithms.off_policy import TransitionReplay, slack_for, transition_fields
from marlbench.algorithms.sharing import SharingOption
from marlbench.algorithms.stack import Activation, ParameterStack
from marlbench.environments.contract import EnvironmentSpecification, Step
from marlbench.training.replay import Replay


class IQLHyperparameters(Hyperparameters):
    """Settings of IQL; everything that is scheduled is scheduled in environment steps of one seed."""

    sharing: SharingOption = Field("shared", description="which agents share parameters")
    hidden: tuple[int, ...] = Field((64, 64), description="units of the hidden layers")
    activation: Activation = Field("relu", description="after every hidden layer")
    learning_rate: float = Field(5e-4, gt=0, description="of Adam")
    discount: float = Field(0.99, ge=0, le=1, description="gamma")
    batch: int = Field(128, ge=1, description="environment rows sampled for an update, all their agents")
    replay_steps: int = Field(100_000, ge=1, description="environment steps kept")
    learning_starts: int = Field(1_000, ge=0, description="environment steps before the first update")
    update_interval: int = Field(32, ge=1, description="environment steps between updates")
    target_rate: float = Field(
        0.01, gt=0, le=1, description="share of the target network replaced at an update"
    )
    exploration_start: float = Field(1.0, ge=0, le=1, description="epsilon at the first step")
    exploration_end: float = Field(0.05, ge=0, le=1, description="epsilon after its schedule")
    exploration_fraction: float = Field(
        0.5, gt=0, le=1, description="share of all steps over which epsilon falls"
    )
    maximum_gradient_norm: float = Field(10.0, gt=0, description="of one learner")


class IQL(Algorithm):
    """Independent Q-learning on the parameter stack."""

    revision = 1
    Hyperparameters = IQLHyperparameters

    def __init__(self, setting: Setting, hyperparameters: IQLHyperparameters) -> None:
        specification = setting.specification
        actions = discrete_actions("iql", specification)
        self.setting, self.options = setting, hyperparameters
        # Updates fall due every `update_interval` environment steps; a joint step is `rows` of them.
        self.rollout_length = max(1, hyperparameters.update_interval // setting.rows)
        network = AgentNetwork(
            "values",
            specification.observation_size,
            hyperparameters.hidden,
            actions,
            hyperparameters.activation,
        )
        self.network = network
        self.sharing = sharing_for(hyperparameters.sharing, setting)
        self.stack = ParameterStack(network.layout, setting.members * self.sharing.groups, setting.device)
        initialised(self.stack, (network,), setting.seeds, self.sharing.groups)
        self.target = self.stack.flat.detach().clone()
        self.target_parameters = self.stack.view(self.target)
        self.policy = self.actor = EpsilonGreedyActor(setting, self.stack, self.sharing, network)
        self.optimiser = Adam(self.stack, hyperparameters.learning_rate)
        self.generators = generators(setting.seeds, stream=2)
        self.transitions = TransitionReplay(setting, self._capacity(hyperparameters, setting.rows))
        self.steps = 0
        self.updates_due = 0.0

    @staticmethod
    def _capacity(hyperparameters: IQLHyperparameters, rows: int) -> int:
        """Joint steps that the replay keeps."""
        return max(1, hyperparameters.replay_steps // rows)

    @classmethod
    def estimate_memory(
        cls,
        specification: EnvironmentSpecification,
        hyperparameters: IQLHyperparameters,
        rows: int,
        seeds: int,
    ) -> Memory:
        capacity = cls._capacity(hyperparameters, rows)
        disk = Replay.size(transition_fields(specification), seeds, rows, capacity, slack_for(capacity))
        samples = hyperparameters.batch * len(specification.agents) * seeds
        width = 2 * specification.observation_size + 6 * sum(hyperparameters.hidden)
        return Memory(resident=4 * samples * width, disk=disk)

    def begin(self, steps: int) -> None:
        options = self.options
        self.steps = steps
        share = min(1.0, steps / (options.exploration_fraction * self.setting.steps))
        self.actor.epsilon = options.exploration_start + share * (
            options.exploration_end - options.exploration_start
        )

    def observe(self, step: Step, memory: Tensor | None, action: Tensor, following: Step) -> None:
        self.transitions.add(step, action, following)
        self.steps += self.setting.rows
        if self.steps > self.options.learning_starts:
            self.updates_due += self.setting.rows / self.options.update_interval

    def learn(self) -> dict[str, Tensor]:
        totals: dict[str, Tensor] = {}
        updates = int(self.updates_due)
        for _ in range(updates):
            for name, value in self._update().items():
                totals[name] = totals[name] + value if name in totals else value
        self.updates_due -= updates
        per_member = (self.setting.members, self.sharing.groups)
        return {name: (total / updates).view(per_member).mean(1) for name, total in totals.items()}

    def _update(self) -> dict[str, Tensor]:
        """One step of Adam for every learner; returns its measures, name -> [stack]."""
        device, fold = self.setting.device, self.sharing.fold
        batch = self.transitions.replay.sample(self.generators, self.options.batch)
        sampled = {name: value.to(device) for name, value in batch.items()}
        reward = fold(sampled["reward"].unsqueeze(-1)).squeeze(-1)
        alive = fold((~sampled["terminated"]).to(reward.dtype).unsqueeze(-1)).squeeze(-1)
        action = fold(sampled["action"].unsqueeze(-1))
        with torch.no_grad():
            following = self.network(self.target_parameters, fold(sampled["following_observation"]))
            if "following_available" in sampled:
                # No action is available to an agent that is gone; the maximum is then unused but must be finite.
                following = mask_logits(following, fold(sampled["following_available"])).clamp(min=-1e9)
            target = reward + self.options.discount * alive * following.amax(-1)
        values = self.network(self.stack.parameters, fold(sampled["observation"]))
        chosen = values.gather(-1, action).squeeze(-1)
        error = (target - chosen).square()
        weight = self.sharing.sample_weight(self.setting.members, error.shape[1])
        if "valid" in sampled:
            valid = fold(sampled["valid"].unsqueeze(-1)).squeeze(-1).to(error.dtype)
            weight = valid if weight is None else weight * valid
        weight = torch.ones_like(error) if weight is None else weight
        loss = (error * weight).sum(1) / weight.sum(1).clamp(min=1.0)
        self.stack.backward(loss)
        norm = self.stack.clip_gradient(self.options.maximum_gradient_norm)
        self.optimiser.step()
        with torch.no_grad():
            self.target.lerp_(self.stack.flat, self.options.target_rate)
            return {"loss": loss.detach(), "value_mean": chosen.detach().mean(1), "gradient_norm": norm}

    def rows_restarted(self) -> int:
        self.transitions.forget_open()
        return 0

    @property
    def must_checkpoint(self) -> bool:
        return self.transitions.replay.must_checkpoint

    def checkpoint_begins(self) -> None:
        self.transitions.replay.flush()

    def checkpoint_done(self) -> None:
        self.transitions.replay.checkpoint_done()

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameters": self.stack.flat.detach().clone(),
            "target": self.target.clone(),
            "optimiser": self.optimiser.state_dict(),
            "generators": [g.get_state() for g in self.generators],
            "transitions": self.transitions.state_dict(),
            "steps": self.steps,
            "epsilon": self.actor.epsilon,
            "updates_due": self.updates_due,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self.stack.flat.copy_(state["parameters"])
            self.target.copy_(state["target"])
        self.optimiser.load_state_dict(state["optimiser"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved.cpu())
        self.transitions.load_state_dict(state["transitions"])
        self.steps = int(state["steps"])
        self.actor.epsilon = float(state["epsilon"])
        self.updates_due = float(state["updates_due"])
