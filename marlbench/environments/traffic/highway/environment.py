"""The highway behind the contract of an environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import (
    AnyParameters,
    BatchedEnvironment,
    Discrete,
    Entities,
    EnvironmentSpecification,
    Step,
)
from marlbench.environments.keys import derive
from marlbench.environments.traffic.highway import simulation
from marlbench.environments.traffic.highway.drivers import AGENT, NORMAL, Behaviour, drivers
from marlbench.environments.traffic.highway.layout import (
    ACTIONS,
    DRIVER,
    FEATURES,
    MEASURES,
    OUT,
    PLAYERS,
    REALS,
    SEEN,
    TALLIES,
    WHOLES,
    agents_of,
    features,
)
from marlbench.errors import MarlbenchError


class HighwayParameters(contract.Parameters):
    """How full the highway is and who drives there. See `Highway`."""

    aggressive: float = Field(
        default=0.1, ge=0, le=1, description="share of the other vehicles whose drivers are aggressive"
    )
    defensive: float = Field(
        default=0.1, ge=0, le=1, description="share of the other vehicles whose drivers are defensive"
    )
    behaviour: Behaviour = Field(
        default="table",
        description="aggressive and defensive drivers as in iPLAN's table, or as its authors' code has them, where "
        "they hold their speed whatever is ahead",
    )
    politeness: float = Field(
        default=0.2, ge=0, le=1, description="of normal drivers, in MOBIL; highway-env 1.12 has 0"
    )
    agents: int = Field(default=5, ge=1, le=64, description="vehicles that agents drive")
    others: int = Field(default=50, ge=0, le=1000, description="other vehicles")
    lanes: int = Field(default=8, ge=1, le=32, description="lanes of the highway")
    length: int = Field(default=90, ge=1, le=1000, description="decisions of an episode, one a second")

    @model_validator(mode="after")
    def _shares(self) -> HighwayParameters:
        if self.aggressive + self.defensive > 1:
            raise ValueError("the shares of aggressive and defensive drivers are more than 1 together")
        return self

    @property
    def vehicles(self) -> int:
        return self.agents + self.others

    def of_agents(self) -> list[int]:
        """The numbers of the agents' vehicles: each is followed by its share of the others."""
        share, more = divmod(self.others, self.agents)
        return [agent * (share + 1) + min(agent, more) for agent in range(self.agents)]


class Highway(BatchedEnvironment):
    """iPLAN's heterogeneous highway: agents among drivers of several kinds; see docs/traffic.md.

    Actions: 0 a lane to the left, 1 nothing, 2 a lane to the right, 3 faster, 4 slower (20, 25 or 30 m/s). A decision
    lasts a second. An agent that crashes is terminated and does not act again; at the limit the others are truncated.

    Reward: (1 - crashed + 0.1 lane / (lanes - 1) + 0.4 clip((v - 20) / 10, 0, 1)) / 1.5, v along the road, with the
    lane that the agent wants; nothing off the road. In [0, 1].

    Metrics: `success_rate`, the share of agents that did not crash; `survival_time`, their mean number of seconds
    without a crash; `speed`, m/s, the mean of all agents over those; `crashed_others`, the share of the other vehicles
    that crashed.
    """

    Parameters: ClassVar[type[AnyParameters]] = HighwayParameters
    draws_final = True

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [
            HighwayParameters(length=5),
            HighwayParameters(agents=3, others=14, lanes=2, aggressive=0.5, length=6),
            HighwayParameters(agents=2, others=5, lanes=3, length=4, behaviour="code", politeness=0.0),
        ]

    def __init__(self, parameters: AnyParameters, rows: int, device: torch.device) -> None:
        assert isinstance(parameters, HighwayParameters)
        self.parameters, self.rows, self.device = parameters, rows, device
        count, vehicles = parameters.agents, parameters.vehicles
        names = agents_of(count)
        self.specification = EnvironmentSpecification(
            agents=names,
            observation_size=SEEN * len(FEATURES),
            state_size=vehicles * len(FEATURES),
            action=Discrete(len(ACTIONS)),
            metrics=MEASURES,
            episode_limit=parameters.length,
            skips_steps=True,
            features=features(),
            entities=Entities(SEEN, FEATURES, vehicles),
            built_in=dict.fromkeys(names, PLAYERS),
        )
        self.kinds = drivers(parameters.behaviour, parameters.politeness)
        self.agents = np.array(parameters.of_agents())
        self.real = np.zeros((rows, REALS, vehicles))
        self.whole = np.zeros((rows, WHOLES, vehicles), np.int64)
        self.tally = np.zeros((rows, TALLIES, count))
        self.elapsed = np.zeros(rows, np.int64)
        self.players = np.full((rows, count), simulation.NO_PLAYER)
        self._row_keys = torch.zeros(rows, dtype=torch.int64)
        self._episode = torch.zeros(rows, dtype=torch.int64)
        self._keys = np.zeros(rows, np.int64)
        # Rows that were drawn, and the ends of their episodes at the last step.
        self._drawn: set[int] = set()
        self._ends: dict[int, Callable[[], NDArray[np.uint8]]] = {}
        self._no = torch.zeros(rows, count, dtype=torch.bool, device=device)
        self._none_ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self._nothing = torch.zeros(rows, count, device=device)

    def reset(self, keys: Tensor) -> Step:
        self._row_keys = keys.cpu().clone()
        self._episode.zero_()
        self._ends = {}
        self._begin(np.arange(self.rows))
        return self.show()

    def _begin(self, rows: NDArray[np.int64]) -> None:
        """Begin the present episodes of some rows."""
        options = self.parameters
        self._keys[rows] = derive(self._row_keys, self._episode).numpy()[rows]
        self.elapsed[rows] = 0
        self.players[rows] = simulation.NO_PLAYER
        simulation.begin_rows(
            rows,
            self._keys,
            self.real,
            self.whole,
            self.tally,
            self.agents,
            options.lanes,
            options.aggressive,
            options.defensive,
            self.kinds,
        )

    def step(self, action: Tensor) -> Step:
        self._ends = {}
        taken = action.to("cpu", torch.int64).numpy()
        fresh = np.flatnonzero(self.elapsed == 0)
        if len(fresh):
            self._let_play(fresh, taken)
        reward = np.empty(taken.shape, np.float32)
        terminated = np.empty(taken.shape, bool)
        self.advance(taken, reward, terminated)
        self.elapsed += 1
        out = self.tally[:, OUT] > 0
        late = self.elapsed >= self.parameters.length
        step = self._show(torch.from_numpy(reward).to(self.device))
        step.terminated = torch.from_numpy(terminated).to(self.device)
        ended = late | out.all(1)
        return self._end(step, ended, late[:, None] & ~out) if ended.any() else step

    def advance(
        self, action: NDArray[np.int64], reward: NDArray[np.float32], done: NDArray[np.bool_]
    ) -> None:
        """Carry out one decision of all rows; `reward` and `done` [row, agent] are written."""
        simulation.step_rows(
            action,
            self.elapsed,
            self._keys,
            self.players,
            self.real,
            self.whole,
            self.tally,
            self.agents,
            self.parameters.lanes,
            self.kinds,
            reward,
            done,
        )

    def _let_play(self, rows: NDArray[np.int64], action: NDArray[np.int64]) -> None:
        """At the first decision of an episode, agents are left to the players that their actions ask for."""
        chosen = np.where(action[rows] < 0, -1 - action[rows], simulation.NO_PLAYER)
        if chosen.max(initial=0) >= len(PLAYERS):
            raise MarlbenchError(f"the highway has no built-in player {chosen.max()}.")
        self.players[rows] = chosen
        self.whole[rows[:, None], DRIVER, self.agents] = np.where(chosen == simulation.IDM, NORMAL, AGENT)

    def _end(self, step: Step, ended: NDArray[np.bool_], truncated: NDArray[np.bool_]) -> Step:
        rows = np.flatnonzero(ended)
        measured = np.zeros((self.rows, len(MEASURES)), np.float32)
        simulation.measure_rows(self.whole, self.tally, self.agents, measured)
        self._ends = {row: self._kept(row) for row in self._drawn if ended[row]}
        self._episode += torch.from_numpy(ended)
        self._begin(rows)
        following = self._show(step.reward)
        following.terminated = step.terminated
        following.truncated = torch.from_numpy(truncated).to(self.device)
        following.ended = torch.from_numpy(ended).to(self.device)
        following.any_ended = True
        following.final_observation = step.observation
        following.final_state = step.state
        following.final_available_actions = step.available_actions
        following.final_identity = step.identity
        columns = torch.from_numpy(measured).to(self.device).unbind(1)
        following.metrics = dict(zip(MEASURES, columns, strict=True))
        return following

    def show(self) -> Step:
        """What the rows show now."""
        return self._show(self._nothing)

    def _show(self, reward: Tensor) -> Step:
        count = self.parameters.agents
        seen = np.empty((self.rows, count, SEEN, len(FEATURES)), np.float32)
        identity = np.empty((self.rows, count, SEEN), np.int64)
        state = np.empty((self.rows, self.specification.state_size), np.float32)
        available = np.empty((self.rows, count, len(ACTIONS)), bool)
        simulation.show_rows(self.real, self.whole, self.tally, self.agents, seen, identity, state, available)
        observation = torch.from_numpy(seen).flatten(2).to(self.device)
        whole = torch.from_numpy(state).to(self.device)
        legal = torch.from_numpy(available).to(self.device)
        whom = torch.from_numpy(identity).to(self.device)
        return Step(
            observation=observation,
            state=whole,
            available_actions=legal,
            acting=torch.from_numpy(self.tally[:, OUT] == 0).to(self.device),
            new_occupant=self._no,
            reward=reward,
            terminated=self._no,
            truncated=self._no,
            ended=self._none_ended,
            any_ended=False,
            final_observation=observation,
            final_state=whole,
            final_available_actions=legal,
            identity=whom,
            final_identity=whom,
        )

    def render(self, row: int) -> NDArray[np.uint8]:
        """Each agent with its surroundings; see `drawing.draw_highway`."""
        return self.record(row)()

    def record(self, row: int) -> Callable[[], NDArray[np.uint8]]:
        self._drawn.add(row)
        return self._ends[row] if row in self._ends else self._kept(row)

    def _kept(self, row: int) -> Callable[[], NDArray[np.uint8]]:
        """What a row shows now, to be drawn later."""
        real, whole, tally = self.real[row].copy(), self.whole[row].copy(), self.tally[row].copy()

        def picture() -> NDArray[np.uint8]:
            from marlbench.environments.traffic.highway.drawing import draw_highway

            return draw_highway(real, whole, tally, self.agents, self.parameters.lanes)

        return picture

    def state_dict(self) -> dict[str, object]:
        arrays = {
            "real": self.real,
            "whole": self.whole,
            "tally": self.tally,
            "elapsed": self.elapsed,
            "players": self.players,
        }
        saved: dict[str, object] = {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
        return {**saved, "keys": self._row_keys.clone(), "episode": self._episode.clone()}

    def load_state_dict(self, state: dict[str, object]) -> Step:
        arrays = {name: value.cpu() for name, value in state.items() if isinstance(value, Tensor)}
        for name in ("real", "whole", "tally", "elapsed", "players"):
            getattr(self, name)[:] = arrays[name].numpy()
        self._row_keys, self._episode = arrays["keys"].clone(), arrays["episode"].clone()
        self._keys[:] = derive(self._row_keys, self._episode).numpy()
        return self.show()
