"""Environments of several players on the dm_env contract, with the calls of PettingZoo's ParallelEnv.

Melting Pot's substrates and scenarios are such: a time step holds a list of rewards and a list of observations by name,
one for each player, and actions are a list. The levels of dmlab2d hold all players in one dictionary, under names such
as `1.RGB` and `1.move`; `Lab2dPlayers` takes them apart. This module runs in worker processes, without torch.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlbench.errors import ConfigurationError, did_you_mean

# What Melting Pot lets players see in its tests, besides their picture.
_PERMITTED = ("HUNGER", "INVENTORY", "MY_OFFER", "OFFERS", "READY_TO_SHOOT", "STAMINA", "VOTING")
_PICTURE = "RGB"
_WORLD = "WORLD.RGB"


class Players:
    """A ParallelEnv over a dm_env environment of several players; all act together and stop together.

    Args:
        make: builds the environment, from a seed where it takes one. It is built anew for every episode, because an
            episode follows from the seed only then.
        observations: names of the numbers that players see besides the picture `RGB`; None for those that Melting Pot
            permits in its tests and that the environment has.
        scale: the side of the squares of pixels that are averaged into one.

    An episode whose last discount is 0 is terminated, otherwise it is truncated, which is dm_env's convention.
    """

    def __init__(
        self, name: str, make: Callable[[int], Any], observations: Sequence[str] | None = None, scale: int = 1
    ) -> None:
        self.name, self._make, self.scale = name, make, scale
        self._environment = self._built(0)
        self._used = False
        specs = self._environment.observation_spec()
        self.possible_agents = [f"player_{number}" for number in range(len(specs))]
        self.agents: list[str] = []
        self._names = self._chosen(specs[0], observations)
        self._seen = [self._space_of(spec) for spec in specs]
        self._acted = [_action_space(spec) for spec in self._environment.action_spec()]
        self._shown: Any = None

    def _built(self, seed: int) -> Any:
        # Melting Pot draws a substrate's seed from Python's global generator when it is built.
        before = random.getstate()
        random.seed(seed)
        try:
            return self._make(seed)
        finally:
            random.setstate(before)

    def _chosen(self, spec: Mapping[str, Any], wanted: Sequence[str] | None) -> list[str]:
        usable = [name for name, one in spec.items() if name != _PICTURE and _is_numbers(one)]
        if wanted is None:
            return [name for name in _PERMITTED if name in usable]
        for name in wanted:
            if name not in usable:
                raise ConfigurationError(
                    f"players of {self.name} do not observe '{name}'.",
                    hint=did_you_mean(name, usable) or f"They observe {', '.join(usable) or 'nothing else'}.",
                )
        return list(wanted)

    def _space_of(self, spec: Mapping[str, Any]) -> Any:
        from gymnasium.spaces import Box, Dict

        if _PICTURE not in spec:
            raise ConfigurationError(
                f"players of {self.name} see no picture '{_PICTURE}'.", hint=f"They see {', '.join(spec)}."
            )
        height, width, channels = spec[_PICTURE].shape
        if height % self.scale or width % self.scale:
            raise ConfigurationError(
                f"pictures of {self.name} are {height} x {width}; scale is {self.scale}.",
                hint="Choose a scale that divides both sides.",
            )
        image = Box(0, 255, (height // self.scale, width // self.scale, channels), np.uint8)
        numbers = sum(int(np.prod(spec[name].shape)) for name in self._names)
        if not numbers:
            return image
        return Dict({"image": image, "vector": Box(-np.inf, np.inf, (numbers,), np.float32)})

    def observation_space(self, agent: str) -> Any:
        return self._seen[self.possible_agents.index(agent)]

    def action_space(self, agent: str) -> Any:
        return self._acted[self.possible_agents.index(agent)][0]

    def reset(self, seed: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        if self._used or seed:
            self._environment.close()
            self._environment = self._built(seed or 0)
        self._used = True
        self.agents = self.possible_agents[:]
        return self._observed(self._environment.reset()), {}

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        names = self.possible_agents
        taken = [made(actions[name]) for name, (_, made) in zip(names, self._acted, strict=True)]
        timestep = self._environment.step(taken)
        over = bool(timestep.last())
        terminated = over and not float(np.max(timestep.discount))
        observations = self._observed(timestep)
        if over:
            self.agents = []
        return (
            observations,
            {name: float(reward) for name, reward in zip(names, timestep.reward, strict=True)},
            dict.fromkeys(names, terminated),
            dict.fromkeys(names, over and not terminated),
            {},
        )

    def _observed(self, timestep: Any) -> dict[str, Any]:
        self._shown = timestep.observation
        observed: dict[str, Any] = {}
        for name, one in zip(self.possible_agents, timestep.observation, strict=True):
            image = self._scaled(np.asarray(one[_PICTURE]))
            if not self._names:
                observed[name] = image
                continue
            vector = np.concatenate([np.ravel(one[key]).astype(np.float32) for key in self._names])
            observed[name] = {"image": image, "vector": vector}
        return observed

    def _scaled(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        if self.scale == 1:
            return image
        height, width, channels = image.shape
        squares = image.reshape(height // self.scale, self.scale, width // self.scale, self.scale, channels)
        return squares.mean((1, 3), dtype=np.float32)

    def render(self) -> NDArray[np.uint8]:
        """The picture of the whole world where there is one, else the players' pictures side by side."""
        first = self._shown[0]
        if _WORLD in first:
            return np.asarray(first[_WORLD])
        return np.concatenate([np.asarray(one[_PICTURE]) for one in self._shown], 1)

    def close(self) -> None:
        self._environment.close()


def _is_numbers(spec: Any) -> bool:
    return np.issubdtype(spec.dtype, np.number) and not spec.name.endswith(_WORLD)


def _action_space(spec: Any) -> tuple[Any, Callable[[Any], Any]]:
    """gymnasium's space of one player's actions, and what makes its actions the environment's."""
    from gymnasium.spaces import Discrete, MultiDiscrete

    if isinstance(spec, Mapping):
        lowest = {name: int(part.minimum) for name, part in spec.items()}
        counts = [int(part.maximum) - lowest[name] + 1 for name, part in spec.items()]

        def parts(action: Any) -> dict[str, int]:
            return {name: int(one) + low for one, (name, low) in zip(action, lowest.items(), strict=True)}

        return MultiDiscrete(counts), parts
    start = int(spec.minimum)
    return Discrete(int(spec.maximum) - start + 1), lambda action: int(action) + start


class Lab2dPlayers:
    """A level of dmlab2d with a list for its players in place of names with their numbers."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        names = environment.action_spec()
        self._count = max(int(name.partition(".")[0]) for name in names)

    def _apart(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Of each player, what is under its number, and what is nobody's."""
        common = {name: value for name, value in values.items() if not name.partition(".")[0].isdigit()}
        players: list[dict[str, Any]] = [dict(common) for _ in range(self._count)]
        for name, value in values.items():
            number, _, inner = name.partition(".")
            if number.isdigit():
                players[int(number) - 1][inner] = value
        return players

    def observation_spec(self) -> list[dict[str, Any]]:
        return self._apart(self._environment.observation_spec())

    def action_spec(self) -> list[dict[str, Any]]:
        return self._apart(self._environment.action_spec())

    def reset(self) -> Any:
        return self._told(self._environment.reset())

    def step(self, actions: Sequence[Mapping[str, int]]) -> Any:
        joined = {
            f"{number}.{name}": value
            for number, action in enumerate(actions, 1)
            for name, value in action.items()
        }
        return self._told(self._environment.step(joined))

    def _told(self, timestep: Any) -> Any:
        players = self._apart(timestep.observation)
        return timestep._replace(observation=players, reward=[one["REWARD"] for one in players])

    def close(self) -> None:
        self._environment.close()


def build_melting_pot(name: str, kwargs: Mapping[str, Any]) -> Players:
    """A substrate or a scenario of Melting Pot by its name; raises ConfigurationError where there is none."""
    from meltingpot import scenario, substrate

    given = dict(kwargs)
    seen: dict[str, Any] = {key: given.pop(key) for key in ("observations", "scale") if key in given}
    if name in substrate.SUBSTRATES:
        roles = given.pop("roles", None) or substrate.get_config(name).default_player_roles
        return _tried(name, lambda seed: substrate.build(name, roles=list(roles), **given), seen)
    if name in scenario.SCENARIOS:
        return _tried(name, lambda seed: scenario.build(name, **given), seen)
    known = [*substrate.SUBSTRATES, *scenario.SCENARIOS]
    raise ConfigurationError(
        f"Melting Pot has no substrate or scenario '{name}'.", hint=did_you_mean(name, known)
    )


def build_lab2d(name: str, kwargs: Mapping[str, Any]) -> Players:
    """A level of dmlab2d by its name; `kwargs` are the level's settings, such as `numPlayers`."""
    import dmlab2d
    from dmlab2d import runfiles_helper

    given = dict(kwargs)
    seen: dict[str, Any] = {key: given.pop(key) for key in ("observations", "scale") if key in given}
    settings = {key: str(value) for key, value in given.items()} | {"levelName": name}

    def make(seed: int) -> Lab2dPlayers:
        raw = dmlab2d.Lab2d(runfiles_helper.find(), settings)
        return Lab2dPlayers(dmlab2d.Environment(raw, raw.observation_names(), seed))

    return _tried(name, make, seen)


def _tried(name: str, make: Callable[[int], Any], seen: Mapping[str, Any]) -> Players:
    try:
        return Players(name, make, **seen)
    except ConfigurationError:
        raise
    except Exception as error:
        # dmlab2d colours its messages and begins them with an empty line.
        reason = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().partition("\n")[0][:300]
        raise ConfigurationError(
            f"'{name}' could not be built: {type(error).__name__}: {reason}",
            hint="`kwargs` of the task are the arguments of what builds it; see docs/environments.md.",
        ) from error
