"""What pictures are drawn from: the map, the queues of a moment, the delays of an episode. Runs in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.sumo.signals.plans import Plan

Shape = NDArray[np.float64]
"""Metres [point, 2], x and y; y grows northwards."""


@dataclass(frozen=True)
class Map:
    """What does not change.

    Attributes:
        edges: name of a road -> the middle of it.
        lanes: incoming lanes of all signals, one after the other.
        signals: name -> where it stands.
    """

    edges: dict[str, Shape]
    lanes: list[Shape]
    signals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Moment:
    """What a row shows.

    Attributes:
        time: seconds since midnight.
        standing: int [lane], vehicles that stand on the incoming lanes.
    """

    time: float
    standing: NDArray[np.int64]


@dataclass(frozen=True)
class Story:
    """An episode.

    Attributes:
        begin: its first second.
        interval: seconds between readings.
        standing: int [reading, signal], vehicles that stand before each signal.
        delays: edge -> seconds that a vehicle lost on it, on average; {} where nobody watched from the beginning on.
    """

    begin: float
    interval: float
    standing: NDArray[np.int64]
    delays: dict[str, float]


def chart(libsumo: Any, plans: Sequence[Plan]) -> Map:
    """The map of the running simulation."""
    edges = [edge for edge in libsumo.edge.getIDList() if not edge.startswith(":")]
    return Map(
        edges={edge: np.array(libsumo.lane.getShape(f"{edge}_0")) for edge in edges},
        lanes=[np.array(libsumo.lane.getShape(lane)) for plan in plans for lane in plan.lanes],
        signals={
            plan.signal: tuple(np.mean([libsumo.lane.getShape(lane)[-1] for lane in plan.lanes], 0))
            for plan in plans
        },
    )


def mean_delays(written: bytes) -> dict[str, float]:
    """Seconds lost on each edge by a vehicle that drove on it, out of SUMO's edge data."""
    delays = {}
    for edge in ElementTree.fromstring(written).iter("edge"):
        drove = float(edge.attrib.get("entered", 0)) + float(edge.attrib.get("departed", 0))
        if drove:
            delays[edge.attrib["id"]] = float(edge.attrib.get("timeLoss", 0)) / drove
    return delays
