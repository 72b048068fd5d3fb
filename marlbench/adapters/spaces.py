"""What an environment of another library looks like in one shape for all agents; runs in workers, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from marlbench.adapters.codecs import (
    MOST_ACTIONS,
    Axis,
    Image,
    Range,
    channels_first,
    counts_of,
    image_shape,
    is_image,
    parts,
    range_of,
    size_of,
)
from marlbench.adapters.games import Rules
from marlbench.adapters.turns import Turns
from marlbench.errors import ConfigurationError


@dataclass(frozen=True)
class Description:
    """Spaces of an environment, brought to one shape.

    Attributes:
        agents: names, in the order of `possible_agents`.
        observation_sizes: numbers in the flattened observation of each agent.
        image: (channels, height, width) where observations are images, padded to the largest; None of vectors.
        beside: numbers in the vector beside an image; 0 where there is none.
        channels: which axis of the package's images tells their channels.
        types: of each agent; agents with equal spaces are of one type.
        action_counts: discrete actions of each agent; empty where actions are continuous.
        actions_range: of continuous actions; None where they are discrete.
        state_size: numbers in the package's own state; 0 where it is not used.
        masks: whether an action can be unavailable.
        turns: whether agents act one after the other.
        metrics: names of the measures that a row tells at the end of an episode.
        occupants: whether rows tell that a slot got another occupant.
        drops: whether rows tell that an episode was lost, see `Step.dropped`.
        kept: numbers that a row keeps from episode to episode; they are saved with the environment.
        names: of the features, without the one-hot of the type; () where there are none.
        built_in: players that come with the task, see `EnvironmentSpecification`.
        entities: seen, features and total of `contract.Entities`, where observations are made of such and rows tell
            whom they show; None elsewhere.
    """

    agents: tuple[str, ...]
    observation_sizes: tuple[int, ...]
    image: Image | None
    beside: int
    channels: Axis
    types: tuple[int, ...]
    action_counts: tuple[int, ...]
    actions_range: Range | None
    state_size: int
    masks: bool
    turns: bool
    metrics: tuple[str, ...] = ()
    occupants: bool = False
    drops: bool = False
    kept: int = 0
    names: tuple[str, ...] = ()
    built_in: dict[str, tuple[str, ...]] | None = None
    entities: tuple[int, tuple[str, ...], int] | None = None

    @property
    def types_are_told(self) -> bool:
        """Whether observations end with a one-hot of the agent's type."""
        return max(self.types) > 0

    @property
    def longest(self) -> int:
        """Numbers in the longest observation, to which the others are padded with zeros."""
        return max(self.observation_sizes) if self.image is None else int(np.prod(self.image)) + self.beside

    @property
    def features(self) -> int:
        """Numbers in a padded observation with the one-hot of the type."""
        return self.longest + (max(self.types) + 1 if self.types_are_told else 0)

    @property
    def actions(self) -> int:
        """Columns of the mask of actions."""
        return max(self.action_counts, default=1)


def describe(environment: Any, rules: Rules) -> Description:
    """Read the spaces, and reset once to see whether actions are masked.

    Raises ConfigurationError that names the agent and the space that cannot be used.
    """
    from gymnasium.spaces import Box

    agents = tuple(environment.possible_agents)
    seen = [_observed(environment.observation_space(agent), agent, rules.name) for agent in agents]
    acted = [environment.action_space(agent) for agent in agents]
    counts, common = _acted(agents, acted, rules.name)
    image: Image | None = None
    split = [parts(space) for space in seen]
    pictures = [space if both is None else both[0] for space, both in zip(seen, split, strict=True)]
    beside = max(0 if both is None else size_of(both[1]) or 0 for both in split)
    solid = [space.shape for space in pictures if len(space.shape or ()) == 3]
    channels: Axis = rules.channels or ("first" if solid and channels_first(solid) else "last")
    if all(is_image(space) for space in pictures):
        most = np.max([image_shape(space, channels) for space in pictures], 0)
        image = (int(most[0]), int(most[1]), int(most[2]))
    kinds = [
        (space.shape if isinstance(space, Box) else repr(space), repr(action))
        for space, action in zip(seen, acted, strict=True)
    ]
    distinct = list(dict.fromkeys(kinds))
    masks = rules.action_masks
    if masks is None:
        observations, infos = environment.reset(seed=0)
        masks = any("action_mask" in info for info in infos.values()) or any(
            isinstance(observation, dict) and "action_mask" in observation
            for observation in observations.values()
        )
    return Description(
        agents=agents,
        observation_sizes=tuple(size_of(space) or 0 for space in seen),
        image=image,
        beside=beside,
        channels=channels,
        types=tuple(distinct.index(kind) for kind in kinds),
        action_counts=counts,
        actions_range=common,
        state_size=_state_size(environment, rules.name) if rules.environment_state else 0,
        masks=bool(counts) and (masks or len(set(counts)) > 1),
        turns=isinstance(environment, Turns),
    )


def seen_space(space: Any) -> Any:
    """The space of what an agent observes, out of a Dict with an action mask where there is one."""
    from gymnasium.spaces import Dict

    masked = isinstance(space, Dict) and set(space.spaces) == {"observation", "action_mask"}
    return space["observation"] if masked else space


def _observed(space: Any, agent: str, name: str) -> Any:
    inner = seen_space(space)
    if size_of(inner) is None:
        raise _unusable(
            name, agent, "observation", space, "of a fixed size: Box, Discrete, or a Dict of them"
        )
    return inner


def _acted(agents: tuple[str, ...], spaces: list[Any], name: str) -> tuple[tuple[int, ...], Range | None]:
    """Numbers of discrete actions, or the common range of continuous ones."""
    from gymnasium.spaces import Box

    counts = [counts_of(space) for space in spaces]
    if all(count is not None for count in counts):
        totals = tuple(int(np.prod(count, dtype=np.float64)) for count in counts if count is not None)
        for agent, space, total in zip(agents, spaces, totals, strict=True):
            if total > MOST_ACTIONS:
                wanted = f"at most {MOST_ACTIONS} actions when its parts are enumerated; these are {total}"
                raise _unusable(name, agent, "action", space, wanted)
        return totals, None
    if all(isinstance(space, Box) for space in spaces):
        for agent, space in zip(agents, spaces, strict=True):
            if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
                raise _unusable(name, agent, "action", space, "finite in its bounds")
        return (), range_of(spaces)
    agent, space = next(
        (
            (agent, space)
            for agent, space, count in zip(agents, spaces, counts, strict=True)
            if count is None and not isinstance(space, Box)
        ),
        (agents[0], spaces[0]),
    )
    others = {type(other).__name__ for other in spaces}
    mixed = f", while others have {', '.join(sorted(others))}" if len(others) > 1 else ""
    raise _unusable(name, agent, "action", space, f"discrete for all agents, or Box for all{mixed}")


def _state_size(environment: Any, name: str) -> int:
    space = getattr(environment, "state_space", None)
    shape = getattr(space, "shape", None)
    if not shape:
        raise ConfigurationError(
            f"{name} has no state of its own.",
            hint="Leave the parameter `state` at `observations`: the observations side by side.",
        )
    return int(np.prod(shape))


def _unusable(name: str, agent: str, kind: str, space: Any, wanted: str) -> ConfigurationError:
    return ConfigurationError(
        f"the {kind} space of {agent} in {name} is {space}; it must be {wanted}.",
        hint="Wrap the environment in a module of your own whose parallel_env has such a space.",
    )
