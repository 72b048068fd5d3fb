"""A grid world as a picture: the map, apples, waste, beams, and agents as triangles that point where they look."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from marlbench.environments.drawing import INK, Canvas, Colour, colour
from marlbench.environments.social_dilemmas.grids.rules import (
    APPLE,
    CLEAN_BEAM,
    RIVER,
    WALL,
    WASTE,
    ZAP_BEAM,
    Layout,
)

_CELL = 20
_BELOW = 34
_WALL: Colour = (120, 124, 130)
_RIVER: Colour = (170, 208, 232)
_WASTE: Colour = (134, 148, 92)
_APPLE: Colour = (208, 60, 52)
_ZAP: Colour = (250, 214, 90)
_CLEAN: Colour = (120, 226, 232)


def draw_grid(layout: Layout, memory: Mapping[str, NDArray[np.generic]], length: int) -> NDArray[np.uint8]:
    """One row of a grid world, uint8 [height, width, 3], without the map's margin.

    Args:
        memory: of that row: cells, place, facing, timers, sums, time.
        length: steps of an episode.
    """
    margin = layout.margin
    height, width = layout.height - 2 * margin, layout.width - 2 * margin
    cells = np.asarray(memory["cells"]).reshape(layout.height, layout.width)
    inner = cells[margin : margin + height, margin : margin + width]
    canvas = Canvas(width * _CELL, height * _CELL + _BELOW)
    for y in range(height):
        for x in range(width):
            _draw_cell(canvas, x * _CELL, y * _CELL, int(inner[y, x]))
    place, facing, timers, sums = (np.asarray(memory[name]) for name in ("place", "facing", "timers", "sums"))
    step = width * _CELL / max(8, len(place) + 1)
    for agent in range(len(place)):
        y, x = divmod(int(place[agent]), layout.width)
        if timers[agent, 0] == 0:
            _draw_agent(
                canvas, (x - margin + 0.5) * _CELL, (y - margin + 0.5) * _CELL, int(facing[agent]), agent
            )
        canvas.circle(step * agent + 14, height * _CELL + _BELOW / 2, 6, colour(agent), INK, 1)
        canvas.text(step * agent + 26, height * _CELL + _BELOW / 2, f"{sums[agent, 0]:g}", 13)
    said = f"{int(memory['time'])} / {length}"
    canvas.text(width * _CELL - 8, height * _CELL + _BELOW / 2, said, 13, INK, "rm")
    return canvas.pixels()


def _draw_cell(canvas: Canvas, x: float, y: float, bits: int) -> None:
    fill = None
    for bit, shade in (
        (WALL, _WALL),
        (CLEAN_BEAM, _CLEAN),
        (ZAP_BEAM, _ZAP),
        (WASTE, _WASTE),
        (RIVER, _RIVER),
    ):
        if bits & bit:
            fill = shade
            break
    if fill is not None:
        canvas.rectangle(x, y, x + _CELL, y + _CELL, fill)
    if bits & APPLE:
        canvas.circle(x + _CELL / 2, y + _CELL / 2, _CELL * 0.3, _APPLE)


def _draw_agent(canvas: Canvas, x: float, y: float, facing: int, agent: int) -> None:
    canvas.circle(x, y, _CELL * 0.44, colour(agent), INK, 1)
    ahead = np.array([(0, -1), (1, 0), (0, 1), (-1, 0)][facing]) * _CELL * 0.4
    canvas.line([(x, y), (x + ahead[0], y + ahead[1])], (255, 255, 255), 3)
