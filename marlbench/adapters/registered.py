"""Environments of several agents in gymnasium's registry: tuples of spaces, lists of actions, one `done`.

Level-based foraging and the robotic warehouse (Papoudakis et al. 2021, "Benchmarking Multi-Agent Deep Reinforcement
Learning Algorithms in Cooperative Tasks") have this form.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from marlbench.errors import ConfigurationError, did_you_mean


def build_registered(name: str, kwargs: Mapping[str, Any]) -> Together:
    """`gymnasium.make(name, **kwargs)`; raises ConfigurationError where there is no such environment."""
    import gymnasium

    if name not in gymnasium.registry:
        family = name.partition("-")[0].lower()
        known = [other for other in gymnasium.registry if other.lower().startswith(family)]
        raise ConfigurationError(f"no environment is registered as '{name}'.", did_you_mean(name, known))
    try:
        environment = gymnasium.make(name, disable_env_checker=True, **_enumerated(kwargs))
    except ConfigurationError:
        raise
    except Exception as error:
        given = "".join(f", {key}={value!r}" for key, value in kwargs.items())
        raise ConfigurationError(
            f"gymnasium.make('{name}'{given}) failed: {type(error).__name__}: {error}",
            hint="`kwargs` of the task are the environment's arguments.",
        ) from error
    if not hasattr(environment.action_space, "spaces") or not hasattr(
        environment.observation_space, "spaces"
    ):
        raise ConfigurationError(
            f"'{name}' is not an environment of several agents: its spaces are {environment.observation_space} "
            f"and {environment.action_space}.",
            hint="Observations and actions must be tuples with a space for each agent.",
        )
    return Together(environment)


def _enumerated(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The robotic warehouse takes members of its enumerations; a suite file names them."""
    from importlib import import_module

    values = dict(kwargs)
    for key, enumeration in (("reward_type", "RewardType"), ("observation_type", "ObservationType")):
        if isinstance(values.get(key), str):
            members: type[Enum] = getattr(import_module("rware.warehouse"), enumeration)
            if values[key] not in members.__members__:
                raise ConfigurationError(
                    f"{key} is {values[key]!r}.", hint=did_you_mean(values[key], list(members.__members__))
                )
            values[key] = members[values[key]]
    return values


class Together:
    """Such an environment with the calls of a ParallelEnv: all agents act, and stop together.

    These packages call it done when their own time limit is reached; here that is told as truncation.
    """

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self._seen, self._acted = environment.observation_space.spaces, environment.action_space.spaces
        self.possible_agents = [f"agent_{number}" for number in range(len(self._acted))]
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        return self._seen[self.possible_agents.index(agent)]

    def action_space(self, agent: str) -> Any:
        return self._acted[self.possible_agents.index(agent)]

    def reset(self, seed: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        # Level-based foraging places nobody where someone stood when the last episode ended; without this, an episode
        # would not follow from its seed.
        for player in getattr(self.environment.unwrapped, "players", ()):
            player.position = None
        observations, _ = self.environment.reset(seed=seed)
        self.agents = self.possible_agents[:]
        return dict(zip(self.agents, observations, strict=True)), {}

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        names = self.possible_agents
        observations, rewards, done, cut, _ = self.environment.step([actions[name] for name in names])
        if done and _out_of_time(self.environment.unwrapped):
            done, cut = False, True
        if done or cut:
            self.agents = []
        return (
            dict(zip(names, observations, strict=True)),
            dict(zip(names, rewards, strict=True)),
            dict.fromkeys(names, done),
            dict.fromkeys(names, cut),
            {},
        )

    def render(self) -> Any:
        # Both packages draw into an array where the argument says so, whatever their render_mode.
        return self.environment.unwrapped.render(mode="rgb_array")

    def close(self) -> None:
        self.environment.close()


def _out_of_time(inner: Any) -> bool:
    """Whether an episode ended by the clock, in the terms of the two packages."""
    field = getattr(inner, "field", None)
    if field is not None:
        return bool(field.sum() > 0)
    return hasattr(inner, "max_inactivity_steps")
