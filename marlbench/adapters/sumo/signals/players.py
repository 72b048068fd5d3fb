"""Players by rule: which phase a signal shows next. They learn nothing.

Greedy and max pressure are RESCO's [code], with its detectors and ranges. Where RESCO lists by hand which lanes a phase
serves and which lie behind, here the network tells it [ours]: all lanes from which the phase lets somebody drive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from marlbench.adapters.sumo.signals.plans import Plan
from marlbench.adapters.sumo.signals.sensors import Detectors

Behind = Mapping[str, tuple[str, ...]]
Player = Callable[[Plan, Detectors, Behind], int]

FIXED_TIME = "fixed_time"


def _best(values: list[tuple[float, ...]]) -> int:
    """The first of the largest."""
    return max(range(len(values)), key=lambda phase: (values[phase], -phase))


def greedy(plan: Plan, seen: Detectors, behind: Behind) -> int:
    """The phase that serves the most vehicles near the stop line, queued or approaching (RESCO's MAXWAVE)."""
    return _best(
        [(sum(seen.near[lane] for lane in plan.served(phase)),) for phase in range(len(plan.phases))]
    )


def longest_queue(plan: Plan, seen: Detectors, behind: Behind) -> int:
    """The phase that serves the lane with the longest queue; of several, the one that serves the most queued vehicles
    (Wunderlich et al. 2008, longest queue first)."""

    def value(phase: int) -> tuple[float, ...]:
        queues = [seen.queue[lane] for lane in plan.served(phase)]
        return max(queues), sum(queues)

    return _best([value(phase) for phase in range(len(plan.phases))])


def max_pressure(plan: Plan, seen: Detectors, behind: Behind) -> int:
    """The phase with the largest pressure (Varaiya 2013): queued vehicles on the lanes that it serves, less those
    before the next signals that it leads to."""

    def value(phase: int) -> tuple[float, ...]:
        before = sum(seen.queue[lane] for lane in plan.served(phase))
        after = {lane for way in plan.movements[phase] for lane in behind.get(way.outgoing, ())}
        return (before - sum(seen.queue[lane] for lane in after),)

    return _best([value(phase) for phase in range(len(plan.phases))])


# The order is part of what cells mean: `built_in` plays the first where none is named.
PLAYERS: dict[str, Player | None] = {
    FIXED_TIME: None,
    "greedy": greedy,
    "longest_queue": longest_queue,
    "max_pressure": max_pressure,
}
