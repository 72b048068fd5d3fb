"""The tasks of SMAC: the `builtin` battle simulator behind the contract of an environment."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import AnyParameters, Discrete, EnvironmentSpecification
from marlbench.environments.keys import derive
from marlbench.environments.simulator import TensorSimulator
from marlbench.environments.smac import influence
from marlbench.environments.smac.battle import HEALTH, SHIELD, Battle, length
from marlbench.environments.smac.scenarios import SCENARIOS
from marlbench.environments.smac.scripts import Script
from marlbench.environments.smac.teams import Teams
from marlbench.environments.smac.units import LOOPS_PER_STEP
from marlbench.environments.smac.view import (
    DIRECTIONS,
    MOVES,
    NOBODY,
    TARGETS,
    View,
    observation_names,
    state_names,
)

_REWARD_KILL, _REWARD_WIN, _REWARD_SCALE = 10.0, 200.0, 20.0


class SmacParameters(contract.Parameters):
    """Which battle, and its variants. See `Smac`."""

    scenario: str = Field(description="name of a scenario of smacv2 or of a map of SMAC")
    enemies: Literal["nearest", "focus_fire", "retreat"] = Field(
        default="nearest",
        description="whom enemies attack: the nearest, the weakest in reach, or the nearest, but wounded step back",
    )
    extended_partial_observability: bool = Field(
        default=False,
        description="only the first ally that sees an enemy goes on to see it, and attacks are not masked by range",
    )
    sparse_reward: bool = Field(default=False, description="1 for a win, -1 for a loss, nothing else")
    episode_limit: int | None = Field(
        default=None, ge=1, le=10_000, description="steps of an episode; the scenario's own by default"
    )
    representation: Literal["units", "influence_map"] = Field(
        default="units",
        description="what is seen and done: smacv2's contract, or maps and actions that no scenario changes",
        json_schema_extra={"legacy": "units"},
    )
    map_size: int = Field(
        default=37,
        ge=3,
        le=101,
        description="cells of a side of an influence map",
        json_schema_extra={"legacy": 37},
    )
    map_decay: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="what of an influence is left one map unit away",
        json_schema_extra={"legacy": 0.5},
    )

    @field_validator("scenario")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in SCENARIOS:
            raise ValueError(f"there is no scenario '{value}'; there are {', '.join(SCENARIOS)}")
        return value


class Smac(TensorSimulator):
    """A team of agents against a team that is played by rule; the contract of smacv2 without the game.

    Actions: 0 nothing (the dead only), 1 stop, 2 north, 3 south, 4 east, 5 west, 6 + j attack enemy j; for a medivac
    6 + j heals ally j. A step is 8 game loops. Observation and state: see `marlbench.environments.smac.view`.

    Reward, the same for all agents: health and shield that the enemies lost in the step, less what they gained, + 10
    for each that died, at least 0; + 200 for a win; times 20 / (10 enemies + 200 + all their health and shields).

    An episode ends when a side is dead, or has only medivacs left. It is won when the enemies' is and the allies' is
    not. At the limit it is cut.

    Metrics: `win_rate` (1 for a battle that was won), `dead_allies`, `dead_enemies`.
    """

    Parameters = SmacParameters
    argument = "scenario"

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [
            SmacParameters(scenario="3m", episode_limit=4),
            SmacParameters(scenario="terran_5_vs_5", episode_limit=5, extended_partial_observability=True),
            SmacParameters(scenario="protoss_10_vs_11", episode_limit=4, enemies="focus_fire"),
            SmacParameters(scenario="zerg_5_vs_5", episode_limit=4, enemies="retreat", sparse_reward=True),
            SmacParameters(
                scenario="terran_5_vs_5", episode_limit=4, representation="influence_map", map_size=5
            ),
        ]

    def __init__(self, parameters: SmacParameters, rows: int, device: torch.device) -> None:
        scenario = SCENARIOS[parameters.scenario]
        self.options, self.scenario = parameters, scenario
        maps = parameters.representation == "influence_map"
        size = parameters.map_size
        names = influence.observation_names(size) if maps else observation_names(scenario)
        of_state = influence.state_names(size) if maps else state_names(scenario)
        self.specification = EnvironmentSpecification(
            agents=tuple(f"ally_{ally}" for ally in range(scenario.allies)),
            observation_size=len(names),
            state_size=len(of_state),
            action=Discrete(influence.ACTIONS if maps else scenario.actions),
            metrics=("win_rate", "dead_allies", "dead_enemies"),
            episode_limit=parameters.episode_limit or scenario.limit,
            masks_actions=True,
            features=names,
        )
        super().__init__(parameters, rows, device)
        self.battle = Battle(scenario, rows, device)
        units = View(self.battle, parameters.extended_partial_observability)
        self.view = influence.InfluenceView(units, size, parameters.map_decay) if maps else units
        self.enemies = Script(self.battle, parameters.enemies, "enemies")
        self._teams = Teams(scenario, device)
        self._last_action = torch.full((scenario.allies, rows), NOBODY, dtype=torch.int64, device=device)
        self._sighted = torch.full((scenario.enemies, rows), NOBODY, dtype=torch.int64, device=device)
        self._own = torch.arange(self.battle.units, device=device).unsqueeze(1)
        self._goal = self._own.expand(-1, rows).clone()
        self._course = torch.zeros(2, self.battle.units, rows, device=device)
        direction = torch.zeros(2, scenario.actions, device=device)
        direction[:, MOVES : MOVES + len(DIRECTIONS)] = torch.tensor(DIRECTIONS, device=device).T
        self._direction = direction
        self._available = self._everything
        self._reward_scale = torch.ones(rows, device=device)
        # Episodes that were drawn ahead, and their numbers.
        self._next: dict[str, Tensor] = {}
        self._next_episode = torch.full_like(self._episode, -1)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        kind, unit = self._teams.draw(keys)
        rows = len(keys)
        return {
            "unit": unit,
            "kind": kind,
            "last_action": torch.full((rows, self.scenario.allies), NOBODY, device=self.device),
            "sighted": torch.full((rows, self.scenario.enemies), NOBODY, device=self.device),
        }

    def restore(self) -> None:
        # The keys may be others now.
        self._next_episode.fill_(-1)
        battle, memory = self.battle, self.memory
        battle.unit.copy_(memory["unit"].permute(1, 2, 0))
        battle.kind.copy_(memory["kind"].T)
        self._last_action.copy_(memory["last_action"].T)
        self._sighted.copy_(memory["sighted"].T)
        self._show_memory()

    def _show_memory(self) -> None:
        """The memory as views of the buffers, and what follows from it."""
        battle = self.battle
        self.memory = {
            "unit": battle.unit.permute(2, 0, 1),
            "kind": battle.kind.T,
            "last_action": self._last_action.T,
            "sighted": self._sighted.T,
        }
        battle.restore()
        self.view.restore()
        theirs = slice(battle.allies, battle.units)
        most = (battle.traits["health"][theirs] + battle.traits["shield"][theirs]).sum(0)
        self._reward_scale = _REWARD_SCALE / (most + _REWARD_KILL * battle.enemies + _REWARD_WIN)

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        battle = self.battle
        before = battle.unit[HEALTH, battle.allies :] + battle.unit[SHIELD, battle.allies :]
        living = battle.unit[HEALTH, battle.allies :] > 0
        self._order(self.view.translated(action.T))
        self.enemies.begin()
        for loop in range(LOOPS_PER_STEP):
            if loop:
                battle.look()
            self.enemies.decide(self._goal, self._course)
            battle.advance(self._goal, self._course)
        battle.look()

        health = battle.unit[HEALTH, battle.allies :]
        lost = (before - health - battle.unit[SHIELD, battle.allies :]) * living
        killed = (living & (health <= 0)).sum(0)
        won, lost_battle, over = self._outcome()
        if self.options.sparse_reward:
            reward = won.to(torch.float32) - lost_battle.to(torch.float32)
        else:
            reward = (lost.sum(0) + _REWARD_KILL * killed).clamp_(min=0).add_(won, alpha=_REWARD_WIN)
            reward = reward * self._reward_scale
        return reward.unsqueeze(1).expand(-1, battle.allies), over

    def _order(self, action: Tensor) -> None:
        """Goals and courses of the agents for the whole step, from actions int64 [ally, row]."""
        battle = self.battle
        allies = slice(0, battle.allies)
        self._last_action.copy_(action)
        torch.mul(self._direction[:, action], battle.traits["speed"][allies], out=self._course[:, allies])
        own, target = self._own[allies], action - TARGETS
        goal = target + battle.allies
        if battle.heals is not None:
            goal = torch.where(battle.heals[allies] & (target < battle.allies), target, goal)
        goal = torch.where(target >= 0, goal, own)
        kind = battle.kind
        allowed = battle.tables.pair_allowed.take(kind[allies] * battle.tables.kinds + kind.gather(0, goal))
        if self.options.extended_partial_observability:
            way = battle.place.gather(1, goal.expand(2, -1, -1)) - battle.place[:, allies]
            allowed &= length(way) <= self.view.shoot
        self._goal[allies] = torch.where(allowed, goal, own)

    def _outcome(self) -> tuple[Tensor, Tensor, Tensor]:
        """Which rows are won, lost, over; bool [row]. When both sides are beaten, nobody has won."""
        battle = self.battle
        fights = battle.alive if battle.heals is None else battle.alive & ~battle.heals
        ours, theirs = fights[: battle.allies].any(0), fights[battle.allies :].any(0)
        return ours & ~theirs, theirs & ~ours, ~(ours & theirs)

    def observe(self) -> tuple[Tensor, Tensor]:
        sighted = self._sighted if self.options.extended_partial_observability else None
        observation, state, self._available = self.view.write(self._last_action, sighted)
        return observation, state

    def available_actions(self) -> Tensor:
        return self._available

    def measure(self) -> dict[str, Tensor]:
        dead = self.battle.unit[HEALTH] <= 0
        return {
            "win_rate": self._outcome()[0].to(torch.float32),
            "dead_allies": dead[: self.battle.allies].sum(0, dtype=torch.float32),
            "dead_enemies": dead[self.battle.allies :].sum(0, dtype=torch.float32),
        }

    def _restart(self, ended: Tensor, every_row: bool) -> None:
        """Among many rows some end at every step, and to draw one episode takes as long as to draw one for each row.

        So what comes next is drawn for all rows at once, and anew only when a row ends for the second time.
        """
        rows = ended.nonzero().squeeze(1)
        if bool((self._next_episode[rows] != self._episode[rows]).any()):
            torch.add(self._episode, ~ended, out=self._next_episode)
            self._next = self.start(derive(self._keys, self._next_episode))
        for name, value in self._next.items():
            self.memory[name].index_copy_(0, rows, value[rows])
        self._elapsed.index_fill_(0, rows, 0)
        self._show_memory()

    def draw(self, memory: dict[str, Tensor], row: int) -> NDArray[np.uint8]:
        from marlbench.environments.smac.drawing import draw_battle

        return draw_battle(self.scenario, memory)
