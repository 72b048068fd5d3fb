"""A small game in turns: whoever says a number that was said is out; the last one in takes the pot."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from pettingzoo import AECEnv


class Numbers(AECEnv):
    metadata = {"name": "numbers_v0"}  # noqa: RUF012
    render_mode = None

    def __init__(self, players: int = 3) -> None:
        super().__init__()
        self.possible_agents = [f"player_{number}" for number in range(players)]

    def observation_space(self, agent: str) -> Any:
        return Dict({"observation": Box(0, 1, (6,), np.float32), "action_mask": Box(0, 1, (5,), np.int8)})

    def action_space(self, agent: str) -> Any:
        return Discrete(5)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        self.agents = self.possible_agents[:]
        self.said = np.zeros(5, np.float32)
        self.said[(seed or 0) % 5] = 1
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}
        self.agent_selection = self.agents[0]

    def observe(self, agent: str) -> Any:
        own = float(self.possible_agents.index(agent))
        # Number 0 may never be said, and only who has the turn may say anything.
        mask = np.array([0, 1, 1, 1, 1], np.int8) * (agent == self.agent_selection)
        return {"observation": np.append(self.said, own).astype(np.float32), "action_mask": mask}

    def step(self, action: Any) -> None:
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        order = self.agents
        following = order[(order.index(agent) + 1) % len(order)]
        self._cumulative_rewards[agent] = 0
        self._clear_rewards()
        if self.said[action]:
            self.rewards = {other: -2.0 if other == agent else 1.0 for other in order}
            self.terminations[agent] = True
            left = [other for other in order if not self.terminations[other]]
            if len(left) == 1:
                self.rewards[left[0]] += 10
                self.terminations[left[0]] = True
        self.said[action] = 1
        self.agent_selection = following
        self._accumulate_rewards()
        self._deads_step_first()


def env(**arguments: Any) -> Any:
    return Numbers(**arguments)
