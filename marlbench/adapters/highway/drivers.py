"""highway-env's drivers with the constants of each kind; runs in workers, without torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.controller import ControlledVehicle
from numpy.typing import NDArray

from marlbench.environments.traffic.highway import drivers


def driver(constants: NDArray[np.float64]) -> type[IDMVehicle]:
    """A subclass of highway-env's IDMVehicle with the constants of one kind; see `drivers.Driver`."""

    class Typed(IDMVehicle):
        ACC_MAX = float(constants[drivers.MOST])
        COMFORT_ACC_MAX = float(constants[drivers.COMFORT])
        COMFORT_ACC_MIN = -float(constants[drivers.BRAKING])
        DISTANCE_WANTED = float(constants[drivers.JAM])
        TIME_WANTED = float(constants[drivers.HEADWAY])
        DELTA_RANGE = [float(constants[drivers.EXPONENT_LOW]), float(constants[drivers.EXPONENT_HIGH])]  # noqa: RUF012
        POLITENESS = float(constants[drivers.POLITENESS])
        LANE_CHANGE_MIN_ACC_GAIN = float(constants[drivers.GAIN])
        LANE_CHANGE_MAX_BRAKING_IMPOSED = float(constants[drivers.IMPOSED])
        LANE_CHANGE_DELAY = float(constants[drivers.DELAY])

        _farther = 1.0

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            if named.get("target_speed") is None:
                self.target_speed += float(constants[drivers.FASTER])

        def acceleration(self, ego_vehicle: Any, front_vehicle: Any = None, rear_vehicle: Any = None) -> Any:
            lane = getattr(ego_vehicle, "lane", None)
            if constants[drivers.LIMITED] or lane is None:
                return super().acceleration(ego_vehicle, front_vehicle, rear_vehicle)
            limit, lane.speed_limit = lane.speed_limit, None
            try:
                return super().acceleration(ego_vehicle, front_vehicle, rear_vehicle)
            finally:
                lane.speed_limit = limit

        def desired_gap(self, ego_vehicle: Any, front_vehicle: Any = None, projected: bool = True) -> Any:
            return self._farther * super().desired_gap(ego_vehicle, front_vehicle, projected)

        def change_lane_policy(self) -> None:
            # Gaps are compared with distances here only while a change of lanes is under way.
            self._farther = (
                1 / constants[drivers.YIELDS] if self.lane_index != self.target_lane_index else 1.0
            )
            super().change_lane_policy()
            self._farther = 1.0

        def act(self, action: Any = None) -> None:
            super().act(action)
            if constants[drivers.HOLDS] and not self.crashed:
                self.action["acceleration"] = ControlledVehicle.speed_control(self, self.target_speed)

    return Typed
