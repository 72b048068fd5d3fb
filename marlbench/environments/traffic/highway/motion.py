"""How vehicles move: highway-env's bicycle model, and the controllers that turn a lane and a speed into commands.

Constants and equations are those of highway-env 1.12 [code]: `Vehicle.step`, `ControlledVehicle.steering_control`,
`ControlledVehicle.speed_control`, `MDPVehicle.act`. Steering is told by the slip angle beta at the centre of the
vehicle, tan(beta) = tan(steering angle) / 2, whose sine is all that the equations of motion need.
"""

from __future__ import annotations

import math
from typing import Any

from marlbench.environments.inner_loops import inner
from marlbench.environments.traffic.highway.drivers import LENGTH
from marlbench.environments.traffic.highway.layout import (
    ACCELERATION,
    COSINE,
    CRASHED,
    HEADING,
    LANE,
    PUSH_X,
    PUSH_Y,
    PUSHED,
    RANK,
    RANKED,
    SINE,
    SLIP,
    SPEED,
    TARGET_LANE,
    TARGET_SPEED,
    TIMER,
    X,
    Y,
)

LANE_WIDTH = 4.0
SPEED_LIMIT = 30.0
FRAMES, FRAME = 5, 0.2
MAXIMUM_SPEED = 40.0
LANE_LEFT, IDLE, LANE_RIGHT, FASTER, SLOWER = 0, 1, 2, 3, 4

_SPEEDS = (20.0, 25.0, 30.0)
_GAIN_SPEED, _GAIN_HEADING, _GAIN_LATERAL = 1 / 0.6, 1 / 0.2, 1 / 0.6
_STEEPEST = math.sin(math.pi / 4)
# The slip angle of the largest steering angle, 60 degrees.
_LARGEST_SLIP = math.sin(math.atan(math.tan(math.pi / 3) / 2))
# Lanes can be changed to from up to twice their width away.
_REACH = 2 * LANE_WIDTH


@inner
def not_zero(value: float) -> float:
    """The value, kept 0.01 away from 0."""
    if abs(value) > 0.01:
        return value
    return 0.01 if value >= 0 else -0.01


@inner
def cut(value: float, low: float, high: float) -> float:
    """The value, cut to an interval."""
    return min(max(value, low), high)


@inner
def nearest_lane(y: float, lanes: int) -> int:
    """The lane whose middle is nearest, the left one of two."""
    return min(max(math.ceil(y / LANE_WIDTH - 0.5), 0), lanes - 1)


@inner
def choose(real: Any, whole: Any, vehicle: int, action: int, lanes: int) -> None:
    """An agent's action changes the lane or the speed that it wants."""
    if action in (LANE_LEFT, LANE_RIGHT):
        lane = whole[TARGET_LANE, vehicle] + (1 if action == LANE_RIGHT else -1)
        lane = min(max(lane, 0), lanes - 1)
        if abs(real[Y, vehicle] - LANE_WIDTH * lane) <= _REACH:
            whole[TARGET_LANE, vehicle] = lane
    elif action in (FASTER, SLOWER):
        low, high = _SPEEDS[0], _SPEEDS[2]
        # To the nearest, and the even one of two, as numpy rounds.
        nearest = round(cut((real[SPEED, vehicle] - low) / (high - low), 0.0, 1.0) * 2)
        place = int(cut(nearest + (1 if action == FASTER else -1), 0, 2))
        real[TARGET_SPEED, vehicle] = _SPEEDS[place]


@inner
def steer(real: Any, whole: Any, vehicle: int) -> None:
    """Towards the middle of the target lane: lateral place -> lateral speed -> heading -> its rate -> slip angle."""
    speed = not_zero(real[SPEED, vehicle])
    aside = real[Y, vehicle] - LANE_WIDTH * whole[TARGET_LANE, vehicle]
    heading = math.asin(cut(-_GAIN_LATERAL * aside / speed, -_STEEPEST, _STEEPEST))
    turn = (heading - real[HEADING, vehicle] + math.pi) % (2 * math.pi) - math.pi
    slip = cut(LENGTH / 2 / speed * _GAIN_HEADING * turn, -1.0, 1.0)
    real[SLIP, vehicle] = cut(slip, -_LARGEST_SLIP, _LARGEST_SLIP)


@inner
def hold_speed(real: Any, vehicle: int) -> None:
    """Towards the speed that the vehicle wants."""
    real[ACCELERATION, vehicle] = _GAIN_SPEED * (real[TARGET_SPEED, vehicle] - real[SPEED, vehicle])


@inner
def move(real: Any, whole: Any, lanes: int) -> None:
    """One frame of 0.2 s for every vehicle of a row; who has crashed comes to a stop."""
    for vehicle in range(real.shape[1]):
        speed = real[SPEED, vehicle]
        if whole[CRASHED, vehicle]:
            real[SLIP, vehicle] = 0.0
            real[ACCELERATION, vehicle] = -speed
        if speed > MAXIMUM_SPEED:
            real[ACCELERATION, vehicle] = min(real[ACCELERATION, vehicle], MAXIMUM_SPEED - speed)
        elif speed < -MAXIMUM_SPEED:
            real[ACCELERATION, vehicle] = max(real[ACCELERATION, vehicle], -MAXIMUM_SPEED - speed)
        slip = real[SLIP, vehicle]
        straight = math.sqrt(1 - slip * slip)
        cosine, sine = real[COSINE, vehicle], real[SINE, vehicle]
        real[X, vehicle] += speed * (cosine * straight - sine * slip) * FRAME
        real[Y, vehicle] += speed * (sine * straight + cosine * slip) * FRAME
        if whole[PUSHED, vehicle]:
            real[X, vehicle] += real[PUSH_X, vehicle]
            real[Y, vehicle] += real[PUSH_Y, vehicle]
            whole[CRASHED, vehicle] = 1
            whole[PUSHED, vehicle] = 0
        if slip != 0:
            heading = real[HEADING, vehicle] + speed * slip / (LENGTH / 2) * FRAME
            real[HEADING, vehicle] = heading
            real[COSINE, vehicle] = math.cos(heading)
            real[SINE, vehicle] = math.sin(heading)
        real[SPEED, vehicle] = speed + real[ACCELERATION, vehicle] * FRAME
        real[TIMER, vehicle] += FRAME
        whole[LANE, vehicle] = nearest_lane(real[Y, vehicle], lanes)
    rank(real, whole)


@inner
def rank(real: Any, whole: Any) -> None:
    """Sort the vehicles by x again: by insertion, since few of them have changed places."""
    x, ranked = real[X], whole[RANKED]
    for place in range(1, x.shape[0]):
        vehicle = ranked[place]
        other = place
        while other > 0 and x[ranked[other - 1]] > x[vehicle]:
            ranked[other] = ranked[other - 1]
            other -= 1
        ranked[other] = vehicle
    for place in range(x.shape[0]):
        whole[RANK, ranked[place]] = place
