"""How the other drivers think: the intelligent driver model along the road, MOBIL across it.

    acceleration = a (1 - (v / v0)^delta) - a (s* / s)^2,   s* = d0 + T v + v dv / (2 sqrt(a b))

(IDM: Treiber et al. 2000, equations 1 to 3, with s between the middles of the vehicles.) A driver changes lanes where
the new follower need not brake harder than b_safe, and

    own gain + p (gain of the new follower + gain of the old follower) >= least gain

(MOBIL: Kesting et al. 2007, equations 2 and 3.) What a driver expects of others is told by its own constants and by the
speed that they want, as in highway-env 1.12's `IDMVehicle` [code]; drivers think one after the other, and who yields a
lane depends on what those before have decided.
"""

from __future__ import annotations

import math
from typing import Any

from marlbench.environments.inner_loops import inner
from marlbench.environments.traffic.highway.drivers import (
    AGENT,
    BRAKING,
    COMFORT,
    DELAY,
    GAIN,
    HEADWAY,
    HOLDS,
    IMPOSED,
    JAM,
    LIMITED,
    MOST,
    POLITENESS,
    YIELDS,
)
from marlbench.environments.traffic.highway.layout import (
    ACCELERATION,
    COSINE,
    CRASHED,
    DRIVER,
    EXPONENT,
    LANE,
    RANK,
    RANKED,
    SINE,
    SPEED,
    TARGET_LANE,
    TARGET_SPEED,
    TIMER,
    X,
    Y,
)
from marlbench.environments.traffic.highway.motion import (
    LANE_WIDTH,
    SPEED_LIMIT,
    cut,
    hold_speed,
    not_zero,
    steer,
)

NOBODY = -1
# A vehicle counts as in a lane up to a metre beside it.
_IN_LANE = LANE_WIDTH / 2 + 1.0
_REACH = 2 * LANE_WIDTH


@inner
def leader(real: Any, whole: Any, vehicle: int, lane: int) -> int:
    """The next vehicle ahead in a lane, or NOBODY."""
    middle = LANE_WIDTH * lane
    for place in range(whole[RANK, vehicle] + 1, real.shape[1]):
        other = whole[RANKED, place]
        if abs(real[Y, other] - middle) <= _IN_LANE:
            return int(other)
    return NOBODY


@inner
def follower(real: Any, whole: Any, vehicle: int, lane: int) -> int:
    """The next vehicle behind in a lane, or NOBODY."""
    middle = LANE_WIDTH * lane
    for place in range(whole[RANK, vehicle] - 1, -1, -1):
        other = whole[RANKED, place]
        if abs(real[Y, other] - middle) <= _IN_LANE:
            return int(other)
    return NOBODY


@inner
def desired_gap(real: Any, constants: Any, rear: int, front: int) -> float:
    """s*, in metres, of whoever is behind, by the constants of one driver."""
    speed = real[SPEED, rear]
    cosine, sine = real[COSINE, rear], real[SINE, rear]
    ahead = real[SPEED, front] * (real[COSINE, front] * cosine + real[SINE, front] * sine)
    approach = speed * (cosine * cosine + sine * sine) - ahead
    braking = 2 * math.sqrt(constants[COMFORT] * constants[BRAKING])
    return float(constants[JAM] + speed * constants[HEADWAY] + speed * approach / braking)


@inner
def free_acceleration(real: Any, constants: Any, exponent: float, vehicle: int) -> float:
    """a (1 - (v / v0)^delta), m/s^2, of any vehicle by the constants of one driver."""
    wanted = real[TARGET_SPEED, vehicle]
    if constants[LIMITED]:
        wanted = cut(wanted, 0.0, SPEED_LIMIT)
    share = max(real[SPEED, vehicle], 0.0) / abs(not_zero(wanted))
    return float(constants[COMFORT] * (1 - share**exponent))


@inner
def braking_for(real: Any, constants: Any, rear: int, front: int) -> float:
    """a (s* / s)^2, m/s^2; 0 where one of the two is nobody."""
    if rear == NOBODY or front == NOBODY:
        return 0.0
    gap = not_zero(real[X, front] - real[X, rear])
    share = desired_gap(real, constants, rear, front) / gap
    return float(constants[COMFORT] * share * share)


@inner
def worth_changing(real: Any, whole: Any, constants: Any, vehicle: int, lane: int) -> bool:
    """MOBIL: whether the driver of a vehicle should go to a lane."""
    ahead, behind = leader(real, whole, vehicle, lane), follower(real, whole, vehicle, lane)
    imposed = braking_for(real, constants, behind, vehicle)
    if behind != NOBODY:
        free = free_acceleration(real, constants, real[EXPONENT, vehicle], behind)
        if free - imposed < -constants[IMPOSED]:
            return False
    own = whole[LANE, vehicle]
    ahead_now, behind_now = leader(real, whole, vehicle, own), follower(real, whole, vehicle, own)
    # The free accelerations are the same before and after.
    gain = braking_for(real, constants, vehicle, ahead_now) - braking_for(real, constants, vehicle, ahead)
    if constants[POLITENESS]:
        others = braking_for(real, constants, behind, ahead) - imposed
        others += braking_for(real, constants, behind_now, vehicle)
        others -= braking_for(real, constants, behind_now, ahead_now)
        gain += constants[POLITENESS] * others
    return bool(gain >= constants[GAIN])


@inner
def think_of_lanes(real: Any, whole: Any, constants: Any, vehicle: int, lanes: int) -> None:
    """Give up a change of lanes that someone ahead is making too; or, from time to time, begin one."""
    own, target = whole[LANE, vehicle], whole[TARGET_LANE, vehicle]
    if own != target:
        for other in range(real.shape[1]):
            if other != vehicle and whole[TARGET_LANE, other] == target and whole[LANE, other] != target:
                gap = constants[YIELDS] * (real[X, other] - real[X, vehicle])
                if 0 < gap < desired_gap(real, constants, vehicle, other):
                    whole[TARGET_LANE, vehicle] = own
                    return
        return
    if real[TIMER, vehicle] <= constants[DELAY]:
        return
    real[TIMER, vehicle] = 0.0
    if abs(real[SPEED, vehicle]) < 1:
        return
    for lane in (own - 1, own + 1):
        reachable = 0 <= lane < lanes and abs(real[Y, vehicle] - LANE_WIDTH * lane) <= _REACH
        if reachable and worth_changing(real, whole, constants, vehicle, lane):
            whole[TARGET_LANE, vehicle] = lane


@inner
def decide(real: Any, whole: Any, kinds: Any, lanes: int) -> None:
    """The commands of every vehicle of a row, one after the other."""
    for vehicle in range(real.shape[1]):
        driver = whole[DRIVER, vehicle]
        if driver == AGENT:
            steer(real, whole, vehicle)
            hold_speed(real, vehicle)
            continue
        if whole[CRASHED, vehicle]:
            continue
        constants = kinds[driver]
        think_of_lanes(real, whole, constants, vehicle, lanes)
        steer(real, whole, vehicle)
        if constants[HOLDS]:
            hold_speed(real, vehicle)
            continue
        own, target = whole[LANE, vehicle], whole[TARGET_LANE, vehicle]
        free = free_acceleration(real, constants, real[EXPONENT, vehicle], vehicle)
        braking = braking_for(real, constants, vehicle, leader(real, whole, vehicle, own))
        if own != target:
            other = braking_for(real, constants, vehicle, leader(real, whole, vehicle, target))
            braking = max(braking, other)
        real[ACCELERATION, vehicle] = cut(free - braking, -constants[MOST], constants[MOST])
