"""Other libraries' environments as a batch of rows, played in worker processes: what all of them share."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, JsonValue
from torch import Tensor

from marlbench.adapters.games import Rules
from marlbench.adapters.workers import Workers
from marlbench.environments import contract
from marlbench.environments.contract import (
    BatchedEnvironment,
    Continuous,
    Discrete,
    Entities,
    EnvironmentSpecification,
    Step,
)
from marlbench.environments.keys import derive
from marlbench.errors import ConfigurationError


class PlayedParameters(contract.Parameters):
    """What tells nothing of the task, only how rows in workers are watched."""

    step_timeout: float = Field(
        default=300.0,
        gt=0,
        description="seconds after which a row in a worker that does not come back from a step is an error; "
        "not part of a cell's identity",
        json_schema_extra={"legacy": None, "stands_as": None},
    )


class WorkedParameters(PlayedParameters):
    """How rows of an external environment are played. See `WorkedEnvironment`."""

    kwargs: dict[str, JsonValue] = Field(
        default_factory=dict, description="arguments of what builds the environment"
    )
    state: Literal["observations", "environment"] = Field(
        default="observations",
        description="state: the observations side by side, or the package's own state()",
    )
    action_masks: bool | None = Field(
        default=None, description="actions are masked (action_mask); by default the first reset decides"
    )
    episode_limit: int | None = Field(
        default=None, ge=1, description="steps after which an episode that still goes on is truncated"
    )
    replay: bool = Field(
        default=False,
        description="resume an interrupted episode by playing its actions again; for packages that are "
        "deterministic given their seed, it makes resuming exact",
    )
    channels: Literal["first", "last"] | None = Field(
        default=None,
        description="which axis of an image tells its channels; by default the one unlike the others",
        json_schema_extra={"legacy": None},
    )
    workers: int | None = Field(
        default=None,
        ge=0,
        le=1024,
        description="worker processes; 0 plays in the job's own process; by default one per usable core; "
        "not part of a cell's identity",
        json_schema_extra={"stands_as": None},
    )


class WorkedEnvironment(BatchedEnvironment):
    """Rows of an external environment, each an object of its own in a worker process.

    Observations are flattened and, where agents differ in their spaces, padded with zeros and followed by a
    one-hot of the agent's type; images are [channel, height, width], scaled to [0, 1] where their space is
    bounded. Discrete actions are padded and masked where agents have different numbers of them; MultiDiscrete
    actions are enumerated; an `action_mask` in the observations or infos is respected. Box actions of
    different sizes or bounds are told in [-1, 1], of which shorter ones ignore the rest.

    Episode e of a row begins with `reset(seed=...)`, the seed being 31 bits derived from the row's key and e.
    How far that makes episodes reproducible is up to the package.

    Resuming starts fresh episodes, or with `replay` plays the interrupted ones again.
    """

    resume: Literal["exact", "episode"] = "episode"
    # A row is an environment object of its own; mpe2's hold some two megabytes each.
    maximum_rows = 64

    @abstractmethod
    def rules(self, parameters: Any) -> Rules:
        """How the rows of these parameters are played."""

    def __init__(self, parameters: PlayedParameters, rows: int, device: torch.device) -> None:
        self.rows, self.device, self.parameters = rows, device, parameters
        rules = self.rules(parameters)
        self._replays = rules.keeps_actions
        self.resume = "exact" if self._replays else "episode"
        workers = parameters.workers if isinstance(parameters, WorkedParameters) else None
        processes = workers if workers is not None else _usable_cores()
        self.workers = Workers(rules, rows, processes, parameters.step_timeout)
        described = self.workers.description
        agents = len(described.agents)
        common = described.actions_range
        self.specification = EnvironmentSpecification(
            agents=tuple(str(agent) for agent in described.agents),
            observation_size=described.features,
            state_size=described.state_size or agents * described.features,
            action=Discrete(described.actions)
            if common is None
            else Continuous(common.size, common.low, common.high),
            metrics=described.metrics,
            episode_limit=rules.episode_limit,
            masks_actions=described.masks,
            skips_steps=described.turns or not rules.fixed_agents,
            image=described.image,
            features=described.names,
            built_in=described.built_in,
            entities=None if described.entities is None else Entities(*described.entities),
        )
        self._shared = {name: torch.from_numpy(array) for name, array in self.workers.arrays.items()}
        self._keys = torch.zeros(rows, dtype=torch.int64)
        self._episode = torch.zeros(rows, dtype=torch.int64)
        self._yes = torch.ones(rows, agents, dtype=torch.bool, device=device)
        self._no = torch.zeros(rows, agents, dtype=torch.bool, device=device)
        self._none_ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self._everything = torch.ones(rows, agents, described.actions, dtype=torch.bool, device=device)

    def reset(self, keys: Tensor) -> Step:
        self._keys = keys.cpu().clone()
        self._episode.zero_()
        return self._begin()

    def step(self, action: Tensor) -> Step:
        if isinstance(self.specification.action, Continuous):
            action = action.clamp(self.specification.action.low, self.specification.action.high)
        self._shared["action"].copy_(action)
        self.workers.step()
        any_ended = bool(self.workers.arrays["ended"].any())
        step = self._show(self._here("reward"))
        if self.specification.skips_steps or any_ended:
            step.terminated, step.truncated = self._here("terminated"), self._here("truncated")
        if "new_occupant" in self._shared:
            step.new_occupant = self._here("new_occupant")
        if any_ended:
            self._finish(step)
            self._episode += self._shared["ended"]
            self._give_seeds()
        return step

    def _finish(self, step: Step) -> None:
        """Fill in what the rows that ended showed at last."""
        step.any_ended = True
        step.ended = self._here("ended")
        if "dropped" in self._shared:
            step.dropped = self._here("dropped")
        of_row = step.ended.unsqueeze(1)
        of_agent = of_row.unsqueeze(1)
        step.final_observation = torch.where(of_agent, self._here("final_observation"), step.observation)
        if step.identity is not None:
            step.final_identity = torch.where(of_agent, self._here("final_identity"), step.identity)
        if "final_state" in self._shared:
            step.final_state = torch.where(of_row, self._here("final_state"), step.state)
        else:
            step.final_state = step.final_observation.flatten(1)
        if self.specification.masks_actions or self.specification.skips_steps:
            available = self._here("final_available_actions")
            step.final_available_actions = torch.where(of_agent, available, step.available_actions)
        if self.specification.metrics:
            told = self._here("metrics")
            step.metrics = {name: told[:, column] for column, name in enumerate(self.specification.metrics)}

    def _begin(self) -> Step:
        """Start the present episode of every row."""
        self._give_seeds()
        self.workers.reset()
        return self._show()

    def _give_seeds(self) -> None:
        """Workers go on to the next episode by themselves, so they hold the seeds of this one and of the next."""
        for name, ahead in (("seed", 0), ("upcoming", 1)):
            derived = derive(self._keys, self._episode + ahead)
            self._shared[name].copy_((derived >> 33) & ((1 << 31) - 1))

    def _here(self, name: str) -> Tensor:
        """A copy on the device of what the workers will write over."""
        shared = self._shared[name]
        return shared.clone() if self.device.type == "cpu" else shared.to(self.device)

    def _show(self, reward: Tensor | None = None) -> Step:
        observation = self._here("observation")
        state = self._here("state") if "state" in self._shared else observation.flatten(1)
        masked = self.specification.masks_actions or self.specification.skips_steps
        available = self._here("available_actions") if masked else self._everything
        whom = self._here("identity") if "identity" in self._shared else None
        return Step(
            observation=observation,
            state=state,
            available_actions=available,
            acting=self._here("acting") if self.specification.skips_steps else self._yes,
            new_occupant=self._no,
            reward=torch.zeros(self._no.shape, device=self.device) if reward is None else reward,
            terminated=self._no,
            truncated=self._no,
            ended=self._none_ended,
            any_ended=False,
            final_observation=observation,
            final_state=state,
            final_available_actions=available,
            identity=whom,
            final_identity=whom,
        )

    def state_dict(self) -> dict[str, object]:
        state: dict[str, object] = {"keys": self._keys.clone(), "episode": self._episode.clone()}
        if "kept" in self._shared:
            state["kept"] = self._shared["kept"].clone()
        if self._replays:
            state["actions"] = [torch.from_numpy(history.copy()) for history in self.workers.save()]
            state["observation"] = self._shared["observation"].clone()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> Step:
        """Continue; with `replay`, raises ConfigurationError where the same actions lead somewhere else."""
        self._keys, self._episode = state["keys"].clone(), state["episode"].clone()
        if "kept" in state:
            self._shared["kept"].copy_(state["kept"])
        if not self._replays:
            self._episode += 1
            return self._begin()
        self._give_seeds()
        self.workers.restore([actions.numpy() for actions in state["actions"]])
        came, was = self._shared["observation"], state["observation"]
        # As bits, in which NaN equals itself.
        same = (came.view(torch.int32) == was.view(torch.int32)).flatten(1).all(1)
        if not bool(same.all()):
            raise ConfigurationError(
                f"row {int(same.to(torch.int64).argmin())} of {self.workers.rules.name} did not come back to where it "
                f"was: the package is not deterministic given its seed.",
                hint="Set `replay: false` in the task's parameters; rows then resume with fresh episodes.",
            )
        return self._show()

    def render(self, row: int) -> NDArray[np.uint8]:
        """What the package draws of a row; the first time right after `reset`.

        Raises:
            ConfigurationError: it draws nothing, or not on this machine.
        """
        return self.workers.render(row)

    def close(self) -> None:
        self.workers.close()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
