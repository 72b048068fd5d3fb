"""Which page a device evicts next: lists by recency, lists by frequency, or a heap by next use.

The slowest device holds everything and evicts nothing, so its pages are in no order.
"""

from __future__ import annotations

from marlbench.environments.inner_loops import inlined, inner
from marlbench.environments.storage.layout import (
    BELADY,
    BUCKETS,
    COUNT,
    HEAPED,
    LFU,
    LOWEST,
    NEXT,
    NEXT_USE,
    PREVIOUS,
    Row,
)


@inlined
def bucket(row: Row, rule: int, page: int) -> int:
    """The list of its device that a page is in."""
    return min(row.pages[page, COUNT], BUCKETS - 1) if rule == LFU else 0


@inlined
def link(row: Row, rule: int, page: int, device: int) -> None:
    """A page that lies on the device is the last of its like to leave."""
    pages, lists = row.pages, row.state.lists
    if rule == BELADY:
        place = row.state.devices[device, HEAPED]
        row.state.devices[device, HEAPED] = place + 1
        _rise(row, device, page, place)
        return
    which = bucket(row, rule, page)
    first = lists[device, which, 0]
    pages[page, PREVIOUS] = -1
    pages[page, NEXT] = first
    if first >= 0:
        pages[first, PREVIOUS] = page
    else:
        lists[device, which, 1] = page
    lists[device, which, 0] = page
    if which < row.state.devices[device, LOWEST]:
        row.state.devices[device, LOWEST] = which


@inlined
def unlink(row: Row, rule: int, page: int, device: int) -> None:
    """A page leaves the order of its device; call before its count or next use changes."""
    pages, lists = row.pages, row.state.lists
    if rule == BELADY:
        size = row.state.devices[device, HEAPED] - 1
        row.state.devices[device, HEAPED] = size
        place = pages[page, PREVIOUS]
        moved = row.heaps[device, size]
        if moved != page:
            if place > 0 and farther(row, moved, row.heaps[device, (place - 1) // 2]):
                _rise(row, device, moved, place)
            else:
                _sink(row, device, moved, place, size)
        return
    which = bucket(row, rule, page)
    before, after = pages[page, PREVIOUS], pages[page, NEXT]
    if before >= 0:
        pages[before, NEXT] = after
    else:
        lists[device, which, 0] = after
    if after >= 0:
        pages[after, PREVIOUS] = before
    else:
        lists[device, which, 1] = before


@inlined
def victim(row: Row, rule: int, device: int) -> int:
    """The page that the device would evict; -1 where it could not."""
    if rule == BELADY:
        return row.heaps[device, 0] if row.state.devices[device, HEAPED] > 0 else -1
    if rule != LFU:
        return row.state.lists[device, 0, 1]
    which = row.state.devices[device, LOWEST]
    while which < BUCKETS and row.state.lists[device, which, 1] < 0:
        which += 1
    row.state.devices[device, LOWEST] = which
    return row.state.lists[device, which, 1] if which < BUCKETS else -1


@inlined
def farther(row: Row, page: int, other: int) -> bool:
    """Whether a page is used later than another; of two that are used at once, the higher number goes first."""
    one, two = row.pages[page, NEXT_USE], row.pages[other, NEXT_USE]
    return one > two or (one == two and page > other)


@inner
def _rise(row: Row, device: int, page: int, place: int) -> None:
    heap = row.heaps[device]
    while place > 0:
        above = (place - 1) // 2
        if not farther(row, page, heap[above]):
            break
        heap[place] = heap[above]
        row.pages[heap[place], PREVIOUS] = place
        place = above
    heap[place] = page
    row.pages[page, PREVIOUS] = place


@inner
def _sink(row: Row, device: int, page: int, place: int, size: int) -> None:
    heap = row.heaps[device]
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and farther(row, heap[below + 1], heap[below]):
            below += 1
        if not farther(row, heap[below], page):
            break
        heap[place] = heap[below]
        row.pages[heap[place], PREVIOUS] = place
        place = below
    heap[place] = page
    row.pages[page, PREVIOUS] = place
