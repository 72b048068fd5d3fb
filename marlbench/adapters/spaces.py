"""What a PettingZoo environment looks like in one shape for all agents; runs in workers, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from marlbench.errors import ConfigurationError


@dataclass(frozen=True)
class Description:
    """Spaces of an environment, brought to one shape.

    Attributes:
        agents: names, in the order of `possible_agents`.
        observation_sizes: numbers in the flattened observation of each agent.
        flat: whether an agent's observation is a vector already.
        types: of each agent; agents with equal spaces are of one type.
        action_counts: discrete actions of each agent; empty where actions are continuous.
        action_starts: the package's number of each agent's first action.
        action_size, low, high: of continuous actions; size 0 where they are discrete.
        state_size: numbers in the package's own state; 0 where it is not used.
        masks: whether an action can be unavailable.
    """

    agents: tuple[str, ...]
    observation_sizes: tuple[int, ...]
    flat: tuple[bool, ...]
    types: tuple[int, ...]
    action_counts: tuple[int, ...]
    action_starts: tuple[int, ...]
    action_size: int
    low: float
    high: float
    state_size: int
    masks: bool

    @property
    def types_are_told(self) -> bool:
        """Whether observations end with a one-hot of the agent's type."""
        return max(self.types) > 0

    @property
    def longest(self) -> int:
        """Numbers in the longest observation, to which the others are padded with zeros."""
        return max(self.observation_sizes)

    @property
    def features(self) -> int:
        """Numbers in a padded observation with the one-hot of the type."""
        return self.longest + (max(self.types) + 1 if self.types_are_told else 0)

    @property
    def actions(self) -> int:
        """Columns of the mask of actions."""
        return max(self.action_counts, default=1)


def describe(
    environment: Any, package: str, environment_state: bool, action_masks: bool | None
) -> Description:
    """Read the spaces, and reset once to see whether actions are masked.

    Raises ConfigurationError that names the agent and the space that cannot be used.
    """
    from gymnasium.spaces import Box, Discrete

    agents = tuple(environment.possible_agents)
    seen = [_observed(environment.observation_space(agent), agent, package) for agent in agents]
    acted = [environment.action_space(agent) for agent in agents]
    counts: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()
    action_size, low, high = 0, 0.0, 0.0
    if all(isinstance(space, Discrete) for space in acted):
        counts = tuple(int(space.n) for space in acted)
        starts = tuple(int(space.start) for space in acted)
    elif all(isinstance(space, Box) for space in acted):
        action_size, low, high = _box_of_actions(agents, acted, package)
    else:
        agent, space = next(
            (pair for pair in zip(agents, acted, strict=True) if not isinstance(pair[1], Discrete | Box)),
            (agents[0], acted[0]),
        )
        others = {type(other).__name__ for other in acted}
        mixed = f", while others have {', '.join(sorted(others))}" if len(others) > 1 else ""
        raise _unusable(package, agent, "action", space, f"all Discrete, or all Box{mixed}")
    kinds = [(space.shape, repr(action)) for space, action in zip(seen, acted, strict=True)]
    distinct = list(dict.fromkeys(kinds))
    masks = action_masks
    if masks is None:
        observations, infos = environment.reset(seed=0)
        masks = any("action_mask" in info for info in infos.values()) or any(
            isinstance(observation, dict) for observation in observations.values()
        )
    return Description(
        agents=agents,
        observation_sizes=tuple(int(np.prod(space.shape)) for space in seen),
        flat=tuple(len(space.shape) == 1 for space in seen),
        types=tuple(distinct.index(kind) for kind in kinds),
        action_counts=counts,
        action_starts=starts,
        action_size=action_size,
        low=low,
        high=high,
        state_size=_state_size(environment, package) if environment_state else 0,
        masks=bool(counts) and (masks or len(set(counts)) > 1),
    )


def _observed(space: Any, agent: str, package: str) -> Any:
    """The Box of an agent's observation, out of a Dict with an action mask where there is one."""
    from gymnasium.spaces import Box, Dict

    inner = space
    if isinstance(space, Dict) and set(space.spaces) == {"observation", "action_mask"}:
        inner = space["observation"]
    if not isinstance(inner, Box):
        raise _unusable(package, agent, "observation", space, "a Box, alone or in a Dict with an action_mask")
    if len(inner.shape) > 2 or (len(inner.shape) == 2 and inner.dtype == np.uint8):
        raise _unusable(package, agent, "observation", space, "not an image")
    return inner


def _box_of_actions(agents: tuple[str, ...], spaces: list[Any], package: str) -> tuple[int, float, float]:
    first = spaces[0]
    for agent, space in zip(agents, spaces, strict=True):
        low, high = float(np.min(space.low)), float(np.max(space.high))
        bounded = np.isfinite(low) and np.isfinite(high)
        uniform = bool(np.all(space.low == low) and np.all(space.high == high))
        if len(space.shape) != 1 or not bounded or not uniform or space != first:
            raise _unusable(
                package, agent, "action", space, "one vector with one finite range for all agents"
            )
    return int(first.shape[0]), float(first.low[0]), float(first.high[0])


def _state_size(environment: Any, package: str) -> int:
    space = getattr(environment, "state_space", None)
    shape = getattr(space, "shape", None)
    if not shape:
        raise ConfigurationError(
            f"{package} has no state of its own.",
            hint="Leave the parameter `state` at `observations`: the observations side by side.",
        )
    return int(np.prod(shape))


def _unusable(package: str, agent: str, kind: str, space: Any, wanted: str) -> ConfigurationError:
    return ConfigurationError(
        f"the {kind} space of {agent} in {package} is {space}; it must be {wanted}.",
        hint="Wrap the environment in a module of your own whose parallel_env has such a space.",
    )
