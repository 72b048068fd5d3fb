"""Substrates: pictures that tell the seed, the step and the player; rewards that tell the actions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

SUBSTRATES = frozenset({"small_pond", "small_pond__ending", "blind"})


def get_config(name: str) -> Any:
    return SimpleNamespace(default_player_roles=("default",) * 3, valid_roles=frozenset({"default", "tall"}))


def build(name: str, *, roles: Sequence[str]) -> Substrate:
    if not set(roles) <= {"default", "tall"}:
        raise ValueError(f"\n\x1b[0;31mroles {roles} are not those of {name}")
    return Substrate(name, list(roles))


class Substrate(dm_env.Environment):
    """Ends after four steps: for good where its name says so, else by the clock."""

    def __init__(self, name: str, roles: list[str]) -> None:
        self.name, self.roles = name, roles
        # As Melting Pot does: the seed comes from Python's generator.
        self.seed = random.randint(1, 255)
        self.time = 0
        self.closed = False

    def observation_spec(self) -> Any:
        seen = {
            "RGB": specs.Array((8, 8, 3), np.uint8, "RGB"),
            "READY_TO_SHOOT": specs.Array((), np.float64, "READY_TO_SHOOT"),
            "INVENTORY": specs.Array((2,), np.float64, "INVENTORY"),
            "COLLECTIVE_REWARD": specs.Array((), np.float64, "COLLECTIVE_REWARD"),
            "TEXT": specs.Array((), object, "TEXT"),
            "WORLD.RGB": specs.Array((16, 24, 3), np.uint8, "WORLD.RGB"),
        }
        if self.name == "blind":
            del seen["RGB"]
        return [dict(seen) for _ in self.roles]

    def action_spec(self) -> Any:
        return [specs.DiscreteArray(5, name="action") for _ in self.roles]

    def reward_spec(self) -> Any:
        return [specs.Array((), np.float64, "REWARD") for _ in self.roles]

    def _observation(self) -> Any:
        observations = []
        for player in range(len(self.roles)):
            picture = np.zeros((8, 8, 3), np.uint8)
            picture[0, 0] = (self.seed, self.time, player)
            picture[4:, 4:, 1] = 200
            observations.append(
                {
                    "RGB": picture,
                    "READY_TO_SHOOT": np.float64(1 / (1 + self.time)),
                    "INVENTORY": np.array([player, self.time], np.float64),
                    "COLLECTIVE_REWARD": np.float64(0),
                    "TEXT": "nothing",
                    "WORLD.RGB": np.full((16, 24, 3), self.time, np.uint8),
                }
            )
        return observations

    def reset(self) -> Any:
        self.time = 0
        zeros = [np.float64(0)] * len(self.roles)
        return dm_env.TimeStep(dm_env.StepType.FIRST, zeros, 0.0, self._observation())

    def step(self, action: Any) -> Any:
        assert len(action) == len(self.roles)
        assert all(0 <= one < 5 for one in action)
        self.time += 1
        rewards = [
            np.float64(one + 10 * (role == "tall")) for one, role in zip(action, self.roles, strict=True)
        ]
        over = self.time == 4
        kind = dm_env.StepType.LAST if over else dm_env.StepType.MID
        discount = 0.0 if over and self.name.endswith("ending") else 1.0
        return dm_env.TimeStep(kind, rewards, discount, self._observation())

    def close(self) -> None:
        assert not self.closed
        self.closed = True
