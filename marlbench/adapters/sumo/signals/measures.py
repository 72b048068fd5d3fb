"""What an episode of signals is judged by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.sumo.signals.sensors import Lanes
from marlbench.adapters.sumo.simulation import Counts
from marlbench.adapters.sumo.trips import Trips

MEASURES = (
    "delay_resco",
    "delay_all",
    "trip_time",
    "waiting_time",
    "queue",
    "throughput",
    "departed",
    "arrived",
    "running",
    "not_departed",
    "teleported",
)


class Episode:
    """Readings of an episode, and its measures.

    Attributes:
        standing: at every decision, vehicles that stand before each signal: int64 [signal].
    """

    def __init__(self, lanes: Lanes) -> None:
        self._starts = [place.start for place in lanes.of_signal]
        self._lanes = max(1, len(lanes.names))
        self.standing: list[NDArray[np.int64]] = []
        self._counts = Counts(0, 0, 0, 0, 0)

    def add(self, lanes: Lanes) -> None:
        """Take in the last reading of the lanes."""
        self.standing.append(np.add.reduceat(lanes.standing, self._starts))

    def counted(self, counts: Counts) -> None:
        """Take in SUMO's counts at the end."""
        self._counts = counts

    def measure(self, trips: Trips, hours: float) -> list[float]:
        """In the order of `MEASURES`; times in seconds, 0 where there is no vehicle to take a mean of.

        delay_resco [code: RESCO's readXML]: mean of time loss and departure delay over finished trips, and of the time
        since they wanted to depart over vehicles that never did. Vehicles on the road are left out.
        delay_all: the same over all vehicles, those on the road included.
        trip_time: mean duration of finished trips. waiting_time: mean standing time of all that departed.
        queue: standing vehicles on an incoming lane, mean over lanes and decisions.
        throughput: vehicles that arrive in an hour.
        departed, arrived, running, not_departed: vehicles at the end; departed = arrived + running.
        """
        arrived, departed = trips.arrived, trips.departed
        finished = arrived | ~departed
        counts = self._counts
        return [
            _mean(trips.delay[finished]),
            _mean(trips.delay),
            _mean(trips.duration[arrived]),
            _mean(trips.waiting[departed]),
            float(np.sum(self.standing[1:]) / self._lanes / max(1, len(self.standing) - 1)),
            float(arrived.sum()) / hours,
            float(counts.departed),
            float(arrived.sum()),
            float(counts.running),
            float(counts.waiting),
            float(counts.teleported),
        ]


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0
