"""What the grid worlds share with their compiled loops: bits of a cell, actions, numbers of the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WALL, RIVER, APPLE, WASTE, ZAP_BEAM, CLEAN_BEAM = 1, 2, 4, 8, 16, 32
LASTING = WALL | RIVER | APPLE | WASTE

STAY, FORWARD, BACKWARD, STEP_LEFT, STEP_RIGHT, TURN_LEFT, TURN_RIGHT, ZAP, CLEAN = range(9)

# Numbers of an agent in the state.
AGENT_FEATURES = 10
# What the sums of an episode count for each agent: apples, the steps at which they were collected, steps in which it
# was out of the game or hit, times it fired at others, waste it cleaned.
APPLES, TIMES, DISTURBED, ZAPS, CLEANED = range(5)
SUMS = 5


class Rules(NamedTuple):
    """Numbers of one game.

    Attributes:
        width: cells of a line of the padded grid.
        beam_length: cells that a beam reaches ahead, and cells of each of its side rays.
        beam_radius: side rays on either hand.
        zap_wait, clean_wait: steps after a beam in which the next one cannot be fired.
        time_out: steps that who was zapped is out of the game; 0 lets it play on.
        zap_cost: what firing costs.
        fine: what being hit costs.
        agents_stop_cleaning: whether agents stop the cleaning beam, as they stop the other.
    """

    width: int
    beam_length: int
    beam_radius: int
    zap_wait: int
    clean_wait: int
    time_out: int
    zap_cost: float
    fine: float
    agents_stop_cleaning: bool


@dataclass(frozen=True)
class Window:
    """What an agent sees of the grid, in cells from its own."""

    left: int
    right: int
    ahead: int
    behind: int

    @property
    def height(self) -> int:
        """Rows of the picture: what is ahead comes first."""
        return self.ahead + 1 + self.behind

    @property
    def width(self) -> int:
        """Columns of the picture, from left to right."""
        return self.left + 1 + self.right

    @property
    def reach(self) -> int:
        """The farthest cell seen along an axis."""
        return max(self.left, self.right, self.ahead, self.behind)


class Layout:
    """A map with a margin of walls, so that every window lies in it.

    Attributes:
        height, width: with the margin.
        cells: uint8 [height x width], at the start of an episode.
        apples, waste, spawns, inside: indices of cells, in rising order.
    """

    def __init__(self, text: str, margin: int) -> None:
        lines = text.splitlines()
        padded = np.pad(np.array([list(line) for line in lines]), margin, constant_values="#")
        self.margin = margin
        self.height, self.width = padded.shape
        symbols = padded.ravel()
        self.cells = (
            WALL * (symbols == "#") + RIVER * np.isin(symbols, ["r", "w", "s"]) + WASTE * (symbols == "w")
        ).astype(np.uint8)
        self.apples = _places(symbols == "a")
        self.waste = _places(np.isin(symbols, ["r", "w"]))
        self.spawns = _places(symbols == "+")
        self.inside = _places(symbols == "*")

    def steps(self) -> NDArray[np.int64]:
        """One cell up, right, down, left as differences of indices: [direction]."""
        return np.array([-self.width, 1, self.width, -1])

    def disc(self, squared_radius: int) -> NDArray[np.int64]:
        """The cells around one, at most the radius away and without itself, as differences of indices."""
        reach = range(-squared_radius, squared_radius + 1)
        near = [(y, x) for y in reach for x in reach if 0 < y * y + x * x <= squared_radius]
        return np.array([y * self.width + x for y, x in near])

    def window(self, window: Window) -> NDArray[np.int64]:
        """The cells of a window as differences of indices: [direction faced, cell], row by row."""
        up, right = -self.width, 1
        found = []
        for ahead, aside in ((up, right), (right, -up), (-up, -right), (-right, up)):
            rows = range(window.ahead, -window.behind - 1, -1)
            columns = range(-window.left, window.right + 1)
            found.append([row * ahead + column * aside for row in rows for column in columns])
        return np.array(found)


def _places(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.flatnonzero(chosen).astype(np.int64)
