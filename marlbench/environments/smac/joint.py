"""Several battles in one task, each with a part of the observation and of the actions to itself.

For shared layers over several tasks (arXiv 2312.15674) [code README]: every task has a front end and a head of its own,
and what lies between them is shared. Where observations of different tasks fill different features and their actions
are different ones, the first and the last layer of any network are just that, and all layers between are shared; any
method with recurrent networks is then the joint pre-training, and a task of its own can start from the layers between
(`init_from` with `layers`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import (
    AnyParameters,
    BatchedEnvironment,
    Discrete,
    EnvironmentSpecification,
    Step,
)
from marlbench.environments.keys import derive, uniform
from marlbench.environments.smac.scenarios import SCENARIOS
from marlbench.environments.smac.smac import Smac, SmacParameters

# Of the key of a row: which battle it is. Episodes have the numbers from 0.
_WHICH = (1 << 62) + 1


class JointParameters(contract.Parameters):
    """Which battles. See `JointSmac`."""

    scenarios: tuple[str, ...] = Field(
        default=("3m", "2s3z"), min_length=2, description="names of scenarios, each row has one of them"
    )
    enemies: Literal["nearest", "focus_fire", "retreat"] = Field(
        default="nearest", description="whom enemies attack, as in `smac`"
    )
    episode_limit: int | None = Field(
        default=None, ge=1, le=10_000, description="steps of an episode; each scenario's own by default"
    )

    @field_validator("scenarios")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in SCENARIOS:
                raise ValueError(f"there is no scenario '{name}'; there are {', '.join(SCENARIOS)}")
        if len(set(value)) != len(value):
            raise ValueError("a scenario is named twice")
        return value


class JointSmac(BatchedEnvironment):
    """Rows of several scenarios of `Smac`; which one a row plays, always, is drawn from its key with equal chances.

    Observation of an agent, and state: a one-hot of the scenario, then a block for each one, zeros but for its own.
    Actions: a block for each scenario, of which only the own is available. Teams that are smaller than the largest are
    filled up with agents that see nothing and can do nothing. Rewards, ends and metrics are those of the scenarios.
    """

    draws_final = True
    Parameters = JointParameters

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [JointParameters(scenarios=("3m", "2s3z", "5m_vs_6m"), episode_limit=4)]

    def __init__(self, parameters: JointParameters, rows: int, device: torch.device) -> None:
        self.rows, self.device = rows, device
        self._options = [
            SmacParameters(scenario=name, enemies=parameters.enemies, episode_limit=parameters.episode_limit)
            for name in parameters.scenarios
        ]
        of_each = [Smac(one, 1, device).specification for one in self._options]
        self._teams = [len(one.agents) for one in of_each]
        self._seen = _blocks([one.observation_size for one in of_each], len(of_each))
        self._known = _blocks([one.state_size for one in of_each], len(of_each))
        counts = [one.action.count if isinstance(one.action, Discrete) else 0 for one in of_each]
        self._actions = _blocks(counts, 0)
        limits = [one.episode_limit or 0 for one in of_each]
        self.specification = EnvironmentSpecification(
            agents=tuple(f"ally_{ally}" for ally in range(max(self._teams))),
            observation_size=self._seen[-1].stop,
            state_size=self._known[-1].stop,
            action=Discrete(self._actions[-1].stop),
            metrics=of_each[0].metrics,
            episode_limit=max(limits),
            masks_actions=True,
        )
        agents = len(self.specification.agents)
        self._yes = torch.ones(rows, agents, dtype=torch.bool, device=device)
        self._no = torch.zeros(rows, agents, dtype=torch.bool, device=device)
        self._which = torch.zeros(rows, dtype=torch.int64, device=device)
        self._battles: list[Smac | None] = []
        self._rows: list[Tensor] = []

    def _assign(self, which: Tensor) -> None:
        """Give every row its scenario, int64 [row]."""
        self._which = which
        self._rows = [(which == task).nonzero().squeeze(1) for task in range(len(self._options))]
        self._battles = [
            Smac(options, len(rows), self.device) if len(rows) else None
            for options, rows in zip(self._options, self._rows, strict=True)
        ]

    def reset(self, keys: Tensor) -> Step:
        keys = keys.to(self.device)
        self._assign((uniform(derive(keys, _WHICH), 1)[:, 0] * len(self._options)).long())
        return self._merged([None if one is None else one.reset(keys[rows]) for one, rows in self._each()])

    def step(self, action: Tensor) -> Step:
        steps: list[Step | None] = []
        for task, (battle, rows) in enumerate(self._each()):
            if battle is None:
                steps.append(None)
                continue
            own = action[rows, : self._teams[task]] - self._actions[task].start
            steps.append(battle.step(own))
        return self._merged(steps)

    def state_dict(self) -> dict[str, object]:
        return {
            "which": self._which.clone(),
            "battles": [None if one is None else one.state_dict() for one in self._battles],
        }

    def load_state_dict(self, state: dict[str, object]) -> Step:
        which, battles = state["which"], state["battles"]
        assert isinstance(which, Tensor)
        assert isinstance(battles, list)
        self._assign(which.to(self.device).clone())
        pairs = zip(self._battles, battles, strict=True)
        return self._merged([None if one is None else one.load_state_dict(saved) for one, saved in pairs])

    def render(self, row: int) -> NDArray[np.uint8]:
        battle, place = self._of(row)
        return battle.render(place)

    def record(self, row: int) -> Callable[[], NDArray[np.uint8]]:
        battle, place = self._of(row)
        return battle.record(place)

    def _of(self, row: int) -> tuple[Smac, int]:
        """The battles among which a row is, and its number among them."""
        task = int(self._which[row])
        battle = self._battles[task]
        assert battle is not None
        return battle, int((self._which[:row] == task).sum())

    def _each(self) -> list[tuple[Smac | None, Tensor]]:
        return list(zip(self._battles, self._rows, strict=True))

    def _merged(self, steps: Sequence[Step | None]) -> Step:
        """What the rows of all scenarios show."""
        specification, rows = self.specification, self.rows
        agents = len(specification.agents)

        def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(rows, *shape, dtype=dtype, device=self.device)

        shown = {
            f"{prefix}{name}": value
            for prefix in ("", "final_")
            for name, value in (
                ("observation", empty(agents, specification.observation_size)),
                ("state", empty(specification.state_size)),
                ("available_actions", empty(agents, self._actions[-1].stop, dtype=torch.bool)),
            )
        }
        reward, ended = empty(agents), empty(dtype=torch.bool)
        terminated, truncated = empty(agents, dtype=torch.bool), empty(agents, dtype=torch.bool)
        metrics = {name: empty() for name in specification.metrics}
        for task, step in enumerate(steps):
            if step is None:
                continue
            own = self._rows[task]
            for prefix in ("", "final_"):
                self._write(task, prefix, step, {n: shown[f"{prefix}{n}"] for n in _SHOWN})
            # Everybody of a team gets the same.
            reward[own] = step.reward[:, :1].expand(-1, agents)
            terminated[own] = step.terminated[:, :1].expand(-1, agents)
            truncated[own] = step.truncated[:, :1].expand(-1, agents)
            ended[own] = step.ended
            for name, value in step.metrics.items():
                metrics[name][own] = value
        return Step(
            acting=self._yes,
            new_occupant=self._no,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            ended=ended,
            any_ended=any(step is not None and step.any_ended for step in steps),
            metrics=metrics,
            **shown,
        )

    def _write(self, task: int, prefix: str, step: Step, into: dict[str, Tensor]) -> None:
        """What the rows of one scenario show, into the tensors of all."""
        own, team, actions = self._rows[task].unsqueeze(1), self._teams[task], self._actions[task]
        members = torch.arange(team, device=self.device)
        observation = into["observation"]
        observation[own, members, task] = 1.0
        observation[own, members, self._seen[task]] = getattr(step, f"{prefix}observation")
        into["state"][self._rows[task], task] = 1.0
        into["state"][self._rows[task], self._known[task]] = getattr(step, f"{prefix}state")
        available = into["available_actions"]
        available[own, members, actions] = getattr(step, f"{prefix}available_actions")
        # Who does not exist does nothing, as the dead do.
        available[self._rows[task], team:, actions.start] = True


_SHOWN = ("observation", "state", "available_actions")


def _blocks(sizes: Sequence[int], begin: int) -> list[slice]:
    """Features side by side: where each of these parts lies, behind `begin` others."""
    blocks = []
    for size in sizes:
        blocks.append(slice(begin, begin + size))
        begin += size
    return blocks
