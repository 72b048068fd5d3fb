"""One request: what waits, what is read and written, what is evicted and moved. `step` and `simulate` share it."""

from __future__ import annotations

from typing import Any

import numpy as np

from marlbench.environments.inner_loops import inlined
from marlbench.environments.storage.devices import READ, READ_PAGE, SEQUENTIAL_READ, WRITE, WRITE_PAGE
from marlbench.environments.storage.layout import (
    ACTING,
    AFTER,
    ARRIVAL,
    BASE,
    BEGAN,
    BIN_SHIFT,
    CAPACITY,
    COMPLETION,
    COUNT,
    COUNTED,
    CUMULATIVE,
    DEVICE,
    END,
    EVICTION,
    EVICTIONS,
    FAST,
    FAST_ONLY,
    FIRST,
    FLAGS,
    FUTURE,
    LAST,
    LAST_EVICTED,
    LATENCY,
    MIGRATOR,
    MOVED,
    NEXT_USE,
    PERIODIC,
    PLACER,
    PROMOTIONS,
    QUEUED,
    RULE,
    RUN,
    SUM,
    TIME,
    USED,
    WARM_UP,
    WRITTEN,
    Feed,
    Row,
    Rules,
)
from marlbench.environments.storage.migration import collect, decide, demote_cold, may_act
from marlbench.environments.storage.order import link, unlink
from marlbench.environments.storage.players import place
from marlbench.environments.storage.transfers import make_room, occupy

# Requests that begin so near the one before are local, in Sibyl's code [code].
NEAR = 5


@inlined
def serve(row: Row, feed: Feed, rules: Rules, placement: int, migration: int, one: Any) -> float:
    """The coming request, and before it what migration decides.

    Args:
        placement, migration: actions; what a built-in player decides ignores them, and so does who does not act.
        one: float32 [1], room for a number.

    Returns:
        the request's latency in microseconds.
    """
    whole, real, free, devices, table = (
        row.state.whole,
        row.state.real,
        row.state.free,
        row.state.devices,
        rules.table,
    )
    last = table.shape[0] - 1
    time = whole[TIME]
    index = time - whole[BASE]
    first, count = feed.requests[index, 0], feed.requests[index, 1]
    write = feed.requests[index, 2]
    arrival = real[ARRIVAL]
    evicted = row.state.scratch[:4]
    whole[LAST_EVICTED] = 0
    real[EVICTION] = 0.0
    row.state.ring[time % rules.window, 0] = -1.0
    if whole[ACTING]:
        decide(row, rules, migration)
    elif whole[MIGRATOR] == PERIODIC and time > 0 and time % rules.cold == 0:
        demote_cold(row, rules)

    placer = whole[PLACER]
    target = placement
    if placer >= 0:
        next_use = feed.following[feed.offsets[index]] if whole[FUTURE] else 0
        target = place(row, rules, placer, first, count, write, next_use)
    if placer != FAST_ONLY:
        while target < last and count > devices[target, CAPACITY]:
            target += 1

    # How many of the pages lie on each device, and how many have to go to another.
    on = row.state.scratch[4:8]
    on[:] = 0
    incoming = 0
    for page in range(first, first + count):
        device = row.pages[page, DEVICE]
        on[device] += 1
        if device > target or (write and device != target):
            incoming += 1

    completion = arrival
    if write:
        completion = _transfer(row, rules, target, first, count, arrival, WRITE)
    else:
        for device in range(last + 1):
            if on[device]:
                done = _transfer(row, rules, device, first, count, arrival, READ, on[device])
                completion = max(completion, done)
    latency = completion - arrival
    served_fast = target == 0 if write else on[0] == count

    _touch(row, feed, rules, index, target, incoming)
    if incoming and not write:
        free[target] = (
            max(free[target], completion) + table[target, WRITE] + incoming * table[target, WRITE_PAGE]
        )
        devices[target, END] = -1
    if incoming:
        for device in range(target, last):
            if evicted[device]:
                whole[LAST_EVICTED] += evicted[device]
                real[EVICTION] += occupy(row, rules, device, device + 1, evicted[device], completion)

    real[COMPLETION] = completion
    real[LATENCY] = latency
    real[CUMULATIVE] += latency
    if time >= whole[WARM_UP]:
        if whole[COUNTED] == 0:
            real[BEGAN] = arrival
        whole[COUNTED] += 1
        real[SUM] += latency
        one[0] = latency
        row.state.histogram[one.view(np.int32)[0] >> BIN_SHIFT] += 1
        whole[FAST] += served_fast
        whole[EVICTIONS] += whole[LAST_EVICTED]
        if not write:
            whole[PROMOTIONS] += incoming

    whole[RUN] = whole[RUN] + 1 if abs(first - whole[FIRST]) <= NEAR else 0
    whole[FIRST] = first
    whole[AFTER] = first + count
    whole[TIME] = time + 1
    collect(row, rules, first, count)
    await_next(row, feed, rules)
    return latency


@inlined
def await_next(row: Row, feed: Feed, rules: Rules) -> None:
    """When the coming request arrives, and whether migration may act before it."""
    whole, real = row.state.whole, row.state.real
    index = whole[TIME] - whole[BASE]
    whole[ACTING] = 0
    if index >= feed.arrivals.shape[0]:
        return
    real[ARRIVAL] = real[COMPLETION] if rules.closed else feed.arrivals[index] / rules.load
    whole[ACTING] = may_act(row, rules)


@inlined
def _transfer(
    row: Row, rules: Rules, device: int, first: int, count: int, arrival: float, base: int, pages: int = -1
) -> float:
    """A request's transfer of its pages on one device; returns when it is done."""
    if pages < 0:
        pages = count
    kind = base + (SEQUENTIAL_READ - READ) if row.state.devices[device, END] == first else base
    each = READ_PAGE if base == READ else WRITE_PAGE
    start = max(row.state.free[device], arrival)
    done = start + rules.table[device, kind] + pages * rules.table[device, each]
    row.state.free[device] = done
    row.state.devices[device, END] = first + count
    return done


@inlined
def _touch(row: Row, feed: Feed, rules: Rules, index: int, target: int, incoming: int) -> None:
    """Count the access, and take the pages that have to go elsewhere to the target, making room there."""
    whole, pages, devices = row.state.whole, row.pages, row.state.devices
    last = rules.table.shape[0] - 1
    rule, time = whole[RULE], whole[TIME]
    ordered = whole[PLACER] != FAST_ONLY
    first, count = feed.requests[index, 0], feed.requests[index, 1]
    write = feed.requests[index, 2]
    for page in range(first, first + count):
        device = pages[page, DEVICE]
        if ordered and device < last:
            unlink(row, rule, page, device)
        pages[page, COUNT] += 1
        pages[page, LAST] = time
        pages[page, FLAGS] = (pages[page, FLAGS] & QUEUED) | (WRITTEN if write else 0)
        if whole[FUTURE]:
            pages[page, NEXT_USE] = feed.following[feed.offsets[index] + page - first]
        if device > target or (write and device != target):
            devices[device, USED] -= 1
            pages[page, DEVICE] = target
            if not write:
                pages[page, MOVED] = time
        elif ordered and incoming == 0 and device < last:
            link(row, rule, page, device)
    if incoming:
        make_room(row, rule, last, target, incoming)
        devices[target, USED] += incoming
        if ordered:
            for page in range(first, first + count):
                if pages[page, DEVICE] < last:
                    link(row, rule, page, pages[page, DEVICE])
