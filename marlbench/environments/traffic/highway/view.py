"""What agents see of a row, and what critics see of it: see docs/traffic.md.

Observations are highway-env's `KinematicObservation` with iPLAN's settings [code]; the state's scales are ours [ours].
"""

from __future__ import annotations

import math
from typing import Any

from marlbench.environments.inner_loops import inner
from marlbench.environments.traffic.highway.drivers import LENGTH
from marlbench.environments.traffic.highway.layout import COSINE, RANK, RANKED, SEEN, SINE, SPEED, X, Y
from marlbench.environments.traffic.highway.motion import cut

_METRES, _METRES_PER_SECOND = 100.0, 20.0
_FAR, _BEHIND = 200.0, 2 * LENGTH


@inner
def _show(seen: Any, along: float, across: float, speed_along: float, speed_across: float) -> None:
    seen[0] = 1.0
    seen[1] = cut(along / _METRES, -1.0, 1.0)
    seen[2] = cut(across / _METRES, -1.0, 1.0)
    seen[3] = cut(speed_along / _METRES_PER_SECOND, -1.0, 1.0)
    seen[4] = cut(speed_across / _METRES_PER_SECOND, -1.0, 1.0)


@inner
def see(real: Any, whole: Any, vehicle: int, seen: Any, identity: Any) -> None:
    """Fill what one agent sees: float32 [SEEN, feature] and int64 [SEEN]."""
    seen[:] = 0.0
    identity[:] = -1
    x, y = real[X, vehicle], real[Y, vehicle]
    vx, vy = real[SPEED, vehicle] * real[COSINE, vehicle], real[SPEED, vehicle] * real[SINE, vehicle]
    _show(seen[0], x, y, vx, vy)
    identity[0] = vehicle
    last = real.shape[1]
    ahead, behind, row = whole[RANK, vehicle] + 1, whole[RANK, vehicle] - 1, 1
    while row < SEEN:
        forward, backward = math.inf, math.inf
        if ahead < last:
            forward = real[X, whole[RANKED, ahead]] - x
        if behind >= 0:
            backward = x - real[X, whole[RANKED, behind]]
        if backward >= _BEHIND:
            backward = math.inf
        if min(forward, backward) >= _FAR:
            break
        if forward <= backward:
            other = whole[RANKED, ahead]
            ahead += 1
        else:
            other = whole[RANKED, behind]
            behind -= 1
        along, across = real[X, other] - x, real[Y, other] - y
        if math.hypot(along, across) >= _FAR:
            continue
        other_vx, other_vy = real[SPEED, other] * real[COSINE, other], real[SPEED, other] * real[SINE, other]
        _show(seen[row], along, across, other_vx - vx, other_vy - vy)
        identity[row] = other
        row += 1


@inner
def overlook(real: Any, agents: Any, state: Any) -> None:
    """Fill the state of a row, float32 [vehicle x feature]."""
    origin = 0.0
    for agent in range(len(agents)):
        origin += real[X, agents[agent]] / len(agents)
    for vehicle in range(real.shape[1]):
        place = 5 * vehicle
        state[place] = 1.0
        state[place + 1] = (real[X, vehicle] - origin) / _METRES
        state[place + 2] = real[Y, vehicle] / _METRES
        state[place + 3] = real[SPEED, vehicle] * real[COSINE, vehicle] / _METRES_PER_SECOND
        state[place + 4] = real[SPEED, vehicle] * real[SINE, vehicle] / _METRES_PER_SECOND
