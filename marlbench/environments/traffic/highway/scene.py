"""How an episode begins: vehicles one after the other from the rear to the front, each agent before its others.

As highway-env's `HighwayEnv._create_vehicles` and `Vehicle.create_random` [code]: lane and speed at random, the gap to
whoever is foremost so far from the speed and the number of lanes. Kinds of drivers: iPLAN's `HighwayEnvHetero` [code].
"""

from __future__ import annotations

import math
from typing import Any

from marlbench.environments.compiled_keys import below, drawn
from marlbench.environments.inner_loops import inner
from marlbench.environments.traffic.highway.drivers import (
    AGENT,
    AGGRESSIVE,
    DEFENSIVE,
    DELAY,
    EXPONENT_HIGH,
    EXPONENT_LOW,
    FASTER,
    NORMAL,
)
from marlbench.environments.traffic.highway.layout import (
    COSINE,
    DRIVER,
    EXPONENT,
    LANE,
    RANK,
    RANKED,
    SPEED,
    TARGET_LANE,
    TARGET_SPEED,
    TIMER,
    X,
    Y,
)
from marlbench.environments.traffic.highway.motion import LANE_WIDTH, SPEED_LIMIT

# Draws of one vehicle: lane, speed, gap, kind, exponent.
_DRAWS = 5
_AGENT_SPEED, _AGENT_SPACING = 25.0, 2.0


@inner
def begin(
    key: Any,
    real: Any,
    whole: Any,
    agents: Any,
    lanes: int,
    aggressive: float,
    defensive: float,
    kinds: Any,
) -> None:
    """Place the vehicles of a row, [REALS, vehicle] and [WHOLES, vehicle].

    Args:
        key: from which everything is drawn.
        agents: int64 [agent], the vehicles that are agents, in ascending order.
        aggressive, defensive: the share of the others that is.
        kinds: float64 [driver, constant].
    """
    real[:] = 0.0
    whole[:] = 0
    foremost, agent = 0.0, 0
    for vehicle in range(real.shape[1]):
        place = vehicle * _DRAWS
        is_agent = agent < len(agents) and agents[agent] == vehicle
        lane = below(key, place, lanes)
        if is_agent:
            agent += 1
            driver, speed, spacing = AGENT, _AGENT_SPEED, _AGENT_SPACING
        else:
            driver, spacing = NORMAL, 1.0
            speed = SPEED_LIMIT * (0.7 + 0.1 * float(drawn(key, place + 1)))
            kind = float(drawn(key, place + 3))
            if kind < aggressive:
                driver = AGGRESSIVE
            elif kind >= 1 - defensive:
                driver = DEFENSIVE
        gap = spacing * (12 + speed) * math.exp(-5 / 40 * lanes)
        if vehicle == 0:
            foremost = 3 * gap
        foremost += gap * (0.9 + 0.2 * float(drawn(key, place + 2)))
        constants = kinds[driver]
        spread = constants[EXPONENT_HIGH] - constants[EXPONENT_LOW]
        real[X, vehicle], real[Y, vehicle] = foremost, LANE_WIDTH * lane
        real[SPEED, vehicle], real[TARGET_SPEED, vehicle] = speed, speed
        if not is_agent:
            real[TARGET_SPEED, vehicle] = speed + constants[FASTER]
        real[COSINE, vehicle] = 1.0
        real[EXPONENT, vehicle] = constants[EXPONENT_LOW] + spread * float(drawn(key, place + 4))
        real[TIMER, vehicle] = ((foremost + LANE_WIDTH * lane) * math.pi) % constants[DELAY]
        whole[LANE, vehicle], whole[TARGET_LANE, vehicle] = lane, lane
        whole[DRIVER, vehicle] = driver
        whole[RANKED, vehicle], whole[RANK, vehicle] = vehicle, vehicle
