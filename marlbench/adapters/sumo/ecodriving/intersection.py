"""The roads around the signal of an intersection, read from SUMO's network file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from marlbench.adapters.sumo.ecodriving.signal_times import Program
from marlbench.errors import ConfigurationError

LEFT, STRAIGHT, RIGHT = range(3)

_DIRECTIONS = {"l": LEFT, "L": LEFT, "s": STRAIGHT, "r": RIGHT, "R": RIGHT}

# The share of vehicles that turn to either side, where they can also go straight [code].
_TURNING = 0.1

# Vehicles that come from the first of an approach's roads upstream, and from the second [code].
_FROM_UPSTREAM = {"A": 0.1, "B": 0.9}


@dataclass(frozen=True)
class Movement:
    """From an approach to an exit.

    Attributes:
        exit: the edge behind the intersection.
        direction: LEFT, STRAIGHT or RIGHT.
        share: of the approach's vehicles.
        link: index of the signal that it obeys.
        lanes: from which it goes on, on each edge of the approach.
    """

    exit: str
    direction: int
    share: float
    link: int
    lanes: dict[str, frozenset[int]]


@dataclass(frozen=True)
class Approach:
    """A road towards the signal.

    Attributes:
        name: of its first edge.
        edges: in driving order; all but the last only lead to the next.
        entries: edges on which vehicles depart -> share of the vehicles; the approach where there is none upstream.
        lanes: of its first edge.
        length: metres.
        speed_limit: metres per second, of its first lane.
        movements: by exit.
        ahead: the exit straight ahead, or the one that most lanes lead to.
    """

    name: str
    edges: tuple[str, ...]
    entries: dict[str, float]
    lanes: int
    length: float
    speed_limit: float
    movements: dict[str, Movement]
    ahead: str


@dataclass(frozen=True)
class Intersection:
    """What lies around one signal.

    Attributes:
        name: of the context.
        approaches: in the order of their names.
        before: edge of an approach -> (number of the approach, metres from its beginning to the stop line).
        exits: edges behind the intersection.
        inside: beginnings of the names of lanes within the intersection.
        lane_counts: of every edge on which vehicles depart, before and behind the intersection.
        signal: name of its signal.
        program: of the signal.
    """

    name: str
    approaches: tuple[Approach, ...]
    before: dict[str, tuple[int, float]]
    exits: frozenset[str]
    inside: tuple[str, ...]
    lane_counts: dict[str, int]
    signal: str
    program: Program


def read(name: str, path: str) -> Intersection:
    """Read a network file: that of IntersectionZoo, whose signal is called TL, or one with a single signal.

    Args:
        name: of the context.
        path: of the file.

    Raises:
        ConfigurationError: it is no network, or has no signal of the kind.
    """
    import sumolib

    try:
        net = sumolib.net.readNet(path, withPrograms=True, withInternal=False)
        node = _signalised(net, name)
        return _around(net, node, name)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"the network of {name} cannot be read: {type(error).__name__}: {error}.",
            hint="It has to be a network of SUMO (net.net.xml), as netconvert and netgenerate write it.",
        ) from error


def _signalised(net: Any, name: str) -> Any:
    nodes = [node for node in net.getNodes() if node.getType().startswith("traffic_light")]
    named = [node for node in nodes if node.getID() == "TL"]
    if len(named or nodes) != 1:
        raise ConfigurationError(
            f"the network of {name} has {len(nodes)} signals and none is called TL.",
            hint="Call the junction of the intersection TL, or leave no signal but its own.",
        )
    return (named or nodes)[0]


def _around(net: Any, node: Any, name: str) -> Intersection:
    approaches: list[Approach] = []
    before: dict[str, tuple[int, float]] = {}
    inside = [f":{node.getID()}_"]
    signals: set[str] = set()
    for last in sorted(node.getIncoming(), key=lambda edge: edge.getID()):
        chain = list(_chain(last, node))
        movements = _movements(chain)
        if not movements:
            continue
        signals.update(c.getTLSID() for lane in last.getLanes() for c in lane.getOutgoing() if c.getTLSID())
        inside += [f":{edge.getToNode().getID()}_" for edge in chain[:-1]]
        remaining = 0.0
        for edge in reversed(chain):
            remaining += edge.getLength()
            before[edge.getID()] = (len(approaches), remaining)
        ahead = max(movements.values(), key=lambda m: (m.direction == STRAIGHT, len(m.lanes[last.getID()])))
        approaches.append(
            Approach(
                name=chain[0].getID(),
                edges=tuple(edge.getID() for edge in chain),
                entries=_entries(chain[0], node),
                lanes=chain[0].getLaneNumber(),
                length=remaining,
                speed_limit=chain[0].getLane(0).getSpeed(),
                movements=movements,
                ahead=ahead.exit,
            )
        )
    if not approaches or len(signals) != 1:
        raise ConfigurationError(
            f"the network of {name} has {len(approaches)} approaches at {node.getID()} and {len(signals)} programs.",
            hint="An intersection has one signal and at least one road that leads to it and on.",
        )
    signal = signals.pop()
    exits = frozenset(movement.exit for approach in approaches for movement in approach.movements.values())
    entries = {edge for approach in approaches for edge in approach.entries}
    return Intersection(
        name=name,
        approaches=tuple(approaches),
        before=before,
        exits=exits,
        inside=tuple(dict.fromkeys(inside)),
        lane_counts={edge: net.getEdge(edge).getLaneNumber() for edge in {*before, *exits, *entries}},
        signal=signal,
        program=_program(net.getTLS(signal), name),
    )


def _chain(last: Any, node: Any) -> Iterator[Any]:
    """The edges of an approach: where only one leads to the next, without a signal, they are one road."""
    found = [last]
    while True:
        start = found[0].getFromNode()
        upstream = [edge for edge in start.getIncoming() if edge.getFromNode() != node]
        single = len(upstream) == 1 and len(start.getOutgoing()) == 1
        if start.getType().startswith("traffic_light") or not single or upstream[0] in found:
            return iter(found)
        found.insert(0, upstream[0])


def _movements(chain: list[Any]) -> dict[str, Movement]:
    found: dict[str, tuple[int, int, set[int]]] = {}
    for lane in chain[-1].getLanes():
        for connection in lane.getOutgoing():
            direction = _DIRECTIONS.get(connection.getDirection())
            if direction is None or not connection.getTLSID():
                continue
            exit_ = connection.getTo().getID()
            _, _, lanes = found.setdefault(exit_, (direction, connection.getTLLinkIndex(), set()))
            lanes.add(lane.getIndex())
    shares = _shares(found)
    return {
        exit_: Movement(exit_, direction, shares[exit_], link, _lanes(chain, lanes))
        for exit_, (direction, link, lanes) in sorted(found.items())
    }


def _lanes(chain: list[Any], last: set[int]) -> dict[str, frozenset[int]]:
    """On each edge of an approach the lanes that lead to those of its last edge; all, where none does."""
    found = {chain[-1].getID(): frozenset(last)}
    for edge, following in zip(reversed(chain[:-1]), reversed(chain[1:]), strict=True):
        leading = {
            lane.getIndex()
            for lane in edge.getLanes()
            for connection in lane.getOutgoing()
            if connection.getToLane().getIndex() in found[following.getID()]
        }
        found[edge.getID()] = frozenset(leading or range(edge.getLaneNumber()))
    return found


def _shares(found: dict[str, tuple[int, int, set[int]]]) -> dict[str, float]:
    """A tenth turn to each side where one can go straight; else traffic follows the lanes [code]."""
    of_direction = {
        d: [e for e, (found_d, _, _) in found.items() if found_d == d] for d in (LEFT, STRAIGHT, RIGHT)
    }
    if not of_direction[STRAIGHT]:
        every = sum(len(lanes) for _, _, lanes in found.values())
        return {exit_: len(lanes) / every for exit_, (_, _, lanes) in found.items()}
    turning = _TURNING * sum(bool(of_direction[d]) for d in (LEFT, RIGHT))
    of = {LEFT: _TURNING, RIGHT: _TURNING, STRAIGHT: 1.0 - turning}
    return {exit_: of[direction] / len(of_direction[direction]) for exit_, (direction, _, _) in found.items()}


def _entries(first: Any, node: Any) -> dict[str, float]:
    upstream = {
        edge.getID(): edge
        for edge in first.getFromNode().getIncoming()
        if edge.getFromNode() != node and first in edge.getOutgoing()
    }
    start = first.getFromNode().getID()
    named = {f"{start}{letter}2{start}": share for letter, share in _FROM_UPSTREAM.items()}
    if named.keys() <= upstream.keys():
        return named
    if upstream:
        return dict.fromkeys(sorted(upstream), 1.0 / len(upstream))
    return {first.getID(): 1.0}


def _program(signal: Any, name: str) -> Program:
    programs = list(signal.getPrograms().values())
    if len(programs) != 1 or programs[0].getType() != "static":
        raise ConfigurationError(
            f"the signal of {name} has {len(programs)} programs, or one that is not static.",
            hint="Eco-driving tells vehicles when they will have green: the signal needs one static program.",
        )
    phases = tuple((float(phase.duration), str(phase.state)) for phase in programs[0].getPhases())
    return Program(phases, float(programs[0].getOffset()))
