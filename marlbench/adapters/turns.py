"""A PettingZoo environment whose agents act one after the other (AEC), one turn at a time.

PettingZoo's agent-environment cycle (Terry et al. 2021, "PettingZoo: Gym for Multi-Agent Reinforcement Learning",
section 3) has one agent act, then every agent rewarded; an agent whose game is over takes one more, empty turn.
Here a step is one turn, and the empty turns are taken at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Results = tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]


class Turns:
    """An AEC environment with the calls of a ParallelEnv, of which only `selected` acts.

    Attributes:
        environment: the package's own.
        agents: those whose game goes on.
        selected: whose turn it is; None where the game is over.
    """

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.possible_agents = environment.possible_agents
        self.observation_space = environment.observation_space
        self.action_space = environment.action_space
        self.agents: list[str] = []
        self.selected: str | None = None

    @property
    def state_space(self) -> Any:
        return getattr(self.environment, "state_space", None)

    def state(self) -> Any:
        return self.environment.state()

    def reset(self, seed: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """What every agent sees, and infos."""
        self.environment.reset(seed=seed)
        self._skip_empty_turns()
        return self._seen(), dict(self.environment.infos)

    def step(self, actions: Mapping[str, Any]) -> Results:
        """Take the turn of `selected`; rewards are those that this turn brought to each agent."""
        environment = self.environment
        environment.step(actions[environment.agent_selection])
        rewards, infos = dict(environment.rewards), dict(environment.infos)
        terminations, truncations = dict(environment.terminations), dict(environment.truncations)
        observations = self._seen()
        if self._skip_empty_turns():
            # Whose turn it is has changed, and with it who may do what.
            observations.update(self._seen())
            infos.update(environment.infos)
        return observations, rewards, terminations, truncations, infos

    def render(self) -> Any:
        return self.environment.render()

    def close(self) -> None:
        self.environment.close()

    def _seen(self) -> dict[str, Any]:
        return {agent: self.environment.observe(agent) for agent in self.environment.agents}

    def _skip_empty_turns(self) -> bool:
        environment, skipped = self.environment, False
        while environment.agents and self._over(environment.agent_selection):
            environment.step(None)
            skipped = True
        self.agents = [agent for agent in environment.agents if not self._over(agent)]
        self.selected = environment.agent_selection if self.agents else None
        return skipped

    def _over(self, agent: str) -> bool:
        return bool(self.environment.terminations[agent] or self.environment.truncations[agent])
