"""How a storage system lies in memory: arrays of numbers, whose first axis is the row in `Systems`.

What one row is made of stands together, so that a request touches few cache lines: a page is 32 bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

# Of a page, int32. Under the rule BELADY, PREVIOUS is the page's place in the heap of its device.
DEVICE, PREVIOUS, NEXT, COUNT, LAST, MOVED, NEXT_USE, FLAGS = range(8)
PAGE_FIELDS = 8
# Bits of FLAGS: the page's last request was a write; a candidate that begins here is queued; it is being moved.
WRITTEN, QUEUED, MOVING = 1, 2, 4

# Of a device, int64: pages on it, pages it may hold, page after its last transfer, least bucket that may hold
# pages (LFU), pages in its heap (BELADY).
USED, CAPACITY, END, LOWEST, HEAPED = range(5)
DEVICE_FIELDS = 5

# Of a row, int64.
(
    TIME,  # requests done
    BASE,  # number of the request that the feed begins with
    PLACER,
    MIGRATOR,
    RULE,
    FUTURE,  # whether pages know their next use
    QUEUE_HEAD,
    QUEUE_LENGTH,
    DECIDED,  # candidates of the present batch
    CHOSEN,  # of them to be moved
    ACTING,  # whether migration acts at the coming request
    RUN,  # requests in a row that began near the one before
    FIRST,  # page with which the last request began
    AFTER,  # page after its last one
    LAST_EVICTED,  # pages, for the last request
    COUNTED,
    EVICTIONS,
    MIGRATIONS,
    PROMOTIONS,
    FAST,  # requests served by the fastest device alone
    WARM_UP,  # requests that do not count
    MARK,  # requests done when the present segment began
    ASKED_PLACER,  # players that were asked for: `hindsight` lets others play
    ASKED_MIGRATOR,
    HORIZON,  # requests within which a page has to be used again, of the players that know
    WHOLE_FIELDS,
) = range(26)

# Of a row, float64, microseconds.
(
    ARRIVAL,  # of the coming request
    COMPLETION,  # of the last one
    LATENCY,  # its latency
    EVICTION,  # time of devices for what it evicted
    CUMULATIVE,  # sum of all latencies
    SUM,  # of those that count
    BEGAN,  # arrival of the first request that counts
    REAL_FIELDS,
) = range(8)

# The rules by which devices choose what they evict.
LRU, LFU, BELADY = range(3)
# Under LFU, counts from the last bucket on are alike.
BUCKETS = 256
NEVER = 2**31 - 1
QUEUE = 32
WINDOW = 1_000
DEVICES = 4
LARGEST_CANDIDATE = 64

# Latencies are counted in bins of their float32 form, its exponent and seven bits of its mantissa: each is known to
# 0.4 %, whatever its size.
BIN_SHIFT = 16
BINS = 1 << (31 - BIN_SHIFT)

# Built-in players, in the order of `parameters.PLACEMENTS` and `parameters.MIGRATIONS`; -1 is the agent.
AGENT = -1
FAST_ONLY, SLOW_ONLY, PLACE_LRU, PLACE_LFU, CDE, HPS, PLACE_ORACLE, PLACE_HINDSIGHT = range(8)
NO_MIGRATION, COLD_EVICTION, HOTNESS, PERIODIC, MIGRATE_ORACLE, MIGRATE_HINDSIGHT = range(6)
# Rules that only `hindsight` plays.
WITHIN, WITHIN_AND_WRITES = 8, 9

# What placement is paid, in the order of the parameter.
SIBYL, SIBYL_CODE, HARMONIA = range(3)


# What changes in a row beside its pages: one record, which compiled functions pass as a single pointer.
STATE = np.dtype(
    [
        ("lists", np.int32, (DEVICES, BUCKETS, 2)),  # first and last page of each list, or -1
        ("devices", np.int64, (DEVICES, DEVICE_FIELDS)),
        ("free", np.float64, (DEVICES,)),  # when each device is free
        ("whole", np.int64, (WHOLE_FIELDS,)),
        ("real", np.float64, (REAL_FIELDS,)),
        ("histogram", np.int32, (BINS,)),  # of the latencies that count
        # Cumulative latency at the decisions of migration that are still to be paid, negative where there is none,
        # and their penalties.
        ("ring", np.float64, (WINDOW, 2)),
        ("queue", np.int32, (QUEUE, 2)),  # first page and pages of candidates
        ("chosen", np.int32, (QUEUE, 3)),  # those to be moved, and where
        ("scratch", np.int64, (24,)),
    ],
    align=True,
)


class Row(NamedTuple):
    """One storage system.

    Attributes:
        pages: int32 [page, 8].
        heaps: int32 [device, page].
        state: a record of `STATE`.
    """

    pages: Any
    heaps: Any
    state: Any


class Feed(NamedTuple):
    """What is asked of one system; in `Feeds` every array has the workload's axis in front, and is padded.

    Attributes:
        arrivals: float64 [request], microseconds.
        requests: int32 [request, 3], first page, pages, 1 for a write.
        offsets: int64 [request + 1], where a request's pages begin in `following`.
        following: int32 [pages of all requests], the next request of the same page, or NEVER.
    """

    arrivals: Any
    requests: Any
    offsets: Any
    following: Any


class Feeds(NamedTuple):
    """What is asked of all systems.

    Attributes:
        arrivals, requests, offsets, following: as in `Feed`, [workload, ...].
        lengths: int64 [workload], requests of each.
        largest: int64 [workload], pages of its largest request.
        of_row: int64 [row], its workload.
    """

    arrivals: Any
    requests: Any
    offsets: Any
    following: Any
    lengths: Any
    largest: Any
    of_row: Any


class Rules(NamedTuple):
    """What holds for all rows.

    Attributes:
        table: float64 [device, 6], see `devices.table`.
        batch, window, hot, cold: as in `StorageParameters`.
        closed: whether each request comes when the one before is done.
        load, unit, ping_pong: likewise.
        reward: SIBYL, SIBYL_CODE or HARMONIA.
    """

    table: Any
    batch: int
    window: int
    hot: int
    cold: int
    closed: bool
    load: float
    unit: float
    ping_pong: float
    reward: int
