"""Small ParallelEnvs that behave as real packages do, and as they should not."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Sequence
from pettingzoo import ParallelEnv


class Counting(ParallelEnv):
    """Observations tell the seed, the step and the agent; rewards tell the actions. Ends after `length` steps."""

    def __init__(self, length: int = 4, agents: int = 2) -> None:
        self.possible_agents = [f"player_{number}" for number in range(agents)]
        self.length = length
        self.render_mode = None
        self.metadata = {"name": "counting_v0"}

    def observation_space(self, agent: str) -> Any:
        return Box(-np.inf, np.inf, (3,), np.float32)

    def action_space(self, agent: str) -> Any:
        return Discrete(3)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.seed, self.time = seed, 0
        self.agents = self.possible_agents[:]
        return self.observations(), {agent: self.info(agent) for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        assert set(actions) == set(self.agents)
        assert all(self.action_space(agent).contains(action) for agent, action in actions.items())
        self.time += 1
        self.happen()
        acted = self.agents
        done = {agent: self.terminated(agent) for agent in acted}
        cut = {agent: self.time >= self.length for agent in acted}
        rewards = {agent: self.reward(actions[agent]) for agent in acted}
        observations = self.observations()
        infos = {agent: self.info(agent) for agent in acted}
        self.agents = [agent for agent in acted if not (done[agent] or cut[agent])]
        return observations, rewards, done, cut, infos

    def number(self, agent: str) -> int:
        return self.possible_agents.index(agent)

    def observations(self) -> dict[str, Any]:
        return {agent: self.observation(agent) for agent in self.agents}

    def observation(self, agent: str) -> Any:
        return np.array([self.seed % 1000, self.time, self.number(agent)], np.float32)

    def reward(self, action: Any) -> float:
        return float(action)

    def terminated(self, agent: str) -> bool:
        return False

    def info(self, agent: str) -> dict[str, Any]:
        return {}

    def happen(self) -> None: ...


class Different(Counting):
    """Agents differ in what they observe and in how many actions they have, counted from one."""

    def observation_space(self, agent: str) -> Any:
        return Box(-1e9, 1e9, (2, 2) if agent == "player_0" else (3,), np.float64)

    def action_space(self, agent: str) -> Any:
        return Discrete(2, start=1) if agent == "player_0" else Discrete(4)

    def observation(self, agent: str) -> Any:
        if agent == "player_0":
            return np.array([[1, 2], [3, self.time]], np.float64)
        return super().observation(agent)


class Leaving(Counting):
    """Agent k terminates at step k + 1; the last one is cut at the end."""

    def terminated(self, agent: str) -> bool:
        number = self.number(agent)
        return number < len(self.possible_agents) - 1 and self.time == number + 1


class Masked(Counting):
    """Action 1 is not available after even steps; told in the infos."""

    def mask(self) -> Any:
        return np.array([1, self.time % 2, 1], np.int8)

    def info(self, agent: str) -> dict[str, Any]:
        return {"action_mask": self.mask()}


class MaskedInObservation(Masked):
    """The same, told in the observations."""

    def observation_space(self, agent: str) -> Any:
        return Dict(
            {"observation": super().observation_space(agent), "action_mask": Box(0, 1, (3,), np.int8)}
        )

    def observation(self, agent: str) -> Any:
        return {"observation": super().observation(agent), "action_mask": self.mask()}

    def info(self, agent: str) -> dict[str, Any]:
        return {}


class MaskedLater(Masked):
    def info(self, agent: str) -> dict[str, Any]:
        return super().info(agent) if self.time else {}


class MaskedForGood(Masked):
    """Nothing is available at step `stuck`."""

    def __init__(self, stuck: int) -> None:
        super().__init__()
        self.stuck = stuck

    def mask(self) -> Any:
        return np.full(3, self.time != self.stuck, np.int8)


class Vanishing(Counting):
    """The first agent is there from the second episode on, and is gone without a word after its second step."""

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        first = not hasattr(self, "seed")
        _, infos = super().reset(seed)
        if first:
            self.agents = self.agents[1:]
        return self.observations(), infos

    def step(self, actions: dict[str, Any]) -> Any:
        results = super().step(actions)
        if self.time == 2:
            self.agents = [agent for agent in self.agents if agent != "player_0"]
        return results


class Joining(Vanishing):
    def step(self, actions: dict[str, Any]) -> Any:
        results = super().step(actions)
        self.agents = self.possible_agents[:]
        return results


class Shapeless(Counting):
    def observation_space(self, agent: str) -> Any:
        raise NotImplementedError("no spaces here")


class ContinuousActions(Counting):
    def action_space(self, agent: str) -> Any:
        return Box(-2.0, 2.0, (2,), np.float32)

    def reward(self, action: Any) -> float:
        return float(action[0] + 10 * action[1])


class Stateful(Counting):
    """Has a state of its own."""

    state_space = Box(-np.inf, np.inf, (2,), np.float32)

    def state(self) -> Any:
        return np.array([self.time, -1], np.float32)


class Raising(Counting):
    def happen(self) -> None:
        if self.time == 2:
            raise ZeroDivisionError("a wheel came off")


class Dying(Counting):
    def happen(self) -> None:
        if self.time == 2:
            os.kill(os.getpid(), signal.SIGKILL)


class Leaping(Counting):
    def happen(self) -> None:
        if self.time == 2:
            sys.stdout.flush()
            os._exit(7)


class Slow(Counting):
    def happen(self) -> None:
        time.sleep(0.2)


class Endless(Counting):
    def __init__(self) -> None:
        super().__init__(length=10**9)


class Drawing(Counting):
    """Not determined by its seed."""

    def observation(self, agent: str) -> Any:
        return np.random.default_rng().random(3).astype(np.float32)


class Image(Counting):
    """Agents see pictures of different sizes; a pixel tells the time, its row, column and channel."""

    def shape(self, agent: str) -> tuple[int, int, int]:
        return (4, 3, 2) if agent == "player_0" else (3, 5, 2)

    def observation_space(self, agent: str) -> Any:
        return Box(0, 250, self.shape(agent), np.uint8)

    def observation(self, agent: str) -> Any:
        return np.indices(self.shape(agent), np.uint8).T.dot([16, 4, 1]).T.astype(np.uint8) + self.time


class Words(Counting):
    """Observations are a number out of five, and two bits."""

    def observation_space(self, agent: str) -> Any:
        return Dict({"bits": MultiBinary(2), "number": Discrete(5)}) if agent == "player_0" else Discrete(5)

    def observation(self, agent: str) -> Any:
        number = self.time % 5
        return {"bits": np.array([1, 0], np.int8), "number": number} if agent == "player_0" else number


class Lists(Counting):
    def observation_space(self, agent: str) -> Any:
        return Sequence(Discrete(2))


class ManyActions(Counting):
    """Actions have parts; the reward tells them."""

    def __init__(self, parts: Any = (2, 3), masked: bool = False) -> None:
        super().__init__()
        self.parts, self.masked = parts, masked

    def action_space(self, agent: str) -> Any:
        return MultiDiscrete(self.parts) if agent == "player_0" else MultiBinary(3)

    def reward(self, action: Any) -> float:
        return float("".join(map(str, action)))

    def info(self, agent: str) -> dict[str, Any]:
        if not self.masked:
            return {}
        parts = self.parts if agent == "player_0" else [2, 2, 2]
        return {"action_mask": tuple(np.arange(part) != 1 for part in parts)}


class MixedActions(Counting):
    def action_space(self, agent: str) -> Any:
        return Discrete(2) if agent == "player_0" else Box(-1, 1, (2,), np.float32)


class UnboundedActions(Counting):
    def action_space(self, agent: str) -> Any:
        return Box(-np.inf, 1, (2,), np.float32)


class UnevenActions(Counting):
    """Agents differ in size and bounds of their actions, which rewards tell."""

    def action_space(self, agent: str) -> Any:
        if agent == "player_0":
            return Box(np.array([-1, 0], np.float32), np.array([1, 10], np.float32))
        return Box(-3, 5, (3, 1), np.float64)

    def reward(self, action: Any) -> float:
        return float(np.ravel(action) @ [1, 100, 10000][: action.size])


class Hanging(Counting):
    def happen(self) -> None:
        if self.time == 2:
            time.sleep(600)


class Drawn(Counting):
    """Its picture tells the seed and the time; it is drawn only where that was asked for when it was built."""

    def __init__(self, render_mode: str | None = None, differs: bool = False) -> None:
        super().__init__()
        self.render_mode, self.differs = render_mode, differs

    def observation(self, agent: str) -> Any:
        return super().observation(agent) + (self.differs and self.render_mode is not None)

    def render(self) -> Any:
        if self.render_mode is None:
            return None
        return np.full((4, 6, 3), [self.seed % 100, self.time, 7], np.uint8)


def parallel_env(kind: str = "Counting", **arguments: Any) -> Any:
    return globals()[kind](**arguments)
