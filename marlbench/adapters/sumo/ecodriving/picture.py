"""A picture of the road towards the signal and behind it: lanes side by side, vehicles by who drives them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.sumo.ecodriving.intersection import Intersection
from marlbench.adapters.sumo.ecodriving.signal_times import Clock
from marlbench.adapters.sumo.ecodriving.vehicles import BEHIND, Moving, Traffic
from marlbench.environments.drawing import Canvas

_WIDTH, _LANE, _TOP, _LEFT, _RIGHT = 900, 14, 30, 120, 20
# A film's pictures are of one size, whatever network comes next.
_ROWS, _ROW = 4, 90
_LIGHTS = ((46, 160, 67), (240, 180, 0), (207, 34, 46))
_ROAD, _CONTROLLED, _HUMAN = (225, 225, 225), (31, 111, 235), (120, 120, 120)


def picture(intersection: Intersection, traffic: Traffic, time: float) -> NDArray[np.uint8]:
    """Each approach in a row, driving to the right: uint8 [height, width, 3].

    The line in the middle is the stop line, in the colour that vehicles straight ahead are shown; a vehicle behind it
    is drawn in the row of its approach. Controlled vehicles are blue.
    """
    approaches = intersection.approaches
    canvas = Canvas(_WIDTH, _TOP + _ROW * max(_ROWS, len(approaches)))
    canvas.text(10, 15, f"{intersection.name}, {time:.1f} s")
    clock = Clock(intersection.program)
    stop = (_LEFT + _WIDTH - _RIGHT) / 2
    scale = (stop - _LEFT) / max(approach.length for approach in approaches)
    for number, approach in enumerate(approaches):
        top = _TOP + _ROW * number
        lanes = max(intersection.lane_counts[edge] for edge in approach.edges)
        bottom = top + lanes * _LANE
        canvas.text(10, (top + bottom) / 2, approach.name)
        canvas.rectangle(stop - approach.length * scale, top, _WIDTH - _RIGHT, bottom, _ROAD)
        light = clock.light(approach.movements[approach.ahead].link, time)
        canvas.rectangle(stop - 2, top - 4, stop + 2, bottom + 4, _LIGHTS[light.colour])
        for moving in traffic.moving.values():
            if moving.near and moving.vehicle.approach == number:
                _vehicle(canvas, moving, stop, top, lanes, scale)
    return canvas.pixels()


def _vehicle(canvas: Canvas, moving: Moving, stop: float, top: float, lanes: int, scale: float) -> None:
    front = stop + moving.position * scale
    if moving.place == BEHIND:
        front = min(front, float(_WIDTH - _RIGHT))
    height = top + (lanes - 1 - min(moving.lane, lanes - 1)) * _LANE
    back = front - max(moving.vehicle.length * scale, 5.0)
    fill = _CONTROLLED if moving.vehicle.controlled else _HUMAN
    canvas.rectangle(back, height + 3, front, height + _LANE - 3, fill)
