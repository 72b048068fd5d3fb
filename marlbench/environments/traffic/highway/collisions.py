"""When vehicles collide: rectangles by separating axes, now and with the way of one more frame.

After highway-env 1.12 [code]: vehicles that overlap have crashed; vehicles that will overlap within a frame at their
present velocities are pushed apart by half the way each, and have crashed with the next frame.
"""

from __future__ import annotations

import math
from typing import Any

from marlbench.environments.inner_loops import inner
from marlbench.environments.traffic.highway.drivers import LENGTH, WIDTH
from marlbench.environments.traffic.highway.layout import (
    COSINE,
    CRASHED,
    PUSH_X,
    PUSH_Y,
    PUSHED,
    RANK,
    RANKED,
    SINE,
    SPEED,
    X,
    Y,
)
from marlbench.environments.traffic.highway.motion import FRAME

_DIAGONAL = math.hypot(LENGTH, WIDTH)
# Farther apart along the road, no two vehicles touch within a frame: nobody is faster than 45 m/s.
_FAR = _DIAGONAL + 45.0 * FRAME


@inner
def overlap(low: float, high: float, other_low: float, other_high: float) -> float:
    """How far two intervals lie apart; negative where they overlap."""
    return other_low - high if low < other_low else low - other_high


@inner
def touch(real: Any, one: int, other: int) -> tuple[bool, bool, float, float]:
    """Whether two vehicles overlap, whether they will within a frame, and the way that takes the one out of it."""
    across, along = real[Y, one] - real[Y, other], real[X, one] - real[X, other]
    if math.hypot(along, across) > _DIAGONAL + real[SPEED, one] * FRAME:
        return False, False, 0.0, 0.0
    way_x = (real[SPEED, one] * real[COSINE, one] - real[SPEED, other] * real[COSINE, other]) * FRAME
    way_y = (real[SPEED, one] * real[SINE, one] - real[SPEED, other] * real[SINE, other]) * FRAME
    now, soon = True, True
    least, push_x, push_y = math.inf, 0.0, 0.0
    for vehicle in (one, other):
        cosine, sine = real[COSINE, vehicle], real[SINE, vehicle]
        for side in range(4):
            # The normals of the four sides in turn: an interval within another is measured from one end alone.
            sign = -1.0 if side == 0 or side == 3 else 1.0
            normal_x, normal_y = (
                (sign * cosine, sign * sine) if side % 2 == 0 else (-sign * sine, sign * cosine)
            )
            middle = real[X, one] * normal_x + real[Y, one] * normal_y
            half = _half(real, one, normal_x, normal_y)
            other_middle = real[X, other] * normal_x + real[Y, other] * normal_y
            other_half = _half(real, other, normal_x, normal_y)
            low, high = middle - half, middle + half
            other_low, other_high = other_middle - other_half, other_middle + other_half
            if overlap(low, high, other_low, other_high) > 0:
                now = False
            way = normal_x * way_x + normal_y * way_y
            if way < 0:
                low += way
            else:
                high += way
            apart = overlap(low, high, other_low, other_high)
            if apart > 0:
                soon = False
            if not now and not soon:
                return False, False, 0.0, 0.0
            if abs(apart) < least:
                least = abs(apart)
                outwards = 1.0 if along * normal_x + across * normal_y > 0 else -1.0
                push_x, push_y = outwards * normal_x, outwards * normal_y
    if not soon:
        return now, False, 0.0, 0.0
    return now, True, least * push_x, least * push_y


@inner
def _half(real: Any, vehicle: int, normal_x: float, normal_y: float) -> float:
    """Half the extent of a vehicle along an axis."""
    cosine, sine = real[COSINE, vehicle], real[SINE, vehicle]
    along = abs(cosine * normal_x + sine * normal_y)
    return float(LENGTH / 2 * along + WIDTH / 2 * abs(cosine * normal_y - sine * normal_x))


@inner
def collide(real: Any, whole: Any) -> None:
    """All pairs of a row, in the order of their numbers; the last push of a vehicle counts."""
    vehicles = real.shape[1]
    for one in range(vehicles):
        last = -1
        for direction in (-1, 1):
            place = whole[RANK, one] + direction
            while 0 <= place < vehicles:
                other = whole[RANKED, place]
                if abs(real[X, other] - real[X, one]) > _FAR:
                    break
                place += direction
                if other < one:
                    continue
                now, soon, push_x, push_y = touch(real, one, other)
                if soon:
                    whole[PUSHED, other] = 1
                    real[PUSH_X, other], real[PUSH_Y, other] = -push_x / 2, -push_y / 2
                    if other > last:
                        last = other
                        whole[PUSHED, one] = 1
                        real[PUSH_X, one], real[PUSH_Y, one] = push_x / 2, push_y / 2
                if now:
                    whole[CRASHED, one] = 1
                    whole[CRASHED, other] = 1
