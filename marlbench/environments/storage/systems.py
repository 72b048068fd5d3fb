"""Storage systems side by side: their arrays, how they begin, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from marlbench.environments.storage import driver, layout
from marlbench.environments.storage.devices import PAGE_BYTES, table
from marlbench.environments.storage.layout import Feed, Feeds, Row, Rules
from marlbench.environments.storage.parameters import MIGRATIONS, PLACEMENTS, StorageParameters
from marlbench.environments.storage.workloads.workload import Workload

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
_DYNAMIC = (
    "pages",
    "lists",
    "heaps",
    "devices",
    "free",
    "whole",
    "real",
    "histogram",
    "ring",
    "queue",
    "chosen",
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
            lists=np.zeros((rows, devices - 1, layout.BUCKETS, 2), np.int32),
            heaps=np.zeros((rows, devices - 1, capacity + 1), np.int32),
            devices=np.zeros((rows, devices, layout.DEVICE_FIELDS), np.int64),
            free=np.zeros((rows, devices)),
            whole=np.zeros((rows, layout.WHOLE_FIELDS), np.int64),
            real=np.zeros((rows, layout.REAL_FIELDS)),
            histogram=np.zeros((rows, layout.BINS), np.int32),
            ring=np.full((rows, parameters.migration_window, 2), -1.0),
            queue=np.zeros((rows, layout.QUEUE, 2), np.int32),
            chosen=np.zeros((rows, layout.QUEUE, 3), np.int32),
            scratch=np.zeros(24, np.int64),
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
        feed = Feed(workload.arrivals, workload.requests, feeds.offsets[0], feeds.following[0])
        self.fast_only[row] = driver.fast_only_latency(feed, self.rules, self._warm_up(length))

    def begin(self, numbers: Sequence[int]) -> None:
        """Fresh systems in these rows: every page on the slowest device, nothing in use, the players as parameters say."""
        last = self.row.free.shape[1] - 1
        for row in numbers:
            workload = self.workloads[row]
            assert workload is not None
            pages = self.row.pages[row]
            pages[:] = (last, -1, -1, 0, -1, -1, layout.NEVER, 0)
            self.row.lists[row] = -1
            for name in ("heaps", "devices", "free", "whole", "real", "histogram", "queue", "chosen"):
                getattr(self.row, name)[row] = 0
            self.row.ring[row] = -1.0
            devices = self.row.devices[row]
            working_set = workload.working_set
            devices[:, layout.CAPACITY] = _capacities(self.parameters, working_set)
            devices[last, layout.USED] = working_set
            devices[:, layout.END] = -1
            self.row.whole[row, layout.WARM_UP] = self._warm_up(len(workload))
            self.let_play(
                row,
                _code(PLACEMENTS, self.parameters.placement),
                _code(MIGRATIONS, self.parameters.migration),
            )
        driver.begin_rows(self.row, self.feeds, self.rules, np.asarray(numbers, np.int64))

    def let_play(self, row: int, placer: int, migrator: int) -> None:
        """Players of a row that has not begun: numbers of built-in ones, or -1 for agents."""
        whole = self.row.whole[row]
        whole[layout.PLACER], whole[layout.MIGRATOR] = placer, migrator
        whole[layout.RULE] = {layout.PLACE_LFU: layout.LFU, layout.PLACE_ORACLE: layout.BELADY}.get(
            placer, layout.LRU
        )
        whole[layout.FUTURE] = placer == layout.PLACE_ORACLE or migrator == layout.MIGRATE_ORACLE
        if whole[layout.FUTURE]:
            self.foresee(row)
        if placer == layout.FAST_ONLY:
            self.row.pages[row, :, layout.DEVICE] = 0
            devices = self.row.devices[row]
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
        whole, real = self.row.whole, self.row.real
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
        for field in (layout.COUNTED, layout.EVICTIONS, layout.MIGRATIONS, layout.PROMOTIONS, layout.FAST):
            self.row.whole[rows, field] = 0
        self.row.whole[rows, layout.MARK] = self.row.whole[rows, layout.TIME]
        self.row.real[rows, layout.SUM] = 0.0
        self.row.histogram[rows] = 0

    def _quantile(self, share: float) -> NDArray[np.float64]:
        """The middle of the bin that holds the latency at a rank of ceil(share x requests)."""
        cumulative = np.cumsum(self.row.histogram, 1, dtype=np.int64)
        rank = np.maximum(1, np.ceil(share * cumulative[:, -1]))
        bins = (cumulative >= rank[:, None]).argmax(1)
        edges = [((bins + step) << layout.BIN_SHIFT).astype(np.int32).view(np.float32) for step in (0, 1)]
        return (edges[0].astype(np.float64) + edges[1]) / 2

    def _warm_up(self, requests: int) -> int:
        return int(self.parameters.warm_up * requests)

    def state_dict(self) -> dict[str, NDArray[np.generic]]:
        """The arrays that change, by name: themselves, not copies."""
        return {name: getattr(self.row, name) for name in _DYNAMIC}

    def load_state_dict(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a saved state; the rows' workloads have been fed."""
        for name in _DYNAMIC:
            getattr(self.row, name)[...] = state[name]
        for row in np.flatnonzero(self.row.whole[:, layout.FUTURE]):
            self.foresee(int(row))


def _code(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else layout.AGENT


def _capacities(parameters: StorageParameters, working_set: int) -> list[int]:
    """Pages that each device may hold; the slowest holds everything."""
    between = len(parameters.configuration) - 2
    shares = [parameters.fast_share, *[parameters.middle_share] * between]
    return [*(max(1, int(share * working_set)) for share in shares), working_set]
