"""The contract of an environment: a batch of rows on a torch device.

A row is one copy of the task; rows are independent of each other and reset themselves. The axes are `row`,
`agent`, `action`, `features`. Agents whose observations differ in size are padded to the longest, and a
one-hot of their type tells them apart.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from marlbench.errors import MarlbenchError


class Parameters(BaseModel):
    """Base of an environment's `Parameters`: typed fields with defaults; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# Inside BatchedEnvironment the name Parameters is the class attribute.
AnyParameters = Parameters


@dataclass(frozen=True)
class Discrete:
    """Actions are integers in [0, count)."""

    count: int


@dataclass(frozen=True)
class Continuous:
    """Actions are vectors of `size` numbers, each in [low, high]."""

    size: int
    low: float = -1.0
    high: float = 1.0


@dataclass(frozen=True)
class Entities:
    """How an observation reads as rows, one for each entity that an agent sees, such as the vehicles around it.

    Attributes:
        seen: rows of an observation, which is [seen, features], row-major and nothing else. Row 0 is the agent itself;
            a row that shows nobody is all zeros.
        features: names of a row's features.
        total: entities of the task. `Step.identity` lies in [0, total).
    """

    seen: int
    features: tuple[str, ...]
    total: int


@dataclass(frozen=True)
class EnvironmentSpecification:
    """Shapes and promises that hold for the whole life of an environment.

    Attributes:
        agents: names, in the order of the agent axis.
        observation_size: features of one agent's observation.
        state_size: features of the global state.
        action: one action space for all agents (padded: unavailable actions are masked).
        metrics: names of the task's own measures, one value per ended episode.
        episode_limit: steps after which an episode is over at the latest; None where there is none.
        continuing: True where no episode ever ends: evaluated over windows, and `metrics` are shown at every step.
        masks_actions: False promises that every action is always available.
        skips_steps: False promises that every agent acts at every step and never changes its occupant.
        image: (channels, height, width) where the first channels * height * width features of every agent's
            observation are an image, row-major [channel, height, width] and about in [0, 1]; what follows
            is a vector. None where observations are vectors.
        features: names of the observation's features, in order, where the task has names for them.
        entities: the observation as rows of entities; None where it is not made of such rows.
        built_in: players that come with the task: name of an agent -> names of players that may decide for it. The
            action -1 - i leaves an agent's decisions to its player i; it is no part of the action space, an
            episode keeps to what its first step chose, and masks do not count. None where there are none.
        paid_after: steps from a decision to its reward, its own step counted, for agents that are paid later than at
            once: name of an agent -> steps. None where there are none.
    """

    agents: tuple[str, ...]
    observation_size: int
    state_size: int
    action: Discrete | Continuous
    metrics: tuple[str, ...] = ()
    episode_limit: int | None = None
    continuing: bool = False
    masks_actions: bool = False
    skips_steps: bool = False
    image: tuple[int, int, int] | None = None
    features: tuple[str, ...] = ()
    entities: Entities | None = None
    built_in: Mapping[str, tuple[str, ...]] | None = None
    paid_after: Mapping[str, int] | None = None


@dataclass
class Step:
    """What the rows show after `reset` or `step`. The next call may reuse the tensors: copy what must last.

    Where a row ended, `observation`, `state` and `available_actions` are those of its next episode, and the
    `final_` tensors hold the last ones of the episode that ended (they equal the others in rows that did not
    end).

    Attributes:
        observation: float [row, agent, features].
        state: float [row, features].
        available_actions: bool [row, agent, action]; all True for continuous actions (with one column).
        acting: bool [row, agent]; an agent that does not act now has its action ignored, and its transition
            runs to its next decision with the rewards in between summed.
        new_occupant: bool [row, agent]; the slot got another occupant since the step before.
        reward: float [row, agent], of the step just taken (zero after reset).
        terminated: bool [row, agent]; the agent's episode ended for good: nothing is bootstrapped.
        truncated: bool [row, agent]; it was cut by a time limit: the value of `final_observation` is
            bootstrapped.
        ended: bool [row]; the row's episode is over for all agents and the row was reset.
        dropped: bool [row]; an episode told over by `ended` that was lost to a fault of the simulator: it is truncated,
            and counts in no measure. None where that cannot happen.
        any_ended: whether any row ended, known on the host without waiting for the device.
        metrics: name -> float [row], of the episode and valid where `ended`; in a task without an end, of the step
            just taken.
        identity: int64 [row, agent, entity]; which entity every row of the observation shows, -1 for nobody. None where
            a row shows the same entity all the time, or where observations are not made of entities.
        final_identity: the same for `final_observation`.
    """

    observation: Tensor
    state: Tensor
    available_actions: Tensor
    acting: Tensor
    new_occupant: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    ended: Tensor
    any_ended: bool
    final_observation: Tensor
    final_state: Tensor
    final_available_actions: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    identity: Tensor | None = None
    final_identity: Tensor | None = None
    dropped: Tensor | None = None

    @property
    def completed(self) -> Tensor:
        """bool [row]; an episode ended that counts in the measures."""
        return self.ended if self.dropped is None else self.ended & ~self.dropped


class BatchedEnvironment(ABC):
    """A batch of independent rows of one task.

    Class attributes:
        backend: which implementation this is; results of different backends are never pooled.
        resume: `exact` when `state_dict` restores the rows bit for bit; `episode` when a restored row starts
            a fresh episode instead. An instance may differ from its class: it is the instance that counts.
        deterministic: whether the same keys and actions give the same episode.
        independent_rows: whether a row plays the same alone and among others; where it does not, the number of
            rows belongs to what `deterministic` promises.
        Parameters: the task's parameters as a model with defaults.
        argument: the field of `Parameters` that takes the text after the colon in a suite's
            `environment: name:text`; None where there is no such text.
        maximum_rows: most rows that one instance should have; evaluations are then split into passes.
        draws_final: whether `render`, after a step at which the row's episode ended, shows its end instead of
            the start of the next.
        keeps_artifacts: whether `artifacts` can be asked for after an evaluation.
    """

    backend: ClassVar[str] = "builtin"
    resume: Literal["exact", "episode"] = "exact"
    deterministic: ClassVar[bool] = True
    independent_rows: ClassVar[bool] = True
    argument: ClassVar[str | None] = None
    maximum_rows: ClassVar[int | None] = None
    draws_final: ClassVar[bool] = False
    keeps_artifacts: ClassVar[bool] = False
    Parameters: ClassVar[type[AnyParameters]]

    specification: EnvironmentSpecification
    rows: int
    device: torch.device

    @classmethod
    def simulator_version(cls, parameters: AnyParameters) -> str:
        """Name and version of the external simulator, part of a cell's identity; '' for our own."""
        return ""

    @classmethod
    def data_hashes(cls, parameters: AnyParameters) -> dict[str, str]:
        """sha256 of every data file the task reads, by name: part of a cell's identity."""
        return {}

    @classmethod
    def for_evaluation(cls, parameters: AnyParameters) -> AnyParameters:
        """What evaluations are built with: other parameters where a task is tested on what it is not trained on."""
        return parameters

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        """Small parameters, with short episodes, for every variant of the task: the contract test's cases."""
        return [cls.Parameters()]

    @abstractmethod
    def __init__(self, parameters: AnyParameters, rows: int, device: torch.device) -> None: ...

    @abstractmethod
    def reset(self, keys: Tensor) -> Step:
        """Start episode 0 in every row.

        Args:
            keys: int64 [row]. Everything random in a row is drawn from its key and the number of its episode,
                so a row behaves the same alone and among others, on any device (but see `independent_rows`).
        """

    @abstractmethod
    def step(self, action: Tensor) -> Step:
        """Take one joint step in every row: action int64 [row, agent] or float [row, agent, dim]."""

    @abstractmethod
    def state_dict(self) -> dict[str, object]:
        """Tensors and plain values from which `load_state_dict` continues (see `resume`)."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, object]) -> Step:
        """Continue from a saved state; returns what the rows show, as the last `reset` or `step` did."""

    def render(self, row: int) -> NDArray[np.uint8]:
        """A picture of what a row shows now: uint8 [height, width, 3], red, green, blue.

        Raises:
            MarlbenchError: the task cannot be drawn, or not on this machine.
        """
        raise MarlbenchError(
            f"{type(self).__name__} cannot be drawn.", hint="Its environment class has no `render`."
        )

    def record(self, row: int) -> Callable[[], NDArray[np.uint8]]:
        """What a row shows now, to be drawn later if at all: a function that makes the picture of `render`.

        Called at every step of a film, of which only some moments are drawn: whoever can keep a state for less than
        a picture costs does so here.

        Raises:
            MarlbenchError: the task cannot be drawn, or not on this machine.
        """
        picture = self.render(row)
        packed, shape = zlib.compress(picture.tobytes(), 1), picture.shape
        return lambda: np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)

    def artifacts(self, row: int) -> Mapping[str, NDArray[np.uint8] | bytes]:
        """Other pictures of the episode that a row has just ended, or of what there is of it so far.

        Called for the film at the end of a training, right after that step: file name (letters, digits, `.`, `_`,
        `-`) -> a picture, uint8 [height, width, 3] and named `.png`, or the content of any other file. They stand
        beside the film in MLflow.

        Where `keeps_artifacts`, they are asked for after the last evaluation, of the episodes that it ended, so that
        nothing has to be played for them.
        """
        return {}

    def close(self) -> None:
        """Free processes and memory. The environment is not used afterwards."""
        return
