"""The highway as a picture: every agent with what is around it, one strip of road below the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlbench.environments.drawing import FAINT, INK, PAPER, Canvas, Colour, colour, mixed
from marlbench.environments.traffic.highway.drivers import AGENT, AGGRESSIVE, DEFENSIVE, LENGTH, NORMAL, WIDTH
from marlbench.environments.traffic.highway.layout import (
    COSINE,
    CRASHED,
    DRIVER,
    OUT,
    SINE,
    SPEED,
    SURVIVED,
    X,
    Y,
)
from marlbench.environments.traffic.highway.motion import LANE_WIDTH

SIZE = 640
# Metres of road behind and ahead of an agent.
_BEHIND, _AHEAD = 70.0, 130.0
_MARGIN, _TITLE = 10.0, 17.0
_SCALE = (SIZE - 2 * _MARGIN) / (_BEHIND + _AHEAD)
_CRASHED = colour(1)
_KINDS: dict[int, tuple[str, Colour]] = {
    AGENT: ("agent", colour(2)),
    NORMAL: ("normal", colour(0)),
    AGGRESSIVE: ("aggressive", colour(3)),
    DEFENSIVE: ("defensive", colour(4)),
}


def draw_highway(
    real: NDArray[np.float64],
    whole: NDArray[np.int64],
    tally: NDArray[np.float64],
    agents: NDArray[np.int64],
    lanes: int,
) -> NDArray[np.uint8]:
    """One row, [REALS, vehicle], [WHOLES, vehicle], [TALLIES, agent]; as many agents as there is room for.

    Agents are green with their number, normal drivers blue, aggressive ones purple, defensive ones orange, and who has
    crashed is red.
    """
    strip = _TITLE + lanes * LANE_WIDTH * _SCALE
    shown = max(1, min(len(agents), int((SIZE - 24) // strip)))
    canvas = Canvas(SIZE, round(24 + shown * strip))
    place = _MARGIN
    for name, tint in (*_KINDS.values(), ("crashed", _CRASHED)):
        canvas.rectangle(place, 7, place + 14, 13, tint)
        canvas.text(place + 18, 10, name, 11)
        place += 28 + canvas.text_width(name, 11)
    numbers = {int(vehicle): agent for agent, vehicle in enumerate(agents)}
    for agent in range(shown):
        top = 22 + agent * strip
        out = tally[OUT, agent] > 0
        told = (
            f"crashed after {int(tally[SURVIVED, agent])} s"
            if out
            else f"{real[SPEED, agents[agent]]:.1f} m/s"
        )
        canvas.text(_MARGIN, top + 8, f"agent {agent}", 11, INK, bold=True)
        canvas.text(SIZE - _MARGIN, top + 8, told, 11, _CRASHED if out else INK, "rm")
        _draw_strip(canvas, top + _TITLE, real, whole, int(agents[agent]), numbers, lanes)
    return canvas.pixels()


def _draw_strip(
    canvas: Canvas, top: float, real: Any, whole: Any, middle: int, numbers: dict[int, int], lanes: int
) -> None:
    """The road around one vehicle."""
    left, right = _MARGIN, SIZE - _MARGIN
    origin = real[X, middle] - _BEHIND
    height = lanes * LANE_WIDTH * _SCALE
    canvas.rectangle(left, top, right, top + height, mixed(FAINT, PAPER, 0.3))
    for line in range(lanes + 1):
        y = top + line * LANE_WIDTH * _SCALE
        edge = line in (0, lanes)
        canvas.line([(left, y), (right, y)], INK if edge else (255, 255, 255), 1.5 if edge else 1)
    # Marks that stand on the road tell how fast it goes by.
    for post in range(int(origin // 25) + 1, int((origin + _BEHIND + _AHEAD) // 25) + 1):
        x = left + (post * 25 - origin) * _SCALE
        canvas.line([(x, top + height - 3), (x, top + height)], INK, 1)
    for vehicle in range(real.shape[1]):
        x = left + (real[X, vehicle] - origin) * _SCALE
        y = top + (real[Y, vehicle] + LANE_WIDTH / 2) * _SCALE
        half = LENGTH / 2 * _SCALE
        if not left + half <= x <= right - half or not top <= y <= top + height:
            continue
        along, across = half * real[COSINE, vehicle], half * real[SINE, vehicle]
        tint = _CRASHED if whole[CRASHED, vehicle] else _KINDS[int(whole[DRIVER, vehicle])][1]
        if vehicle in numbers and not whole[CRASHED, vehicle]:
            tint = _KINDS[AGENT][1]
        canvas.line([(x - along, y - across), (x + along, y + across)], tint, WIDTH * _SCALE)
        if vehicle in numbers:
            canvas.text(x, y, str(numbers[vehicle]), 8, (255, 255, 255), "mm", bold=True)
