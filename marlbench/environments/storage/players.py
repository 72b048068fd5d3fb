"""The built-in players, which learn nothing: where requests go and candidates move. Definitions in docs/storage.md."""

from __future__ import annotations

from marlbench.environments.inner_loops import inlined, inner
from marlbench.environments.storage.layout import (
    AFTER,
    CAPACITY,
    CDE,
    COLD_EVICTION,
    COUNT,
    DEVICE,
    FAST_ONLY,
    HORIZON,
    HOTNESS,
    HPS,
    LAST,
    NEVER,
    NEXT_USE,
    PLACE_LFU,
    PLACE_LRU,
    RULE,
    SLOW_ONLY,
    TIME,
    USED,
    WITHIN,
    WITHIN_AND_WRITES,
    Row,
    Rules,
)
from marlbench.environments.storage.order import victim


@inlined
def place(row: Row, rules: Rules, placer: int, first: int, count: int, write: int, next_use: int) -> int:
    """The device for a request.

    Args:
        placer: the player.
        first, count, write: the request.
        next_use: the request that uses its first page next; known to the oracle alone.
    """
    last = rules.table.shape[0] - 1
    if placer in (PLACE_LRU, PLACE_LFU, FAST_ONLY):
        return 0
    if placer == SLOW_ONLY:
        return last
    accesses = row.pages[first, COUNT] + 1
    if placer == CDE:
        random = first != row.state.whole[AFTER]
        return 0 if write and (random or accesses >= rules.hot) else last
    if placer == HPS:
        for device in range(last):
            if accesses >= max(1, rules.hot >> device):
                return device
        return last
    if placer in (WITHIN, WITHIN_AND_WRITES):
        # Each device farther from the fastest has eight times the horizon.
        if write and placer == WITHIN:
            return 0
        away, horizon = next_use - row.state.whole[TIME], row.state.whole[HORIZON]
        for device in range(last):
            if away <= horizon << 3 * device and gains(row, device, count, next_use):
                return device
        return last
    # The oracle. What is written now costs the fastest device less than any other, whenever it is used again.
    if write:
        return 0
    if next_use == NEVER:
        return last
    for device in range(last):
        if gains(row, device, count, next_use):
            return device
    return last


@inner
def gains(row: Row, device: int, count: int, next_use: int) -> bool:
    """Whether a device has room for pages, or its next victim is used after them."""
    if row.state.devices[device, USED] + count <= row.state.devices[device, CAPACITY]:
        return True
    page = victim(row, row.state.whole[RULE], device)
    return page >= 0 and next_use < row.pages[page, NEXT_USE]


@inner
def migrate(row: Row, rules: Rules, migrator: int, page: int, count: int, time: int) -> int:
    """The device for a candidate that begins with `page`, at request number `time`."""
    last = rules.table.shape[0] - 1
    device = row.pages[page, DEVICE]
    cold = time - row.pages[page, LAST] >= rules.cold
    if migrator in (COLD_EVICTION, HOTNESS):
        if cold:
            return min(device + 1, last)
        return 0 if migrator == HOTNESS and row.pages[page, COUNT] >= rules.hot else device
    # The oracle.
    next_use = row.pages[page, NEXT_USE]
    if next_use == NEVER:
        return last
    for faster in range(device):
        if gains(row, faster, count, next_use):
            return faster
    return device
