"""The green phases of one signal, what is yellow between them, and which lanes they let go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marlbench.errors import ConfigurationError

_GREEN = "Gg"


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
        lanes: incoming, each once, in the order of the links.
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


def read(libsumo: Any) -> list[Plan]:
    """The plans of all signals of the running simulation that have a choice, in SUMO's order of their names.

    Raises ConfigurationError where there is none.
    """
    plans = [_plan(libsumo, signal) for signal in libsumo.trafficlight.getIDList()]
    chosen = [plan for plan in plans if len(plan.phases) > 1]
    if not chosen:
        raise ConfigurationError(
            "no signal of the network has two green phases to choose from.",
            hint="`netconvert --tls.guess` adds signals to a network.",
        )
    return chosen


def _plan(libsumo: Any, signal: str) -> Plan:
    program = libsumo.trafficlight.getProgram(signal)
    logic = next(
        logic for logic in libsumo.trafficlight.getAllProgramLogics(signal) if logic.programID == program
    )
    states = [phase.state for phase in logic.phases]
    phases = tuple(
        state for state in states if "y" not in state and any(letter in state for letter in _GREEN)
    )
    # A link is a list of ways that share a letter; those without any belong to crossings that were taken out.
    links = libsumo.trafficlight.getControlledLinks(signal)
    lanes = tuple(dict.fromkeys(way[0] for ways in links for way in ways))
    return Plan(
        signal=signal,
        phases=phases,
        lanes=lanes,
        lengths=tuple(libsumo.lane.getLength(lane) for lane in lanes),
        movements=tuple(_movements(links, state) for state in phases),
    )


def _movements(links: Any, state: str) -> tuple[Movement, ...]:
    green = (
        Movement(way[0], way[1])
        for letter, ways in zip(state, links, strict=False)
        if letter in _GREEN
        for way in ways
    )
    return tuple(dict.fromkeys(green))
