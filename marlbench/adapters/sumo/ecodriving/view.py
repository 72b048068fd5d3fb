"""What a controlled vehicle observes, and the state that critics see.

Speeds are divided by 15 m/s, distances by 250 m and times by 100 s, as in the authors' code. It tells the times of the
second and third green without that division by mistake, and of an absent neighbour a position of 120: here times are
divided like all others, and an absent neighbour is 4 (1 km) away [ours].
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from marlbench.adapters.sumo.ecodriving.intersection import Intersection
from marlbench.adapters.sumo.ecodriving.settings import Settings
from marlbench.adapters.sumo.ecodriving.signal_times import Clock, Light
from marlbench.adapters.sumo.ecodriving.vehicles import BEFORE, BEHIND, INSIDE, Moving, Traffic

SPEED, DISTANCE, TIME = 15.0, 250.0, 100.0

_FAST, _FAR = 3.0, 4.0

_NEIGHBOURS = ("leader", "follower", "left_leader", "left_follower", "right_leader", "right_follower")
_OF_NEIGHBOUR = ("speed", "distance", "blinks_left", "blinks_right")
_CONTEXT = (
    "controlled_share", "approach_length", "speed_limit", "green", "red", "temperature", "humidity", "electric_share",
)  # fmt: skip

# Of the authors' default condition: 68 degrees Fahrenheit, 46 %. SUMO's emission classes know of neither.
_TEMPERATURE, _HUMIDITY = 0.68, 0.46

FEATURES = (
    "speed", "stop_line",
    "signal.green", "signal.amber", "signal.red", "signal.remaining", "signal.second_green", "signal.third_green",
    "edge.incoming", "edge.inside", "edge.outgoing", "lane",
    "turn.left", "turn.straight", "turn.right",
    *(f"{who}.{what}" for who in _NEIGHBOURS for what in _OF_NEIGHBOUR),
    *(f"context.{name}" for name in _CONTEXT),
)  # fmt: skip

OF_SLOT = 4
_OF_ALL = 6 + len(_CONTEXT)


def state_size(slots: int) -> int:
    return slots * OF_SLOT + _OF_ALL


class View:
    """Of one episode."""

    def __init__(self, traffic: Traffic, intersection: Intersection, settings: Settings) -> None:
        self._traffic, self._intersection, self._settings = traffic, intersection, settings
        self._clock = Clock(intersection.program)
        self._contexts: dict[tuple[int, str], list[float]] = {}

    def observe(self, moving: Moving, time: float) -> list[float]:
        """The features of a vehicle, in the order of FEATURES."""
        traffic, movement = self._traffic, moving.vehicle.movement
        light = self._clock.light(movement.link, time)
        count = self._intersection.lane_counts.get(moving.edge, 1)
        features = [
            moving.speed / SPEED,
            moving.position / DISTANCE,
            *_told(light),
            float(moving.place == BEFORE),
            float(moving.place == INSIDE),
            float(moving.place == BEHIND),
            moving.lane / (count - 1) if count > 1 else 0.0,
            *(float(movement.direction == direction) for direction in range(3)),
        ]
        for neighbour in traffic.neighbours(moving):
            features += _neighbour(moving, neighbour)
        for beside in (1, -1):
            if traffic.has_lane(moving, beside):
                for neighbour in traffic.neighbours_beside(moving, beside):
                    features += _neighbour(moving, neighbour)
            else:
                features += 2 * [moving.speed / SPEED, 0.0, 0.0, 0.0]
        return features + self._context(moving.vehicle.approach, movement.exit)

    def _context(self, approach: int, exit_: str) -> list[float]:
        found = self._contexts.get((approach, exit_))
        if found is None:
            of = self._intersection.approaches[approach]
            program = self._intersection.program
            green = program.green_seconds(of.movements[exit_].link)
            found = self._contexts[approach, exit_] = [
                self._settings.controlled_share,
                of.length / DISTANCE,
                of.speed_limit / SPEED,
                green / TIME,
                (program.cycle - green) / TIME,
                _TEMPERATURE,
                _HUMIDITY,
                self._settings.electric_share,
            ]
        return found

    def write_state(
        self, state: NDArray[Any], occupants: list[Moving | None], approach: int, time: float
    ) -> None:
        """What is there altogether.

        Args:
            state: float32 [features], written.
            occupants: of the slots.
            approach: the one whose signal is told.
            time: seconds.
        """
        numbers: list[float] = []
        for moving in occupants:
            if moving is None:
                numbers += OF_SLOT * [0.0]
            else:
                numbers += [1.0, moving.position / DISTANCE, moving.speed / SPEED, float(moving.lane)]
        near = [moving for moving in self._traffic.moving.values() if moving.near]
        of = self._intersection.approaches[approach]
        light = self._clock.light(of.movements[of.ahead].link, time)
        numbers += _told(light)[:4]
        numbers += [len(near) / 50.0, sum(moving.speed for moving in near) / SPEED / max(len(near), 1)]
        state[:] = numbers + self._context(approach, of.ahead)


def _told(light: Light) -> list[float]:
    colours = [float(light.colour == colour) for colour in range(3)]
    return [*colours, light.remaining / TIME, light.second / TIME, light.third / TIME]


def _neighbour(moving: Moving, other: Moving | None) -> list[float]:
    if other is None:
        return [_FAST, _FAR, 0.0, 0.0]
    first = moving if moving.position > other.position else other
    distance = abs(moving.position - other.position) - first.vehicle.length
    return [other.speed / SPEED, distance / DISTANCE, float(other.blinks_left), float(other.blinks_right)]
