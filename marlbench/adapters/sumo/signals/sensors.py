"""What is read of the lanes that lead to signals: for observations, for rewards, and for players by rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.sumo.signals.plans import Plan

# Metres between standing vehicles [code: sumo-rl], SUMO's default.
_GAP = 2.5
# The farthest that players see, metres before the stop line [code: RESCO's agent_config]: MAXWAVE, and all others.
NEAR, FAR = 50.0, 200.0
# Ways from an outgoing lane to the next signal are followed over so many edges at most.
_MOST_EDGES = 12


class Lanes:
    """Density and queue of every incoming lane, shares of what would fit on it [code: sumo-rl].

    Attributes:
        standing: int [lane], vehicles below 0.1 m/s, at the last reading; lanes of all plans one after the other.
        present: int [lane], vehicles.
    """

    def __init__(self, libsumo: Any, plans: Sequence[Plan]) -> None:
        lane = libsumo.lane
        self._number, self._halting = lane.getLastStepVehicleNumber, lane.getLastStepHaltingNumber
        self._length = lane.getLastStepLength
        self.names = [name for plan in plans for name in plan.lanes]
        self._metres = np.array([length for plan in plans for length in plan.lengths])
        self.standing: NDArray[np.int64] = np.zeros(len(self.names), np.int64)
        self.present: NDArray[np.int64] = np.zeros(len(self.names), np.int64)

    def read(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Density and queue, in [0, 1]: [lane]."""
        names = self.names
        self.present = np.array([self._number(name) for name in names])
        self.standing = np.array([self._halting(name) for name in names])
        room = (np.array([self._length(name) for name in names]) + _GAP) / self._metres
        return np.minimum(self.present * room, 1.0), np.minimum(self.standing * room, 1.0)


class Standing:
    """How long the vehicles before each signal have been standing there.

    A vehicle counts from when it is on one of the signal's incoming lanes until it has left them, with the time that it
    stood on them [ours: sumo-rl subtracts what it stood on other lanes that it was seen on].
    """

    def __init__(self, libsumo: Any, plans: Sequence[Plan]) -> None:
        self._vehicles = libsumo.lane.getLastStepVehicleIDs
        self._stood, self._stands = (
            libsumo.vehicle.getAccumulatedWaitingTime,
            libsumo.vehicle.getWaitingTime,
        )
        self._lanes = [plan.lanes for plan in plans]
        # Of each signal: vehicle -> seconds that it had stood before it came.
        self._before: list[dict[str, float]] = [{} for _ in plans]

    def read(self) -> NDArray[np.float64]:
        """Seconds [signal], summed over the vehicles that are there now."""
        return np.array([self._of(signal) for signal in range(len(self._lanes))])

    def _of(self, signal: int) -> float:
        known, there, total = self._before[signal], {}, 0.0
        for lane in self._lanes[signal]:
            for vehicle in self._vehicles(lane):
                stood = self._stood(vehicle)
                before = known.get(vehicle)
                if before is None:
                    before = stood - self._stands(vehicle)
                there[vehicle] = before
                total += stood - before
        self._before[signal] = there
        return total


class Detectors:
    """RESCO's detectors [code]: vehicles on incoming lanes up to a distance before the stop line.

    Who stood at a reading counts as queued from then on, until the detectors of the signal do not see it any more, and
    its wait grows by the interval at each reading.

    Attributes:
        near: lane -> vehicles within `NEAR`.
        queue: lane -> queued vehicles within `FAR`.
        wait: float64 [signal], summed seconds.
    """

    def __init__(self, libsumo: Any, plans: Sequence[Plan], interval: int) -> None:
        self._vehicles = libsumo.lane.getLastStepVehicleIDs
        self._position, self._stands = libsumo.vehicle.getLanePosition, libsumo.vehicle.getWaitingTime
        self._plans, self._interval = plans, interval
        self._waits: list[dict[str, float]] = [{} for _ in plans]
        self.near: dict[str, int] = {}
        self.queue: dict[str, int] = {}
        self.wait: NDArray[np.float64] = np.zeros(len(plans))

    def read(self) -> None:
        """Take a reading; once at the beginning of an episode and after every interval."""
        for signal, plan in enumerate(self._plans):
            known, waits, total = self._waits[signal], {}, 0.0
            for lane, length in zip(plan.lanes, plan.lengths, strict=True):
                near = queued = 0
                for vehicle in self._vehicles(lane):
                    distance = length - self._position(vehicle)
                    if distance > FAR:
                        continue
                    near += distance <= NEAR
                    wait = known.get(vehicle)
                    wait = self._stands(vehicle) if wait is None else wait + self._interval
                    if wait > 0:
                        waits[vehicle] = wait
                        total += wait
                        queued += 1
                self.near[lane], self.queue[lane] = near, queued
            self._waits[signal] = waits
            self.wait[signal] = total


def leads_to(libsumo: Any, plans: Sequence[Plan]) -> dict[str, tuple[str, ...]]:
    """Which lanes before the next signal an outgoing lane leads to; () where there is no choice of one.

    From the outgoing lane's edge on, edges are followed as long as only one comes next.
    """
    signals = {lane: plan for plan in plans for lane in plan.lanes}
    edge_of, links = libsumo.lane.getEdgeID, libsumo.lane.getLinks

    def lanes_of(edge: str) -> list[str]:
        return [f"{edge}_{number}" for number in range(libsumo.edge.getLaneNumber(edge))]

    def follow(edge: str) -> tuple[str, ...]:
        for _ in range(_MOST_EDGES):
            lanes = lanes_of(edge)
            before = tuple(lane for lane in lanes if lane in signals)
            if before:
                return before
            # Turning round leads back, not on.
            origin = libsumo.edge.getFromJunction(edge)
            reached = {edge_of(link[0]) for lane in lanes for link in links(lane)}
            following = {other for other in reached if libsumo.edge.getToJunction(other) != origin}
            if len(following) != 1:
                return ()
            edge = following.pop()
        return ()

    outgoing = {way.outgoing for plan in plans for phase in plan.movements for way in phase}
    ends = {edge: follow(edge) for edge in {edge_of(lane) for lane in outgoing}}
    return {lane: ends[edge_of(lane)] for lane in outgoing}
