"""When a signal of fixed times shows green, amber and red to a movement."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

GREEN, AMBER, RED = range(3)


@dataclass(frozen=True)
class Light:
    """What a movement is shown.

    Attributes:
        colour: GREEN, AMBER or RED.
        remaining: seconds to the end of green, else to its beginning; amber counts as red.
        second, third: seconds to the beginnings of the second and third next green; the first is the present one
            where there is green, whose beginning lies behind.
    """

    colour: int
    remaining: float
    second: float
    third: float


@dataclass(frozen=True)
class Program:
    """Of a static signal.

    Attributes:
        phases: (seconds, state: a letter for each link).
        offset: seconds by which the cycle begins later.
    """

    phases: tuple[tuple[float, str], ...]
    offset: float = 0.0

    @cached_property
    def cycle(self) -> float:
        """Seconds."""
        return sum(seconds for seconds, _ in self.phases)

    def state(self, time: float) -> str:
        """The letters of all links at a time."""
        within = (time - self.offset) % self.cycle
        for seconds, state in self.phases:
            if within < seconds:
                return state
            within -= seconds
        return self.phases[-1][1]

    def greens(self, link: int) -> tuple[tuple[float, float], ...]:
        """Beginnings and ends of green within a cycle, in seconds; an end may lie in the next cycle."""
        found: list[tuple[float, float]] = []
        start = 0.0
        for seconds, state in self.phases:
            if state[link] in "gG":
                if found and found[-1][1] == start:
                    found[-1] = (found[-1][0], start + seconds)
                else:
                    found.append((start, start + seconds))
            start += seconds
        if len(found) > 1 and found[0][0] == 0.0 and found[-1][1] == start:
            # Green goes on over the end of the cycle.
            first = found.pop(0)
            found[-1] = (found[-1][0], start + first[1])
        return tuple(found)

    def green_seconds(self, link: int) -> float:
        """Of a cycle."""
        return sum(end - start for start, end in self.greens(link))


class Clock:
    """What the links of a signal are shown, at any time."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._greens: dict[int, tuple[tuple[float, float], ...]] = {}

    def light(self, link: int, time: float) -> Light:
        """Of a link at a time in seconds. One that never has green, or always, changes in a cycle's time."""
        program, cycle = self._program, self._program.cycle
        if link not in self._greens:
            self._greens[link] = program.greens(link)
        greens = self._greens[link]
        if not greens:
            return Light(RED, cycle, 2 * cycle, 3 * cycle)
        if program.green_seconds(link) >= cycle:
            return Light(GREEN, cycle, cycle, 2 * cycle)
        within = (time - program.offset) % cycle
        # Those that are not over yet, in order; the last cycle's may reach into this one.
        coming = [
            (start + shift, end + shift)
            for shift in (-cycle, 0.0, cycle, 2 * cycle, 3 * cycle)
            for start, end in greens
            if end + shift > within
        ]
        start, end = coming[0]
        second, third = coming[1][0] - within, coming[2][0] - within
        if start <= within:
            return Light(GREEN, end - within, second, third)
        amber = program.state(time)[link] in "yY"
        return Light(AMBER if amber else RED, start - within, second, third)
