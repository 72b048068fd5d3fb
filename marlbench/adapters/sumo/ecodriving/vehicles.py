"""What is read of the vehicles at every step: where they are, how fast, what they emit, who is beside whom."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, NamedTuple

from marlbench.adapters.sumo.ecodriving.demand import Demand, Vehicle
from marlbench.adapters.sumo.ecodriving.intersection import STRAIGHT, Intersection

BEFORE, INSIDE, BEHIND, ELSEWHERE = range(4)
"""Where a vehicle is: on an approach, within the intersection, on an exit; or on none of them."""

_BLINKS_RIGHT, _BLINKS_LEFT = 1, 2


class _Lane(NamedTuple):
    place: int
    edge: str
    lane: int
    # Metres that turn a position on the lane into one from the stop line.
    offset: float


class Moving:
    """A vehicle on the road.

    Attributes:
        vehicle: as it was drawn.
        place: BEFORE, INSIDE, BEHIND or ELSEWHERE.
        edge: SUMO's name.
        lane: index; within the intersection that of the lane before it.
        lane_name: SUMO's name.
        position: metres from the stop line: negative before it, 0 within the intersection.
        speed: metres per second.
        co2: milligrams per second.
        signals: SUMO's bits.
        rank: in its platoon, 0 for the first.
        warmed_up: was near the intersection before anything was counted.
        approach_co2: milligrams so far on its approach.
    """

    __slots__ = (
        "approach_co2",
        "co2",
        "edge",
        "lane",
        "lane_name",
        "place",
        "position",
        "rank",
        "signals",
        "speed",
        "vehicle",
        "warmed_up",
    )

    def __init__(self, vehicle: Vehicle) -> None:
        self.vehicle = vehicle
        self.place, self.edge, self.lane, self.lane_name = ELSEWHERE, "", 0, ""
        self.position = self.speed = self.co2 = self.approach_co2 = 0.0
        self.signals = self.rank = 0
        self.warmed_up = False

    @property
    def blinks_left(self) -> bool:
        return bool(self.signals & _BLINKS_LEFT)

    @property
    def blinks_right(self) -> bool:
        return bool(self.signals & _BLINKS_RIGHT)

    @property
    def near(self) -> bool:
        """Whether it is where vehicles are controlled."""
        return self.place != ELSEWHERE

    @property
    def may_go_on(self) -> bool:
        """Whether its lane leads where it wants to go, as far as can be told."""
        return self.place != BEFORE or self.lane in self.vehicle.movement.lanes[self.edge]


Platoon = tuple[str, int]
"""An exit and the index of a lane: vehicles that drive one behind the other, before the intersection and behind it."""


class Traffic:
    """All vehicles on the road, read anew at every step.

    Attributes:
        moving: by name.
        platoons: those near the intersection, the foremost first.
    """

    def __init__(self, libsumo: Any, intersection: Intersection, demand: Demand) -> None:
        self._vehicle, self._libsumo = libsumo.vehicle, libsumo
        self._intersection, self._demand = intersection, demand
        self._lanes: dict[str, _Lane] = {}
        self._limits: dict[str, float] = {}
        self.moving: dict[str, Moving] = {}
        self.platoons: dict[Platoon, list[Moving]] = {}
        self._positions: dict[Platoon, list[float]] = {}

    def read(self) -> list[Moving]:
        """Take in a step.

        Returns:
            the vehicles that arrived in it.
        """
        arrived = [
            self.moving.pop(name)
            for name in self._libsumo.simulation.getArrivedIDList()
            if name in self.moving
        ]
        read, moving = self._vehicle, self.moving
        for name in read.getIDList():
            found = moving.get(name)
            if found is None:
                found = moving[name] = Moving(self._demand.vehicles[name])
            self._place(found, read.getLaneID(name), read.getLanePosition(name))
            found.speed = read.getSpeed(name)
            found.co2 = read.getCO2Emission(name)
            found.signals = read.getSignals(name)
        return arrived

    def _place(self, moving: Moving, lane_name: str, position: float) -> None:
        lane = self._lanes.get(lane_name)
        if lane is None:
            lane = self._lanes[lane_name] = self._locate(lane_name)
        moving.place, moving.lane_name = lane.place, lane_name
        if lane.place == INSIDE:
            moving.edge, moving.position = lane.edge, 0.0
        else:
            moving.edge, moving.lane, moving.position = lane.edge, lane.lane, position + lane.offset

    def _locate(self, lane_name: str) -> _Lane:
        edge, _, index = lane_name.rpartition("_")
        intersection = self._intersection
        if edge in intersection.before:
            return _Lane(BEFORE, edge, int(index), -intersection.before[edge][1])
        if edge in intersection.exits:
            return _Lane(BEHIND, edge, int(index), 0.0)
        if lane_name.startswith(intersection.inside):
            return _Lane(INSIDE, edge, int(index), 0.0)
        return _Lane(ELSEWHERE, edge, int(index or 0), 0.0)

    def line_up(self) -> None:
        """Find the platoons."""
        platoons: dict[Platoon, list[Moving]] = {}
        for moving in self.moving.values():
            if moving.near:
                platoons.setdefault(self.platoon(moving), []).append(moving)
        for members in platoons.values():
            members.sort(key=_backwards)
            for rank, member in enumerate(members):
                member.rank = rank
        self.platoons = platoons
        self._positions = {key: [-m.position for m in members] for key, members in platoons.items()}

    def platoon(self, moving: Moving, beside: int = 0) -> Platoon:
        """The platoon of a vehicle, or the one `beside` lanes to its left.

        Before the intersection it is told as if everyone went straight on.
        """
        movement = moving.vehicle.movement
        exit_ = movement.exit
        if moving.place == BEFORE and movement.direction != STRAIGHT:
            exit_ = self._intersection.approaches[moving.vehicle.approach].ahead
        return exit_, moving.lane + beside

    def neighbours(self, moving: Moving) -> tuple[Moving | None, Moving | None]:
        """Who drives before and behind a vehicle in its platoon."""
        members, rank = self.platoons[self.platoon(moving)], moving.rank
        before = members[rank - 1] if rank > 0 else None
        behind = members[rank + 1] if rank + 1 < len(members) else None
        return before, behind

    def has_lane(self, moving: Moving, beside: int) -> bool:
        """Whether there is a lane `beside` lanes to the left of a vehicle (to the right where negative)."""
        if beside < 0:
            return moving.lane + beside >= 0
        return moving.lane + beside < self._intersection.lane_counts.get(moving.edge, 0)

    def neighbours_beside(self, moving: Moving, beside: int) -> tuple[Moving | None, Moving | None]:
        """Who drives before and behind a vehicle, in the platoon `beside` lanes to its left."""
        key = self.platoon(moving, beside)
        members = self.platoons.get(key)
        if not members:
            return None, None
        index = bisect_left(self._positions[key], -moving.position)
        return (members[index - 1] if index > 0 else None), (members[index] if index < len(members) else None)

    def speed_limit(self, moving: Moving) -> float:
        """Of the vehicle's lane, metres per second."""
        limit = self._limits.get(moving.lane_name)
        if limit is None:
            limit = self._limits[moving.lane_name] = float(self._libsumo.lane.getMaxSpeed(moving.lane_name))
        return limit


def _backwards(moving: Moving) -> float:
    return -moving.position
