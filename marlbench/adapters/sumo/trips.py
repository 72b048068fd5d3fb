"""What SUMO tells of the trips of vehicles, and the delays of a whole episode."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.sumo.simulation import Output

# Columns of a trip; SUMO's names.
_TOLD = ("depart", "departDelay", "arrival", "duration", "timeLoss", "waitingTime")
_DEPART, _DEPART_DELAY, _ARRIVAL, _DURATION, _TIME_LOSS, _WAITING = range(len(_TOLD))


class Trips:
    """SUMO's output of trips, of those that are not finished and those that could not begin too.

    Attributes:
        options: what to add to the options of a simulation.
        vehicles: names.
        told: float64 [vehicle, column], seconds; see `_TOLD`. `arrival` is negative of vehicles on the road, `depart`
            of those that still wait to depart, whose `departDelay` is how long.
    """

    def __init__(self) -> None:
        self._output = Output()
        self.options = [
            "--tripinfo-output", self._output.path,
            "--tripinfo-output.write-unfinished", "--tripinfo-output.write-undeparted",
        ]  # fmt: skip
        self.vehicles: list[str] = []
        self.told: NDArray[np.float64] = np.empty((0, len(_TOLD)))

    def read(self) -> None:
        """Take in what was written; complete once the simulation has ended."""
        vehicles, rows = [], []
        for trip in ElementTree.fromstring(self._output.read()).iter("tripinfo"):
            vehicles.append(trip.attrib["id"])
            rows.append([float(trip.attrib[name]) for name in _TOLD])
        self.vehicles, self.told = vehicles, np.array(rows).reshape(-1, len(_TOLD))

    @property
    def arrived(self) -> NDArray[np.bool_]:
        """bool [vehicle]: finished their trip."""
        return self.told[:, _ARRIVAL] >= 0

    @property
    def departed(self) -> NDArray[np.bool_]:
        """bool [vehicle]: got onto the road."""
        return self.told[:, _DEPART] >= 0

    @property
    def delay(self) -> NDArray[np.float64]:
        """Seconds [vehicle] lost on the road, against driving at the speed one would like to, and before departure.

        Of a vehicle that never departed it is the time since it wanted to.
        """
        lost = np.where(self.departed, self.told[:, _TIME_LOSS], 0.0)
        return lost + self.told[:, _DEPART_DELAY]

    @property
    def duration(self) -> NDArray[np.float64]:
        """Seconds [vehicle] on the road so far."""
        return self.told[:, _DURATION]

    @property
    def waiting(self) -> NDArray[np.float64]:
        """Seconds [vehicle] standing (below 0.1 m/s)."""
        return self.told[:, _WAITING]

    def close(self) -> None:
        self._output.close()
