"""A row of a task on SUMO, in a process of its own: the base of what workers play."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

from marlbench.adapters.copies import Copies
from marlbench.adapters.games import Rules
from marlbench.adapters.row import WritingRow
from marlbench.adapters.spaces import Description
from marlbench.adapters.sumo.simulation import Simulation
from marlbench.adapters.sumo.trips import Trips

T = TypeVar("T")


class SumoRow(WritingRow):
    """Holds the process's simulation and what SUMO tells of trips.

    Subclasses fill in `describe`, and `start`, `advance`, `measure` of `WritingRow`: `start` calls `begin_simulation`,
    `measure` may call `end_simulation`. The task's parameters are `rules.kwargs`.

    SUMO's episodes follow from their seeds in a process that has simulated nothing else. After another simulation they
    may differ (seen with 1.28: one seed, two outcomes), which is why `sumo_rules` ask for fresh copies of the process.

    Attributes:
        simulation: the only one of the process.
    """

    def __init__(self, rules: Rules) -> None:
        if rules.fresh:
            self._copies = Copies()
        self.simulation = Simulation()
        self._trips = Trips()
        try:
            super().__init__(rules, self.describe(rules))
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def describe(self, rules: Rules) -> Description:
        """What the task looks like; may begin a simulation to find out, within `once`."""

    def once(self, question: Callable[[], T]) -> T:
        """What a function returns that simulates something: in a copy of the process, so that nothing of it stays."""
        return question() if self._copies is None else self._copies.ask(question)

    def begin_simulation(self, options: list[str], seed: int) -> None:
        """Begin with these options of SUMO's command line; all that SUMO draws follows from the seed."""
        self.simulation.begin([*options, "--seed", str(seed), *self._trips.options])

    def end_simulation(self) -> Trips:
        """End it, and tell of all trips."""
        self.simulation.end()
        self._trips.read()
        return self._trips

    def close(self) -> None:
        self.simulation.close()
        self._trips.close()
