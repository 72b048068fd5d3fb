"""What the stubs of smacv2 and smac share: the packages' contract without a game, and all that is awkward in it.

STUB_FAULTS names a folder with faults.json, a list: launch number k suffers its k-th entry, if there is one.
{"start": true} fails to start; {"none": true} shows no units, so that smacv2's reset returns None; {"crash": 3} crashes
in the third step of an episode, as the packages tell it, {"tells": 3} without asking for a restart, and {"hang": 3}
never comes back; {"after": 2} lets two episodes go by before.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

SIGHT = 9.0


class CannotResetException(Exception):
    pass


def launched() -> dict[str, Any]:
    """What this launch suffers; every launch leaves a file behind."""
    folder = os.environ["STUB_FAULTS"]
    number = 0
    while True:
        try:
            os.close(os.open(f"{folder}/launch-{number}", os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            number += 1
    faults = json.loads(Path(folder, "faults.json").read_text())
    return faults[number] if number < len(faults) else {}


class Battle:
    """The inner environment: every enemy loses 10 of 40 health to every attack; the team wins when all are dead."""

    def __init__(self, agents: int, enemies: int, limit: int, features: int, state: int) -> None:
        self.n_agents, self.n_enemies, self.episode_limit = agents, enemies, limit
        self.n_actions = 6 + enemies
        self._features, self._states = features, state
        self.max_reward = enemies * 10 + 200
        self._episode_count = self._episode_steps = self.timeouts = self.force_restarts = 0
        self.battles_won = self.battles_game = 0
        self._seed: int | None = None
        self._sc2_proc: Any = None
        self._suffers: dict[str, Any] = {}

    def get_env_info(self) -> dict[str, int]:
        return {
            "n_agents": self.n_agents, "n_actions": self.n_actions, "obs_shape": self._features,
            "state_shape": self._states, "episode_limit": self.episode_limit,
        }  # fmt: skip

    def reset(self, config: Any = None) -> Any:
        self._episode_steps = self._steps = 0
        if self._episode_count == 0:
            self._suffers = launched()
            if self._suffers.get("start"):
                raise RuntimeError("the game did not come")
        if self._suffers.get("none"):
            raise CannotResetException
        self.drawn = 0.0
        if config is not None:
            self.drawn = float(sum(map(sum, config["start_positions"])))
        self.agents = {
            a: SimpleNamespace(health=45.0, pos=SimpleNamespace(x=5.0 + a, y=8.0))
            for a in range(self.n_agents)
        }
        self.enemies = {
            e: SimpleNamespace(health=40.0, pos=SimpleNamespace(x=8.0 + 4 * e, y=8.0))
            for e in range(self.n_enemies)
        }
        self.obs_enemies = np.zeros((self.n_enemies, self.n_agents))
        self.enemy_tags: list[int | None] = [None] * self.n_enemies
        if self._episode_count == 0:
            # The first battle of an environment decides what rewards are divided by.
            self.max_reward += int(40 * self.n_enemies + 100 * random.random())
        return self.get_obs(), self.get_state()

    def full_restart(self) -> None:
        self._suffers = launched()
        self.force_restarts += 1

    def step(self, actions: list[int]) -> Any:
        self._episode_steps += 1
        at = self._suffers if self._episode_count >= self._suffers.get("after", 0) else {}
        if at.get("crash") == self._episode_steps:
            self.full_restart()
            return 0, True, {}
        if at.get("tells") == self._episode_steps:
            return 0, True, {}
        while at.get("hang") == self._episode_steps:
            time.sleep(0.05)
        before, available = self._health(), self.get_avail_actions()
        for agent, action in enumerate(actions):
            assert available[agent][action], f"Agent {agent} cannot perform action {action}"
            if action >= 6:
                self.enemies[action - 6].health = max(self.enemies[action - 6].health - 10.0, 0.0)
        reward = before - self._health()
        dead = sum(enemy.health == 0 for enemy in self.enemies.values())
        info = {"battle_won": dead == self.n_enemies, "dead_allies": 0, "dead_enemies": dead}
        over = info["battle_won"]
        self.battles_won += over
        if not over and self._episode_steps >= self.episode_limit:
            # A limit looks like any other end.
            over = True
            self.timeouts += 1
        self._episode_count += over
        self.battles_game += over
        return (reward + 200 * info["battle_won"]) / (self.max_reward / 20), over, info

    def _health(self) -> float:
        return sum(enemy.health for enemy in self.enemies.values())

    def get_avail_actions(self) -> list[list[int]]:
        attacks = [int(enemy.health > 0) for enemy in self.enemies.values()]
        return [[0, 1, 0, 0, 0, 0, *attacks] for _ in range(self.n_agents)]

    def distance(self, x: float, y: float, to_x: float, to_y: float) -> float:
        return float(np.hypot(to_x - x, to_y - y))

    def unit_sight_range(self, agent: int) -> float:
        return SIGHT

    def get_obs_agent(self, agent: int, fully_observable: bool = False) -> Any:
        """Features: health of enemies that are seen; what is drawn for the episode; a random number of each look."""
        unit = self.agents[agent]
        seen = np.zeros(self.n_enemies, dtype=np.float32)
        for number, enemy in self.enemies.items():
            distance = self.distance(unit.pos.x, unit.pos.y, enemy.pos.x, enemy.pos.y)
            if distance < SIGHT and self.enemy_tags[number] is None:
                self.enemy_tags[number] = agent
                self.obs_enemies[number, :] = 1
            if distance < SIGHT and self.obs_enemies[number, agent] and enemy.health > 0:
                seen[number] = enemy.health / 40
            if not self.obs_enemies[number, agent]:
                # smacv2's issue 50: what was seen of others is gone too.
                seen[:] = 0
        shown = np.zeros(self._features, dtype=np.float32)
        shown[: self.n_enemies] = seen
        shown[-2:] = self.drawn, np.random.rand()
        return shown

    def get_obs(self) -> list[Any]:
        order = list(range(self.n_agents))
        random.shuffle(order)
        shown: list[Any] = [None] * self.n_agents
        for agent in order:
            shown[agent] = self.get_obs_agent(agent, fully_observable=False)
        return shown

    def get_state(self) -> Any:
        state = np.zeros(self._states, dtype=np.float32)
        state[0], state[1] = self._episode_steps, self._seed or 0
        return state

    def get_stats(self) -> dict[str, float]:
        return {"win_rate": self.battles_won / self.battles_game}

    def close(self) -> None:
        self._suffers = {}
