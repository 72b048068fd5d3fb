"""What MADDPG and MASAC share: actors on own observations, joint critics, target networks, replay and schedule."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms.adam import Adam
from marlbench.algorithms.agent_identity import AgentIdentity
from marlbench.algorithms.base import Hyperparameters, Memory, Setting, initialised, sharing_for
from marlbench.algorithms.experience import Experience, Keep, ReplayPrecision
from marlbench.algorithms.joint_batch import Batch, JointBatches, TeamReward
from marlbench.algorithms.joint_critic import CriticInput, JointCritic, joint_size
from marlbench.algorithms.networks import AgentNetwork
from marlbench.algorithms.off_policy import OffPolicy
from marlbench.algorithms.sharing import SharingOption
from marlbench.algorithms.stack import Activation, Layout, ParameterStack
from marlbench.environments.contract import Discrete, EnvironmentSpecification


class OffPolicyActorCriticHyperparameters(Hyperparameters):
    """Settings of both methods; everything that is scheduled is scheduled in environment steps of one seed."""

    sharing: SharingOption = Field(
        "shared", description="which agents share parameters, actors and critics alike"
    )
    agent_identity: bool = Field(
        False, description="append a one-hot of the agent to its observation where agents share parameters"
    )
    critic_input: CriticInput = Field("state", description="what the critics see beside all actions")
    team_reward: TeamReward = Field(
        None, description="of the agents' rewards, paid to every agent; by default each has its own"
    )
    hidden: tuple[int, ...] = Field(
        (128, 128), description="units of the hidden layers, actor and critics alike"
    )
    activation: Activation = Field("relu", description="after every hidden layer")
    recurrent_units: int = Field(0, ge=0, description="of a GRU in actor and critics; 0 for none")
    sequence_length: int = Field(32, ge=1, description="joint steps of a replayed sequence (recurrent)")
    burn_in: int = Field(
        0, ge=0, description="joint steps before them that warm up the critics' memory (recurrent)"
    )
    actor_learning_rate: float = Field(5e-4, gt=0, description="of Adam, for actors")
    critic_learning_rate: float = Field(1e-3, gt=0, description="of Adam, for critics")
    discount: float = Field(0.99, ge=0, le=1, description="gamma")
    batch: int = Field(
        128, ge=1, description="environment rows (recurrent: sequences) of an update, with all their agents"
    )
    replay_steps: int = Field(100_000, ge=1, description="environment steps kept")
    replay_dtype: ReplayPrecision = Field(
        "float32",
        description="observations and states in the replay: exact, float16, or int8 with a scale for each vector",
    )
    learning_starts: int = Field(1_000, ge=0, description="environment steps before the first update")
    update_interval: int = Field(32, ge=1, description="environment steps between updates")
    target_rate: float = Field(
        0.01, gt=0, le=1, description="share of the target networks replaced at an update"
    )
    maximum_gradient_norm: float = Field(
        10.0, gt=0, description="of one learner's actor, and of its critics together"
    )


def what_is_kept(hyperparameters: OffPolicyActorCriticHyperparameters) -> Keep:
    """What the replay has to hold."""
    sequence = None
    if hyperparameters.recurrent_units:
        # The last element is only bootstrapped from.
        sequence = hyperparameters.burn_in + hyperparameters.sequence_length + 1
    return Keep(
        state=hyperparameters.critic_input == "state",
        joint=True,
        precision=hyperparameters.replay_dtype,
        sequence=sequence,
        memory_size=hyperparameters.recurrent_units,
    )


class OffPolicyActorCritic(OffPolicy):
    """Subclasses set `policy` and learn in `learn_from`.

    Args:
        actor_outputs: of the actor's network.
        critic_outputs: values of one agent's critic: 1, or one for each own action.
        critics: how many critics each learner has.

    Attributes:
        stacks: name -> parameters of what is learnt: `actor`, `critic`, and what a method adds.
        targets: name -> copy of a stack's buffer that follows it slowly.
        updates: so far.
    """

    options: Any

    def __init__(
        self,
        setting: Setting,
        hyperparameters: OffPolicyActorCriticHyperparameters,
        actor_outputs: int,
        critic_outputs: int,
        critics: int,
    ) -> None:
        specification = setting.specification
        capacity = self.capacity(hyperparameters.replay_steps, setting.rows)
        super().__init__(
            setting,
            Experience(setting, capacity, what_is_kept(hyperparameters)),
            hyperparameters.learning_starts,
            hyperparameters.update_interval,
        )
        self.options = hyperparameters
        self.batches = JointBatches(
            specification,
            self.experience,
            hyperparameters.critic_input,
            hyperparameters.team_reward,
            hyperparameters.discount,
            hyperparameters.burn_in,
        )
        self.discrete = isinstance(specification.action, Discrete)
        self.width = action_width(specification)
        self.sharing = sharing_for(hyperparameters.sharing, setting)
        self.learners = setting.members * self.sharing.groups
        agents = range(setting.agents)
        self.learner_of_agent = torch.tensor(
            [self.sharing.group_of(a) for a in agents], device=setting.device
        )
        self.identity = AgentIdentity(hyperparameters.agent_identity, self.sharing, setting.device)
        # A small gain makes the first policy nearly uniform, or nearly the middle of the box.
        self.network = AgentNetwork(
            "actor",
            specification.observation_size + self.identity.size,
            hyperparameters.hidden,
            actor_outputs,
            hyperparameters.activation,
            0.01,
            recurrent_units=hyperparameters.recurrent_units,
            image=specification.image,
        )
        self.critics = [
            JointCritic(
                f"critic{number}",
                setting,
                self.sharing,
                hyperparameters.critic_input,
                self.width,
                critic_outputs,
                hyperparameters.hidden,
                hyperparameters.activation,
                hyperparameters.recurrent_units,
            )
            for number in range(critics)
        ]
        self.stacks: dict[str, ParameterStack] = {}
        self.optimisers: dict[str, Adam] = {}
        self.targets: dict[str, Tensor] = {}
        self.add_stack("actor", self.network.layout, hyperparameters.actor_learning_rate)
        layout = {name: shape for critic in self.critics for name, shape in critic.layout.items()}
        self.add_stack("critic", layout, hyperparameters.critic_learning_rate)
        initialised(self.stacks["actor"], (self.network,), setting.seeds, self.sharing.groups)
        initialised(self.stacks["critic"], self.critics, setting.seeds, self.sharing.groups, stream=3)
        self.updates = 0

    def add_stack(self, name: str, layout: Layout, learning_rate: float) -> None:
        """Zeros for parameters of every learner, and an optimiser."""
        self.stacks[name] = ParameterStack(layout, self.learners, self.setting.device)
        self.optimisers[name] = Adam(self.stacks[name], learning_rate)

    def add_target(self, name: str) -> None:
        """A target copy of a stack, equal to it so far."""
        self.targets[name] = self.stacks[name].flat.detach().clone()

    def parameters_of(self, name: str, target: bool = False) -> dict[str, Tensor]:
        """A stack's parameters without gradient, or its target's."""
        stack = self.stacks[name]
        return stack.view(self.targets[name] if target else stack.flat.detach())

    @classmethod
    def estimate_memory(
        cls,
        specification: EnvironmentSpecification,
        hyperparameters: OffPolicyActorCriticHyperparameters,
        rows: int,
        seeds: int,
    ) -> Memory:
        capacity = cls.capacity(hyperparameters.replay_steps, rows)
        keep = what_is_kept(hyperparameters)
        agents = len(specification.agents)
        joint = joint_size(specification, hyperparameters.critic_input) + agents * action_width(specification)
        # Batch, joint inputs of every agent's critic, activations forwards and backwards; two critics and an actor.
        width = 3 * specification.observation_size + 6 * joint + 12 * sum(hyperparameters.hidden)
        width += 60 * hyperparameters.recurrent_units
        samples = hyperparameters.batch * agents * seeds * (keep.sequence or 1)
        return Memory(resident=4 * samples * width, disk=keep.disk(specification, seeds, rows, capacity))

    def update(self) -> dict[str, Tensor]:
        measures = self.learn_from(self.batches.sample(self.generators, self.options.batch))
        self.updates += 1
        return measures

    @abstractmethod
    def learn_from(self, batch: Batch) -> dict[str, Tensor]:
        """One update; returns measures, name -> [stack]."""

    def actor_outputs(self, parameters: Mapping[str, Tensor], batch: Batch, following: bool) -> Tensor:
        """What the actors say at the beginnings of transitions, or at their ends: [member, *batch, agent, outputs]."""
        fold, unfold, unrolled = self.sharing.fold, self.sharing.unfold, batch.unrolled
        if unrolled is None:
            observation = (batch.following if following else batch.now).observation
            found = self.network(parameters, fold(self.identity(observation)))
            return unfold(found, tuple(observation.shape[1:-2]))
        observation = self.identity(unrolled.observation)
        length, rows = observation.shape[1:3]
        folded = fold(observation).view(self.learners, length, -1, observation.shape[-1])
        fresh = fold(unrolled.fresh_agent.unsqueeze(-1)).view(self.learners, length, -1)
        outputs, _ = self.network.unroll(parameters, folded, fold(unrolled.memory), fresh)
        found = unfold(outputs.flatten(1, 2), (length, rows))
        return found[:, 1:] if following else found[:, :-1]

    def values(
        self, parameters: Mapping[str, Tensor], batch: Batch, actions: Tensor, following: bool
    ) -> Tensor:
        """Every critic's values at the beginnings of transitions, or at their ends, of joint actions.

        Args:
            actions: the joint action that each agent's value is asked of: [member, *batch, agent, agents x width].

        Returns:
            [critic, member, *batch, agent, outputs].
        """
        unrolled, found = batch.unrolled, []
        for critic in self.critics:
            if unrolled is None:
                encoded = critic.encode(parameters, (batch.following if following else batch.now).joint)
            else:
                encoded = critic.encode(parameters, unrolled.joint, unrolled.fresh)
                encoded = encoded[:, 1:] if following else encoded[:, :-1]
            found.append(critic(parameters, encoded, actions))
        return torch.stack(found)

    def mean(self, values: Tensor, weight: Tensor | None) -> Tensor:
        """Weighted mean over the samples of each learner: [member, *batch, agent] -> [stack]."""
        folded = self.sharing.fold(values.unsqueeze(-1)).squeeze(-1)
        weights = self.sharing.sample_weight(self.setting.members, folded.shape[1])
        if weight is not None:
            asked = self.sharing.fold(weight.unsqueeze(-1)).squeeze(-1)
            weights = asked if weights is None else weights * asked
        if weights is None:
            return folded.mean(1)
        return (folded * weights).sum(1) / weights.sum(1).clamp(min=1.0)

    def per_agent(self, values: Tensor, like: Tensor) -> Tensor:
        """A number of each learner, [stack], for its agents: [member, 1, ..., agent] beside [member, *batch, ...]."""
        of_agent = values.view(self.setting.members, -1).index_select(1, self.learner_of_agent)
        return of_agent.view(of_agent.shape[0], *(1,) * (like.dim() - 2), self.setting.agents)

    def drawn(self, shape: tuple[int, ...]) -> Tensor:
        """Uniforms of every member's own stream: [member, *shape]."""
        uniforms = torch.stack([torch.rand(shape, generator=g) for g in self.generators])
        if self.setting.device.type == "cuda":
            # From pinned memory nobody waits for the copy.
            return uniforms.pin_memory().to(self.setting.device, non_blocking=True)
        return uniforms

    def descend(self, name: str, loss: Tensor) -> Tensor:
        """One step of Adam on a stack, down the gradient of a loss [stack]; returns the gradients' norms."""
        stack = self.stacks[name]
        stack.backward(loss)
        norm = stack.clip_gradient(self.options.maximum_gradient_norm)
        self.optimisers[name].step()
        return norm

    @torch.no_grad()
    def follow(self) -> None:
        """Move the targets towards what they follow."""
        for name, target in self.targets.items():
            target.lerp_(self.stacks[name].flat, self.options.target_rate)

    def start_from(self, parameters: Tensor) -> None:
        super().start_from(parameters)
        for name, target in self.targets.items():
            target.copy_(self.stacks[name].flat.detach())

    def learnt(self) -> dict[str, Any]:
        return {
            "parameters": {name: stack.flat.detach().clone() for name, stack in self.stacks.items()},
            "targets": {name: target.clone() for name, target in self.targets.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "updates": self.updates,
        }

    def load_learnt(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, stack in self.stacks.items():
                stack.flat.copy_(state["parameters"][name])
        for name, target in self.targets.items():
            target.copy_(state["targets"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.updates = int(state["updates"])


def action_width(specification: EnvironmentSpecification) -> int:
    """Numbers of one agent's action as critics see it."""
    action = specification.action
    return action.count if isinstance(action, Discrete) else action.size
