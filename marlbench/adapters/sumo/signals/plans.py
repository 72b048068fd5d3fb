"""The green phases of one signal, what is yellow between them, and which lanes they let go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from marlbench.errors import ConfigurationError

_GREEN = "Gg"
# So often a lane that is too short is replaced by those before it, which may be too short again.
_MOST_STUBS = 4

Seen = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True)
class Movement:
    """One way through the intersection.

    Attributes:
        incoming: lane that it comes from.
        outgoing: lane that it leads to.
    """

    incoming: str
    outgoing: str


@dataclass(frozen=True)
class Plan:
    """What a signal can show; letters are SUMO's, one for each of its links.

    Attributes:
        signal: its name.
        phases: states with some green and no yellow, in the order of the network's program: the actions.
        lanes: incoming, each once, in the order of the links; instead of one that is too short, those before it.
        lengths: of those lanes, metres.
        movements: of each phase, those that are green, each once.
    """

    signal: str
    phases: tuple[str, ...]
    lanes: tuple[str, ...]
    lengths: tuple[float, ...]
    movements: tuple[tuple[Movement, ...], ...]

    def between(self, phase: int, following: int) -> str:
        """The state before a change: yellow where a link loses its green, and otherwise as it was."""
        return "".join(
            "y" if was in _GREEN and comes not in _GREEN else was
            for was, comes in zip(self.phases[phase], self.phases[following], strict=True)
        )

    def served(self, phase: int) -> tuple[str, ...]:
        """Incoming lanes from which somebody may drive, each once."""
        return tuple(dict.fromkeys(movement.incoming for movement in self.movements[phase]))


def read(libsumo: Any, shortest_lane: float = 0.0) -> list[Plan]:
    """The plans of all signals of the running simulation that have a choice, in SUMO's order of their names.

    Args:
        shortest_lane: metres; instead of incoming lanes shorter than this, those that lead to them are seen. RESCO
            lists such lanes by hand [code: signal_config]; at 5 m this finds the same and one approach more [ours].

    Raises ConfigurationError where there is none.
    """
    signals = libsumo.trafficlight.getIDList()
    seen = _seen(libsumo, signals, shortest_lane)
    plans = [_plan(libsumo, signal, seen) for signal in signals]
    chosen = [plan for plan in plans if len(plan.phases) > 1]
    if not chosen:
        raise ConfigurationError(
            "no signal of the network has two green phases to choose from.",
            hint="`netconvert --tls.guess` adds signals to a network.",
        )
    return chosen


def _seen(libsumo: Any, signals: tuple[str, ...], shortest: float) -> Seen:
    """Which lanes stand for an incoming lane: itself, or those before it that no other signal has."""
    controlled = {
        way[0]
        for signal in signals
        for ways in libsumo.trafficlight.getControlledLinks(signal)
        for way in ways
    }
    short = {lane for lane in controlled if libsumo.lane.getLength(lane) < shortest}
    before: dict[str, list[str]] = defaultdict(list)
    if short:
        # Lanes within junctions begin with a colon.
        for lane in (name for name in libsumo.lane.getIDList() if not name.startswith(":")):
            for link in libsumo.lane.getLinks(lane):
                before[link[0]].append(lane)

    def seen(lane: str, depth: int = 0) -> tuple[str, ...]:
        if libsumo.lane.getLength(lane) >= shortest or depth == _MOST_STUBS:
            return (lane,)
        sources = [source for source in before[lane] if source not in controlled]
        return tuple(dict.fromkeys(one for source in sources for one in seen(source, depth + 1))) or (lane,)

    return seen


def _plan(libsumo: Any, signal: str, seen: Seen) -> Plan:
    program = libsumo.trafficlight.getProgram(signal)
    logic = next(
        logic for logic in libsumo.trafficlight.getAllProgramLogics(signal) if logic.programID == program
    )
    states = [phase.state for phase in logic.phases]
    phases = tuple(
        state for state in states if "y" not in state and any(letter in state for letter in _GREEN)
    )
    # A link is a list of ways that share a letter; those without any belong to crossings that were taken out.
    links = [
        [Movement(lane, way[1]) for way in ways for lane in seen(way[0])]
        for ways in libsumo.trafficlight.getControlledLinks(signal)
    ]
    lanes = tuple(dict.fromkeys(way.incoming for ways in links for way in ways))
    return Plan(
        signal=signal,
        phases=phases,
        lanes=lanes,
        lengths=tuple(libsumo.lane.getLength(lane) for lane in lanes),
        movements=tuple(_movements(links, state) for state in phases),
    )


def _movements(links: list[list[Movement]], state: str) -> tuple[Movement, ...]:
    green = (way for letter, ways in zip(state, links, strict=False) if letter in _GREEN for way in ways)
    return tuple(dict.fromkeys(green))
