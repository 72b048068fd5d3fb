"""The player `hindsight`: of many pairs of players, the one that serves a workload best, found by trying them on it.

It knows all that is to come, so it may rehearse: every pair of built-in players, and rules that know when a page is
used next, play the whole workload with these devices, speeds and queues, and the lowest mean latency after the warm-up
decides. No built-in pair serves the workload better, therefore; what learns could [ours].
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from marlbench.environments.storage import driver, layout
from marlbench.environments.storage.parameters import StorageParameters
from marlbench.environments.storage.systems import Systems
from marlbench.environments.storage.workloads.workload import Workload

# Requests within which a page has to be used again to lie on the fastest device, for the rules that know.
HORIZONS = (64, 512, 4_096)
# Who places, and that rule's horizon: all that keep to capacities.
PLACING = [(code, 0) for code in range(layout.SLOW_ONLY, layout.PLACE_ORACLE + 1)] + [
    (code, horizon) for code in (layout.WITHIN, layout.WITHIN_AND_WRITES) for horizon in HORIZONS
]
MIGRATING = range(layout.NO_MIGRATION, layout.MIGRATE_ORACLE + 1)


class Rehearsal:
    """Tries players on a workload, in a system apart.

    Args:
        parameters: of the task.
        pages, requests: at most so many has a workload.
    """

    def __init__(self, parameters: StorageParameters, pages: int, requests: int) -> None:
        self.parameters, self.pages, self.requests = parameters, pages, requests

    @cached_property
    def systems(self) -> Systems:
        told = self.parameters.model_dump() | {"placement": "lru", "migration": "none"}
        return Systems(StorageParameters(**told), 1, self.pages, self.requests)

    def best(self, workload: Workload, placer: int, migrator: int) -> tuple[int, int, int]:
        """Who places, who migrates, and the horizon of that rule.

        Args:
            placer, migrator: codes of players; those that are `hindsight` are chosen. A migration or a placement that
                is learnt is taken for `none` or for `lru` meanwhile.
        """
        placing, migrating = PLACING, list(MIGRATING)
        if placer != layout.PLACE_HINDSIGHT:
            placing = [(layout.PLACE_LRU if placer == layout.AGENT else placer, 0)]
        if migrator != layout.MIGRATE_HINDSIGHT:
            migrating = [layout.NO_MIGRATION if migrator == layout.AGENT else migrator]
        self.systems.feed(0, workload)
        found = min(
            (self._latency(place, move, horizon), place, move, horizon)
            for place, horizon in placing
            for move in migrating
        )
        _, place, move, horizon = found
        return (
            place if placer == layout.PLACE_HINDSIGHT else placer,
            move if migrator == layout.MIGRATE_HINDSIGHT else migrator,
            horizon,
        )

    def _latency(self, placer: int, migrator: int, horizon: int) -> float:
        systems = self.systems
        systems.begin([0])
        systems.play(0, placer, migrator, horizon)
        length = int(systems.feeds.lengths[0])
        driver.simulate_rows(systems.row, systems.feeds, systems.rules, length, np.zeros((1, 0)))
        return float(systems.measures()["latency_mean"][0])
