"""Storage systems side by side: their arrays, how they begin, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marlbench.environments.storage import driver, layout
from marlbench.environments.storage.devices import PAGE_BYTES, table
from marlbench.environments.storage.layout import Feed, Feeds, Row, Rules
from marlbench.environments.storage.parameters import MIGRATIONS, PLACEMENTS, StorageParameters
from marlbench.environments.storage.workloads.workload import Workload

if TYPE_CHECKING:
    from marlbench.environments.storage.hindsight import Rehearsal

MEASURES = (
    "latency_mean",
    "latency_p95",
    "latency_p99",
    "latency_to_fast_only",
    "requests_per_second",
    "evictions",
    "migrations",
    "promotions",
    "mebibytes_moved",
    "fast_share",
)
_REWARDS = ("sibyl", "sibyl_code", "harmonia")


class Systems:
    """Rows of storage systems, each with a workload of its own.

    Args:
        parameters: of all of them.
        rows: how many.
        pages: most pages of a workload.
        requests: most requests of one.

    Attributes:
        row: the arrays of `layout.Row`, with the row axis in front.
        workloads: of each row, once it began.
        fast_only: float64 [row], mean microseconds of a request by the fastest device alone.
    """

    def __init__(self, parameters: StorageParameters, rows: int, pages: int, requests: int) -> None:
        self.parameters, self.rows = parameters, rows
        devices = len(parameters.configuration)
        capacity = max(_capacities(parameters, pages)[:-1])
        self.row = Row(
            pages=np.zeros((rows, pages, layout.PAGE_FIELDS), np.int32),
            # What one device evicts is in the next one's heap before that makes room.
            heaps=np.zeros((rows, devices - 1, min(pages, 2 * capacity + 1)), np.int32),
            state=np.zeros(rows, layout.STATE),
        )
        self.rules = Rules(
            table=table(parameters.configuration),
            batch=parameters.migration_batch,
            window=parameters.migration_window,
            hot=parameters.hot_count,
            cold=parameters.cold_requests,
            closed=parameters.arrivals == "closed",
            load=parameters.load,
            unit=parameters.reward_unit,
            ping_pong=parameters.ping_pong,
            reward=_REWARDS.index(parameters.reward),
        )
        self.feeds = Feeds(
            arrivals=np.zeros((rows, requests)),
            requests=np.zeros((rows, requests, 3), np.int32),
            offsets=np.zeros((rows, 1), np.int64),
            following=np.zeros((rows, 1), np.int32),
            lengths=np.zeros(rows, np.int64),
            largest=np.ones(rows, np.int64),
            of_row=np.arange(rows),
        )
        self.workloads: list[Workload | None] = [None] * rows
        self.fast_only = np.zeros(rows)

    def feed(self, row: int, workload: Workload) -> None:
        """Take a workload for a row, which begins anew after `begin` or goes on with a state that is loaded."""
        length, feeds = len(workload), self.feeds
        self.workloads[row] = workload
        feeds.arrivals[row, :length] = workload.arrivals
        feeds.requests[row, :length] = workload.requests
        feeds.lengths[row] = length
        feeds.largest[row] = workload.largest
        warm_up = self._warm_up(length)
        carry = np.array([0.0, -1.0, 0.0])
        driver.fast_only_latency(self.feed_of(row), self.rules, warm_up, carry)
        self.fast_only[row] = carry[2] / max(1, length - warm_up)

    def feed_of(self, row: int) -> Feed:
        """What is asked of a row."""
        feeds = self.feeds
        length = int(feeds.lengths[row])
        return Feed(
            feeds.arrivals[row, :length],
            feeds.requests[row, :length],
            feeds.offsets[row],
            feeds.following[row],
        )

    def begin(
        self, numbers: Sequence[int], working_set: int | None = None, warm_up: int | None = None
    ) -> None:
        """Fresh systems in these rows: every page on the slowest device, nothing in use, the players of the parameters.

        `working_set` (pages) and `warm_up` (requests) are those of the workload, unless it is part of a longer one.
        """
        last = len(self.parameters.configuration) - 1
        for row in numbers:
            workload = self.workloads[row]
            assert workload is not None
            pages = self.row.pages[row]
            pages[:] = (last, -1, -1, 0, -1, -1, layout.NEVER, 0)
            self.row.heaps[row] = 0
            state = self.row.state[row]
            for name in layout.STATE.fields or ():
                state[name] = 0
            state["lists"] = -1
            state["ring"] = -1.0
            devices = state["devices"][: last + 1]
            size = workload.working_set if working_set is None else working_set
            devices[:, layout.CAPACITY] = _capacities(self.parameters, size)
            devices[last, layout.USED] = size
            devices[:, layout.END] = -1
            state["whole"][layout.WARM_UP] = self._warm_up(len(workload)) if warm_up is None else warm_up
            self.let_play(
                row,
                _code(PLACEMENTS, self.parameters.placement),
                _code(MIGRATIONS, self.parameters.migration),
            )
        driver.begin_rows(self.row, self.feeds, self.rules, np.asarray(numbers, np.int64))

    def let_play(self, row: int, placer: int, migrator: int) -> None:
        """Players of a row that has not begun: numbers of built-in ones, or -1 for agents."""
        whole = self.row.state[row]["whole"]
        whole[layout.ASKED_PLACER], whole[layout.ASKED_MIGRATOR] = placer, migrator
        if placer == layout.PLACE_HINDSIGHT or migrator == layout.MIGRATE_HINDSIGHT:
            workload = self.workloads[row]
            assert workload is not None
            self.play(row, *self._rehearsal.best(workload, placer, migrator))
        else:
            self.play(row, placer, migrator)

    @cached_property
    def _rehearsal(self) -> Rehearsal:
        from marlbench.environments.storage.hindsight import Rehearsal

        return Rehearsal(self.parameters, self.row.pages.shape[1], self.feeds.arrivals.shape[1])

    def play(self, row: int, placer: int, migrator: int, horizon: int = 0) -> None:
        """These play, whoever was asked for; `horizon` is of the rules that `hindsight` knows."""
        state = self.row.state[row]
        whole = state["whole"]
        whole[layout.PLACER], whole[layout.MIGRATOR], whole[layout.HORIZON] = placer, migrator, horizon
        knows = placer in (layout.PLACE_ORACLE, layout.WITHIN, layout.WITHIN_AND_WRITES)
        whole[layout.RULE] = (
            layout.BELADY if knows else layout.LFU if placer == layout.PLACE_LFU else layout.LRU
        )
        whole[layout.FUTURE] = knows or migrator == layout.MIGRATE_ORACLE
        if whole[layout.FUTURE]:
            self.foresee(row)
        if placer == layout.FAST_ONLY:
            self.row.pages[row, :, layout.DEVICE] = 0
            devices = state["devices"][: len(self.parameters.configuration)]
            devices[0, layout.USED] = devices[-1, layout.CAPACITY]
            devices[-1, layout.USED] = 0

    def foresee(self, row: int) -> None:
        """Find when each page of each request of a row is used next, for the oracle."""
        workload, feeds = self.workloads[row], self.feeds
        assert workload is not None
        total = int(workload.requests[:, 1].sum())
        if feeds.offsets.shape[1] < feeds.arrivals.shape[1] + 1 or feeds.following.shape[1] < total:
            wider = max(total, feeds.following.shape[1])
            following = np.zeros((self.rows, wider), np.int32)
            following[:, : feeds.following.shape[1]] = feeds.following
            offsets = np.zeros((self.rows, feeds.arrivals.shape[1] + 1), np.int64)
            offsets[:, : feeds.offsets.shape[1]] = feeds.offsets
            self.feeds = feeds = feeds._replace(offsets=offsets, following=following)
        driver.next_uses(workload.requests, workload.pages, feeds.offsets[row], feeds.following[row])

    def measures(self) -> dict[str, NDArray[np.float64]]:
        """What was measured since the warm-up, or since `forget`: name -> [row]. Times are in microseconds."""
        whole, real = self.row.state["whole"], self.row.state["real"]
        counted = np.maximum(1, whole[:, layout.COUNTED])
        mean = real[:, layout.SUM] / counted
        moved = whole[:, [layout.EVICTIONS, layout.MIGRATIONS, layout.PROMOTIONS]].astype(np.float64)
        seconds = np.maximum(1e-6, (real[:, layout.COMPLETION] - real[:, layout.BEGAN]) / 1e6)
        return {
            "latency_mean": mean,
            "latency_p95": self._quantile(0.95),
            "latency_p99": self._quantile(0.99),
            "latency_to_fast_only": mean / self.fast_only,
            "requests_per_second": whole[:, layout.COUNTED] / seconds,
            "evictions": moved[:, 0],
            "migrations": moved[:, 1],
            "promotions": moved[:, 2],
            "mebibytes_moved": moved.sum(1) * PAGE_BYTES / 2**20,
            "fast_share": whole[:, layout.FAST] / counted,
        }

    def forget(self, rows: NDArray[np.bool_]) -> None:
        """Measure from here on in these rows, bool [row]."""
        state = self.row.state
        for field in (layout.COUNTED, layout.EVICTIONS, layout.MIGRATIONS, layout.PROMOTIONS, layout.FAST):
            state["whole"][rows, field] = 0
        state["whole"][rows, layout.MARK] = state["whole"][rows, layout.TIME]
        state["real"][rows, layout.SUM] = 0.0
        state["histogram"][rows] = 0

    def _quantile(self, share: float) -> NDArray[np.float64]:
        """The middle of the bin that holds the latency at a rank of ceil(share x requests)."""
        cumulative = np.cumsum(self.row.state["histogram"], 1, dtype=np.int64)
        rank = np.maximum(1, np.ceil(share * cumulative[:, -1]))
        bins = (cumulative >= rank[:, None]).argmax(1)
        edges = [((bins + step) << layout.BIN_SHIFT).astype(np.int32).view(np.float32) for step in (0, 1)]
        return (edges[0].astype(np.float64) + edges[1]) / 2

    def _warm_up(self, requests: int) -> int:
        return int(self.parameters.warm_up * requests)

    def state_dict(self) -> dict[str, NDArray[np.generic]]:
        """What changes, by name: copies."""
        state = self.row.state.view(np.uint8).reshape(self.rows, -1)
        return {"pages": self.row.pages.copy(), "heaps": self.row.heaps.copy(), "state": state.copy()}

    def load_state_dict(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a saved state; the rows' workloads have been fed."""
        self.row.pages[...] = state["pages"]
        self.row.heaps[...] = state["heaps"]
        self.row.state.view(np.uint8).reshape(self.rows, -1)[...] = state["state"]
        for row in np.flatnonzero(self.row.state["whole"][:, layout.FUTURE]):
            self.foresee(int(row))


def _code(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else layout.AGENT


def _capacities(parameters: StorageParameters, working_set: int) -> list[int]:
    """Pages that each device may hold; the slowest holds everything."""
    between = len(parameters.configuration) - 2
    shares = [parameters.fast_share, *[parameters.middle_share] * between]
    return [*(max(1, int(share * working_set)) for share in shares), working_set]
