"""Help for tests that play the highway and highway-env side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marlbench.environments.traffic.highway import layout, motion
from marlbench.environments.traffic.highway.drivers import AGENT
from marlbench.environments.traffic.highway.environment import Highway, HighwayParameters


def taken_over(scene: Any, parameters: HighwayParameters, kind_of: Any) -> Highway:
    """One row of ours in the state that highway-env is in.

    Args:
        kind_of: a vehicle of highway-env -> its kind of driver.
    """
    ours = Highway(parameters, 1, torch.device("cpu"))
    ours.reset(torch.zeros(1, dtype=torch.int64))
    for number, vehicle in enumerate(scene.road.vehicles):
        controlled = vehicle in scene.controlled_vehicles
        real, whole = ours.real[0, :, number], ours.whole[0, :, number]
        real[layout.X], real[layout.Y] = vehicle.position
        real[layout.HEADING], real[layout.SPEED] = vehicle.heading, vehicle.speed
        real[layout.COSINE], real[layout.SINE] = np.cos(vehicle.heading), np.sin(vehicle.heading)
        real[layout.TARGET_SPEED] = vehicle.target_speed
        real[layout.TIMER] = 0.0 if controlled else vehicle.timer
        real[layout.EXPONENT] = 4.0 if controlled else vehicle.DELTA
        whole[layout.LANE] = vehicle.lane_index[2]
        whole[layout.TARGET_LANE] = vehicle.target_lane_index[2]
        whole[layout.DRIVER] = AGENT if controlled else kind_of(vehicle)
    order = np.argsort(ours.real[0, layout.X], kind="stable")
    ours.whole[0, layout.RANKED] = order
    ours.whole[0, layout.RANK, order] = np.arange(len(order))
    return ours


def places(scene: Any) -> NDArray[np.float64]:
    """[vehicle, (x, y, heading, speed)] of highway-env."""
    return np.array([[*v.position, v.heading, v.speed] for v in scene.road.vehicles])


def our_places(ours: Highway) -> NDArray[np.float64]:
    """The same of row 0 of ours."""
    return ours.real[0, [layout.X, layout.Y, layout.HEADING, layout.SPEED]].T


def crashed(scene: Any) -> NDArray[np.bool_]:
    """[vehicle] of highway-env."""
    return np.array([bool(vehicle.crashed) for vehicle in scene.road.vehicles])


LARGEST_DIFFERENCE = 1e-3
DECISIONS = 20
ACTIONS = motion.SLOWER + 1
