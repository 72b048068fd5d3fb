"""One agent's observations into numbers, and numbers into its actions; runs in workers, without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Image = tuple[int, int, int]
Axis = Literal["first", "last"]

# Enumerated actions are outputs of a network and columns of a mask.
MOST_ACTIONS = 4096


# --- observations


def channels_first(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether shapes of three axes are [channel, height, width]; otherwise they are [height, width, channel].

    The channels of a shape are the axis that is unlike two equal ones, else the shorter of the first and the last
    one. Where that is not the first axis of every shape, it is the last one, as is usual in gymnasium.
    """

    def is_first(shape: tuple[int, ...]) -> bool:
        first, middle, last = shape
        return middle == last if (first == middle) != (middle == last) else first < last

    return all(is_first(shape) for shape in shapes)


def is_image(space: Any) -> bool:
    """Whether an observation is an image: a Box with three axes, or two of bytes."""
    from gymnasium.spaces import Box

    if not isinstance(space, Box):
        return False
    return len(space.shape) == 3 or (len(space.shape) == 2 and space.dtype == np.uint8)


def parts(space: Any) -> tuple[Any, Any] | None:
    """The spaces of the image and of the vector of a Dict that has just these two; None of all others."""
    from gymnasium.spaces import Dict

    if not isinstance(space, Dict) or set(space.spaces) != {"image", "vector"}:
        return None
    image, vector = space["image"], space["vector"]
    return (image, vector) if is_image(image) and size_of(vector) is not None else None


def image_shape(space: Any, axis: Axis) -> Image:
    """(channels, height, width) of an image."""
    if len(space.shape) == 2:
        return (1, int(space.shape[0]), int(space.shape[1]))
    first, middle, last = (int(side) for side in space.shape)
    return (first, middle, last) if axis == "first" else (last, first, middle)


def size_of(space: Any) -> int | None:
    """Numbers in a flattened observation, one for each category of what is discrete; None where it has no size."""
    from gymnasium.spaces import Box
    from gymnasium.spaces.utils import flatdim

    if isinstance(space, Box):
        return int(np.prod(space.shape))
    try:
        return int(flatdim(space)) if space.is_np_flattenable else None
    except (NotImplementedError, ValueError):
        return None


def writer(space: Any, target: NDArray[np.float32], image: Image | None, axis: Axis) -> Callable[[Any], None]:
    """What writes an observation of a space into an agent's features.

    Args:
        target: float32 [features], zero where nothing is written.
        image: (channels, height, width) that all agents' images are padded to, at their lower right; a vector beside
            the image follows it. None where observations are vectors.
        axis: which axis of three tells the channels.
    """
    from gymnasium.spaces import Box
    from gymnasium.spaces.utils import flatten

    both = parts(space)
    if image is not None and both is not None:
        end = int(np.prod(image))
        write_image = writer(both[0], target, image, axis)
        write_vector = writer(both[1], target[end:], None, axis)

        def write_both(observation: Any) -> None:
            write_image(observation["image"])
            write_vector(observation["vector"])

        return write_both
    if image is not None:
        own = image_shape(space, axis)
        pixels = target[: int(np.prod(image))].reshape(image)[tuple(slice(side) for side in own)]
        return _image_writer(space, pixels, axis)
    size = size_of(space)
    assert size is not None
    view = target[:size]
    vector = isinstance(space, Box) and len(space.shape) == 1

    def write(observation: Any) -> None:
        numbers: Any = observation if vector else flatten(space, observation)
        view[:] = numbers

    return write


def _image_writer(space: Any, pixels: NDArray[np.float32], axis: Axis) -> Callable[[Any], None]:
    """Writes [channel, height, width], scaled to [0, 1] where the space has finite bounds."""
    low, high = float(np.min(space.low)), float(np.max(space.high))
    scaled = bool(np.isfinite(low) and np.isfinite(high) and high > low and (low, high) != (0.0, 1.0))
    shift, width = np.float32(low), np.float32(high - low)
    flat, last = len(space.shape) == 2, axis == "last"

    def write(observation: Any) -> None:
        if flat:
            observation = observation[None]
        elif last:
            observation = np.transpose(observation, (2, 0, 1))
        pixels[...] = observation
        if scaled:
            np.subtract(pixels, shift, out=pixels)
            np.divide(pixels, width, out=pixels)

    return write


# --- actions


@dataclass(frozen=True)
class Range:
    """How continuous actions of different agents are told in one space.

    Attributes:
        size: numbers of the longest action; shorter ones ignore the rest.
        low, high: of each number. Where agents or numbers differ in their bounds it is -1 and 1, which stand
            for the bounds.
        rescaled: whether they do.
    """

    size: int
    low: float
    high: float
    rescaled: bool


def counts_of(space: Any) -> tuple[int, ...] | None:
    """Choices in each part of a discrete action; None of other spaces."""
    from gymnasium.spaces import Discrete, MultiBinary, MultiDiscrete

    if isinstance(space, Discrete):
        return (int(space.n),)
    if isinstance(space, MultiDiscrete):
        return tuple(int(count) for count in np.ravel(space.nvec))
    if isinstance(space, MultiBinary):
        return (2,) * int(np.prod(space.shape))
    return None


def range_of(spaces: list[Any]) -> Range:
    """One space for Box actions of all agents; their bounds must be finite."""
    lows = np.concatenate([np.ravel(space.low) for space in spaces])
    highs = np.concatenate([np.ravel(space.high) for space in spaces])
    alike = bool((lows == lows[0]).all() and (highs == highs[0]).all())
    size = max(int(np.prod(space.shape)) for space in spaces)
    return Range(size, float(lows[0]), float(highs[0]), False) if alike else Range(size, -1.0, 1.0, True)


def chooser(space: Any) -> Callable[[int], Any]:
    """What makes the package's action of the number of a choice; parts are enumerated, the last one fastest.

    Raises ValueError of a number that does not exist.
    """
    from gymnasium.spaces import Discrete

    counts = counts_of(space)
    assert counts is not None
    total = int(np.prod(counts))
    if isinstance(space, Discrete):
        start = int(space.start)
        made: list[Any] = [start + index for index in range(total)]
    else:
        parts = np.stack(np.unravel_index(np.arange(total), counts), 1)
        starts = np.ravel(getattr(space, "start", 0))
        made = list((parts + starts).reshape(total, *space.shape).astype(space.dtype))

    def choose(index: int) -> Any:
        if not 0 <= index < total:
            raise ValueError(f"action {index} does not exist")
        return made[index]

    return choose


def mover(space: Any, common: Range) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    """What makes the package's Box action of the numbers of the common space: float32 [common.size]."""
    size, shape, kind = int(np.prod(space.shape)), space.shape, space.dtype
    if not common.rescaled:
        return lambda numbers: numbers[:size].astype(kind).reshape(shape)
    low, high = np.float64(np.ravel(space.low)), np.float64(np.ravel(space.high))

    def move(numbers: NDArray[np.float32]) -> NDArray[Any]:
        share = (numbers[:size].astype(np.float64) + 1.0) / 2.0
        moved = np.clip(low + share * (high - low), low, high)
        return moved.astype(kind).reshape(shape)

    return move


def joint_mask(mask: Any, space: Any) -> NDArray[np.bool_]:
    """A package's action mask over the enumerated choices: bool [choice].

    A tuple has a mask for each part of the action; a choice is available where all its parts are.
    Raises ValueError where the mask is of another size.
    """
    counts = counts_of(space)
    assert counts is not None
    if isinstance(mask, tuple):
        allowed = np.ones(1, dtype=bool)
        for part in mask:
            allowed = np.logical_and.outer(allowed, np.ravel(part).astype(bool)).ravel()
    else:
        allowed = np.ravel(mask).astype(bool)
    if allowed.size != int(np.prod(counts)):
        raise ValueError(f"has {allowed.size} entries for {int(np.prod(counts))} actions")
    return allowed
