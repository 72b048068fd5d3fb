"""What every method is to the training loop: a policy that acts, and an algorithm that learns from what happened.

The loop owns the environment and asks, for one rollout after another:

    algorithm.begin(steps)                         # schedules: exploration, learning rate
    for each joint step:
        action, memory = algorithm.policy.act(step, memory, noise, "behaviour")
        following = environment.step(action)
        algorithm.observe(step, memory, action, following)
    measures = algorithm.learn()

Everything random comes from one generator per member, seeded by the member's seed alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Generator, Tensor

from marlbench.algorithms.sharing import Sharing, SharingOption
from marlbench.algorithms.stack import ParameterStack, named
from marlbench.environments.contract import Discrete, EnvironmentSpecification, Step
from marlbench.errors import ConfigurationError

Mode = Literal["greedy", "sampled", "behaviour"]


class Hyperparameters(BaseModel):
    """Base of every method's `Hyperparameters`: typed fields with defaults; unknown keys are refused.

    A field added to a released method names the value that reproduces the method before it:
    `Field(default, json_schema_extra={"legacy": value})`. While it has that value it is left out of the identity.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class TunedSettings:
    """Hyperparameters that somebody tuned, to be chosen by name in a suite: `settings: <name>`.

    Attributes:
        source: paper or code they come from and the tasks they were tuned on, with the label of its certainty.
        hyperparameters: name -> value as a suite file would give it; others keep their defaults.
    """

    source: str
    hyperparameters: Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """What an algorithm is built for.

    Attributes:
        specification: of the task.
        seeds: one per member; members train together in one stack.
        rows: environment rows of each member.
        steps: environment steps over which schedules run: those each member trains for, or, where a finished
            training goes on, those of the training that it began with.
        device: where tensors live.
        directory: a place for replay files; None where nothing may be written.
    """

    specification: EnvironmentSpecification
    seeds: tuple[int, ...]
    rows: int
    steps: int
    device: torch.device
    directory: Path | None = None

    @property
    def members(self) -> int:
        return len(self.seeds)

    @property
    def agents(self) -> int:
        return len(self.specification.agents)


@dataclass(frozen=True)
class Memory:
    """Bytes that one job of a method needs beside the interpreter."""

    resident: int
    disk: int


def generators(seeds: Sequence[int], stream: int) -> list[Generator]:
    """One CPU generator per seed, on one of the seed's streams; the same whatever device trains."""
    made = []
    for seed in seeds:
        generator = Generator()
        # Streams must not meet: seeds are below 2**31, so the high bits are free for the stream.
        generator.manual_seed((stream + 1) * 2**32 + seed)
        made.append(generator)
    return made


class Policy(ABC):
    """What acts. Rows of the environment are [member, row of the member] flattened.

    Attributes:
        members: seeds that act side by side.
        memory_size: features of an agent's recurrent state; 0 for a memoryless policy.
    """

    members: int = 1
    memory_size: int = 0

    @abstractmethod
    def uniforms(self, mode: Mode) -> int:
        """How many uniforms an agent consumes at each step; the same at every step, whatever it chooses."""

    def noise(self, uniforms: Tensor) -> Tensor:
        """Uniforms in [0, 1) as the noise that `act` takes, for a whole rollout at once: [..., uniforms]."""
        return uniforms

    @abstractmethod
    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        """Choose the joint action of every row.

        Args:
            step: what the rows show.
            memory: [row, agent, memory_size], zero at the start of an episode; None for a memoryless policy.
            noise: what `noise` made of float [row, agent, uniforms(mode)].
            mode: `greedy`, `sampled` from the policy without exploration, or `behaviour` as in training.

        Returns:
            the action, int64 [row, agent] or float [row, agent, dim], and the memory for the next step.
        """

    def measures(self, step: Step) -> dict[str, Tensor]:
        """What the policy makes of what the rows show, name -> float [row]; asked right after it acted on that.

        Where a task is evaluated over windows (protocols `continuing` and `online`), their means over the window stand
        beside the task's own metrics.
        """
        return {}

    def parameters(self) -> Tensor:
        """The numbers that make this policy what it is: a copy, [member, parameters]."""
        return torch.zeros(self.members, 0)

    def load_parameters(self, parameters: Tensor) -> None:
        """Take over what `parameters` returned."""
        return

    def describe(self, parameters: Tensor) -> dict[str, Tensor]:
        """One member's parameters [parameters] as named tensors [learner, ...], for the file of the policy."""
        return {"parameters": parameters}

    def parameters_of(self, description: Mapping[str, Tensor]) -> Tensor:
        """One member's parameters [parameters] from what `describe` made of them; the inverse of `describe`.

        Raises ValueError where the description is not of such a policy.
        """
        return named(description, "parameters").flatten()


class StackPolicy(Policy):
    """A policy whose numbers are a parameter stack, [member x learner, parameters]."""

    def __init__(self, stack: ParameterStack, sharing: Sharing, members: int, rows_agents: int) -> None:
        self.stack = stack
        self.sharing = sharing
        self.members = members
        self.agents = rows_agents

    def folded(self, values: Tensor) -> Tensor:
        """[member x row, agent, features] -> [stack, sample, features]."""
        return self.sharing.fold(values.view(self.members, -1, *values.shape[1:]))

    def unfolded(self, values: Tensor, rows: int) -> Tensor:
        """[stack, sample, features] -> [member x row, agent, features]; `rows` counts those of all members."""
        per_member = rows // self.members
        return self.sharing.unfold(values, (per_member,)).reshape(rows, self.agents, values.shape[-1])

    def parameters(self) -> Tensor:
        return self.stack.flat.detach().reshape(self.members, -1).clone()

    def load_parameters(self, parameters: Tensor) -> None:
        with torch.no_grad():
            self.stack.flat.copy_(parameters.view_as(self.stack.flat))

    def describe(self, parameters: Tensor) -> dict[str, Tensor]:
        named = self.stack.view(parameters.view(-1, self.stack.count))
        return {name: value.clone().cpu() for name, value in named.items()}

    def parameters_of(self, description: Mapping[str, Tensor]) -> Tensor:
        return self.stack.packed(description, self.stack.size // self.members)


class Algorithm(ABC):
    """A method. Subclasses declare `revision`, `Hyperparameters` and, where nothing is trained, `learns = False`.

    Class attributes:
        revision: raised whenever the same hyperparameters give different results than before.
        Hyperparameters: the typed settings with their defaults.
        settings: tuned hyperparameters from the literature, by name.
        learns: False for scripted and random players; training is then skipped.
    """

    revision: ClassVar[int] = 1
    Hyperparameters: ClassVar[type[Hyperparameters]] = Hyperparameters
    settings: ClassVar[Mapping[str, TunedSettings]] = {}
    learns: ClassVar[bool] = True

    policy: Policy
    rollout_length: int = 1

    @abstractmethod
    def __init__(self, setting: Setting, hyperparameters: Any) -> None: ...

    @classmethod
    def estimate_memory(
        cls, specification: EnvironmentSpecification, hyperparameters: Any, rows: int, seeds: int
    ) -> Memory:
        """What a job of `seeds` members with `rows` rows each needs; an estimate from above."""
        return Memory(resident=0, disk=0)

    @classmethod
    def obstacle_to_extension(cls, hyperparameters: Any) -> str:
        """Why a finished training cannot go on to more steps, for people; nothing where it can.

        Schedules of a training that goes on stay at their end. By convention a hyperparameter `anneal_...` takes
        something to nothing by then.
        """
        if not cls.learns:
            return "nothing is learnt, so there is nothing to go on with"
        gone = [name for name, value in hyperparameters if name.startswith("anneal_") and value]
        return f"{', '.join(gone)} has taken it to nothing by the end" if gone else ""

    def begin(self, steps: int) -> None:
        """A rollout starts after `steps` environment steps per member: set what follows a schedule."""
        return

    def start_from(self, parameters: Tensor) -> None:
        """Start the training from these parameters of the policy, [member, parameters], instead of fresh ones."""
        self.policy.load_parameters(parameters)

    def observe(self, step: Step, memory: Tensor | None, action: Tensor, following: Step) -> None:
        """One joint step was taken from `step` (with the recurrent state `memory`) to `following`."""
        return

    def learn(self) -> dict[str, Tensor]:
        """Learn at the end of a rollout; returns measures, name -> [member] (empty when nothing was learnt)."""
        return {}

    def rows_restarted(self) -> int:
        """A resumed environment began fresh episodes: forget what would continue the interrupted ones.

        Returns the number of joint steps of the present rollout that were forgotten and must be taken again.
        """
        return 0

    def agent_bytes(self) -> int:
        """Bytes that the agents of one system need to learn and to decide; 0 where a method does not tell.

        Parameters, their copies, optimiser states and what is replayed: what papers on small devices report.
        """
        return 0

    @property
    def must_checkpoint(self) -> bool:
        """True when a checkpoint has to be durable before more may be observed."""
        return False

    def checkpoint_begins(self) -> None:
        """Make durable what lies outside `state_dict` before the state is written."""
        return

    def checkpoint_done(self) -> None:
        """The last state that `state_dict` returned is durable."""
        return

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values from which `load_state_dict` continues, bit for bit."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        return None

    def close(self) -> None:
        return None


def discrete_actions(method: str, specification: EnvironmentSpecification) -> int:
    """How many actions an agent has; ConfigurationError where a task's actions are continuous."""
    if not isinstance(specification.action, Discrete):
        raise ConfigurationError(
            f"{method} needs discrete actions, and the task has continuous ones.",
            hint="Choose another algorithm for this task.",
        )
    return specification.action.count


def sharing_for(option: SharingOption, setting: Setting) -> Sharing:
    """The folding of a setting's agents that a `sharing` hyperparameter asks for."""
    return Sharing(option, setting.agents, setting.device)


def initialised(
    stack: ParameterStack, networks: Sequence[Any], seeds: Sequence[int], learners: int, stream: int = 0
) -> None:
    """Draw the first parameters of every learner from a stream of its member's own."""
    for member, generator in enumerate(generators(seeds, stream)):
        for learner in range(learners):
            for network in networks:
                network.initialise(stack.parameters, member * learners + learner, generator)
