"""What is read of the lanes that lead to signals: for observations, for rewards, and for players by rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
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
_NOBODY: list[str] = []


class Lanes:
    """What is on every incoming lane: who, and density and queue as shares of what would fit [code: sumo-rl].

    Vehicles are asked where they are: most lanes are empty most of the time, and SUMO has had to move every vehicle
    anyhow. Only lanes with vehicles are asked for more.

    Attributes:
        names: of the lanes, those of all plans one after the other.
        of_signal: for each plan, where its lanes stand among all.
        vehicles: of each lane, at the last reading.
        standing: int [lane], vehicles below 0.1 m/s, at the last reading.
    """

    def __init__(self, libsumo: Any, plans: Sequence[Plan]) -> None:
        self._running, self._place = libsumo.vehicle.getIDList, libsumo.vehicle.getLaneID
        self._halting, self._length = libsumo.lane.getLastStepHaltingNumber, libsumo.lane.getLastStepLength
        self.names = [name for plan in plans for name in plan.lanes]
        ends = np.cumsum([0, *(len(plan.lanes) for plan in plans)]).tolist()
        self.of_signal = [slice(start, stop) for start, stop in pairwise(ends)]
        # A lane that leads to two signals is listed for each.
        self._numbers: dict[str, list[int]] = defaultdict(list)
        for number, name in enumerate(self.names):
            self._numbers[name].append(number)
        self._metres = [length for plan in plans for length in plan.lengths]
        self.vehicles: list[list[str]] = [[] for _ in self.names]
        self.standing: NDArray[np.int64] = np.zeros(len(self.names), np.int64)

    def read(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Take a reading: density and queue, in [0, 1]: [lane]."""
        found: dict[str, list[str]] = defaultdict(list)
        for vehicle in self._running():
            found[self._place(vehicle)].append(vehicle)
        density, queue = np.zeros((2, len(self.names)))
        self.standing = np.zeros(len(self.names), np.int64)
        self.vehicles = [_NOBODY] * len(self.names)
        for name, there in found.items():
            if name not in self._numbers:
                continue
            standing, length = self._halting(name), self._length(name)
            for number in self._numbers[name]:
                room = (length + _GAP) / self._metres[number]
                density[number], queue[number] = min(len(there) * room, 1.0), min(standing * room, 1.0)
                self.vehicles[number], self.standing[number] = there, standing
        return density, queue


class Standing:
    """How long the vehicles before each signal have been standing there.

    A vehicle counts from when it is on one of the signal's incoming lanes until it has left them, with the time that it
    stood on them [ours: sumo-rl subtracts what it stood on other lanes that it was seen on].
    """

    def __init__(self, libsumo: Any, lanes: Lanes) -> None:
        vehicle = libsumo.vehicle
        self._stood, self._stands = vehicle.getAccumulatedWaitingTime, vehicle.getWaitingTime
        self._lanes = lanes
        # Of each signal: vehicle -> seconds that it had stood before it came.
        self._before: list[dict[str, float]] = [{} for _ in lanes.of_signal]

    def read(self) -> NDArray[np.float64]:
        """Seconds [signal], summed over the vehicles that were there when the lanes were read."""
        return np.array([self._of(signal, lanes) for signal, lanes in enumerate(self._lanes.of_signal)])

    def _of(self, signal: int, lanes: slice) -> float:
        known, there, total = self._before[signal], {}, 0.0
        for vehicles in self._lanes.vehicles[lanes]:
            for vehicle in vehicles:
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

    def __init__(self, libsumo: Any, plans: Sequence[Plan], lanes: Lanes, interval: int) -> None:
        self._position, self._stands = libsumo.vehicle.getLanePosition, libsumo.vehicle.getWaitingTime
        self._plans, self._lanes, self._interval = plans, lanes, interval
        self._waits: list[dict[str, float]] = [{} for _ in plans]
        self.near: dict[str, int] = dict.fromkeys(lanes.names, 0)
        self.queue: dict[str, int] = dict.fromkeys(lanes.names, 0)
        self.wait: NDArray[np.float64] = np.zeros(len(plans))

    def read(self) -> None:
        """Take a reading of whom `Lanes` has just read; once when an episode begins and after every interval."""
        for signal, (plan, lanes) in enumerate(zip(self._plans, self._lanes.of_signal, strict=True)):
            known, waits, total = self._waits[signal], {}, 0.0
            for lane, length, there in zip(
                plan.lanes, plan.lengths, self._lanes.vehicles[lanes], strict=True
            ):
                near = queued = 0
                for vehicle in there:
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
