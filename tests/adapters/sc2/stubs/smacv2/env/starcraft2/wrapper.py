"""smacv2's wrapper: it draws teams and places from generators that nobody can seed, and retries without a word."""

from __future__ import annotations

from typing import Any

import numpy as np
from battles import Battle, CannotResetException


class Inside:
    def __init__(self, units: int) -> None:
        self.units, self.rng = units, np.random.default_rng()

    def generate(self) -> Any:
        return self.rng.uniform(size=(self.units, 2))


class Places:
    """A distribution that holds another."""

    def __init__(self, config: dict[str, Any]) -> None:
        config["env_key"] = "start_positions"
        self.inside, self.rng = Inside(config["n_units"]), np.random.default_rng()

    def generate(self) -> dict[str, Any]:
        return {"start_positions": self.inside.generate() * self.rng.random()}


class StarCraftCapabilityEnvWrapper:
    def __init__(self, **kwargs: Any) -> None:
        config = kwargs["capability_config"]
        assert "n_units" not in config["start_positions"], "the arguments were used before"
        config["start_positions"]["n_units"] = agents = config["n_units"]
        self.env_key_to_distribution_map = {"start_positions": Places(config["start_positions"])}
        enemies, shield = config["n_enemies"], int("protoss" in kwargs["map_name"])
        features = 4 + enemies * (8 + shield) + (agents - 1) * (8 + shield) + 6 + shield
        actions = 6 + enemies
        state = agents * (7 + shield) + enemies * (6 + shield) + agents * actions
        self.env = Battle(agents, enemies, 200, features, state)

    def reset(self) -> Any:
        try:
            config: dict[str, Any] = {}
            for distribution in self.env_key_to_distribution_map.values():
                config.update(distribution.generate())
            return self.env.reset(config)
        except CannotResetException:
            self.env._suffers = {}
            self.reset()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def step(self, actions: list[int]) -> Any:
        return self.env.step(actions)

    def seed(self) -> None:
        raise TypeError("'int' object is not callable")
