"""Migration: which pages are candidates, what is decided about them, and the moves in idle times."""

from __future__ import annotations

import math
from typing import Any

from marlbench.environments.inner_loops import inlined, inner
from marlbench.environments.storage.layout import (
    ACTING,
    AGENT,
    ARRIVAL,
    CAPACITY,
    CHOSEN,
    CUMULATIVE,
    DECIDED,
    DEVICE,
    EVICTIONS,
    FLAGS,
    LARGEST_CANDIDATE,
    LAST,
    MIGRATIONS,
    MIGRATOR,
    MOVED,
    MOVING,
    NO_MIGRATION,
    PERIODIC,
    QUEUE,
    QUEUE_HEAD,
    QUEUE_LENGTH,
    QUEUED,
    RULE,
    TIME,
    USED,
    WARM_UP,
    Row,
    Rules,
)
from marlbench.environments.storage.order import link, unlink, victim
from marlbench.environments.storage.players import migrate
from marlbench.environments.storage.transfers import make_room, occupy


@inlined
def may_act(row: Row, rules: Rules) -> int:
    """1 where a batch of candidates is queued and all devices are idle when the coming request arrives, else 0."""
    whole = row.state.whole
    migrator = whole[MIGRATOR]
    if migrator in (NO_MIGRATION, PERIODIC):
        return 0
    length = whole[QUEUE_LENGTH]
    if length == 0 or (whole[DECIDED] == 0 and length < rules.batch):
        return 0
    for device in range(rules.table.shape[0]):
        if row.state.free[device] > row.state.real[ARRIVAL]:
            return 0
    return 1


@inlined
def collect(row: Row, rules: Rules, first: int, count: int) -> None:
    """Queue the candidates after a request of `count` pages from `first`."""
    migrator = row.state.whole[MIGRATOR]
    if migrator in (NO_MIGRATION, PERIODIC):
        return
    if row.pages[first, DEVICE] != 0:
        _queue(row, first, min(count, LARGEST_CANDIDATE))
    if 10 * row.state.devices[0, USED] > 9 * row.state.devices[0, CAPACITY]:
        page = victim(row, row.state.whole[RULE], 0)
        if page >= 0:
            pages, used = row.pages, row.pages[page, LAST]
            begin, end = page, page + 1
            while begin > 0 and page - begin < LARGEST_CANDIDATE // 2 and _together(pages, begin - 1, used):
                begin -= 1
            while end < pages.shape[0] and end - begin < LARGEST_CANDIDATE and _together(pages, end, used):
                end += 1
            _queue(row, begin, end - begin)


@inner
def _together(pages: Any, page: int, used: int) -> bool:
    """Whether a page lies on the fastest device and was last used by this request."""
    return pages[page, DEVICE] == 0 and pages[page, LAST] == used


@inner
def _queue(row: Row, first: int, count: int) -> None:
    whole = row.state.whole
    if row.pages[first, FLAGS] & QUEUED:
        return
    if whole[QUEUE_LENGTH] == QUEUE:
        pop(row)
    place = (whole[QUEUE_HEAD] + whole[QUEUE_LENGTH]) % QUEUE
    row.state.queue[place, 0] = first
    row.state.queue[place, 1] = count
    row.pages[first, FLAGS] |= QUEUED
    whole[QUEUE_LENGTH] += 1


@inner
def pop(row: Row) -> None:
    """Take the oldest candidate out of the queue."""
    whole = row.state.whole
    row.pages[row.state.queue[whole[QUEUE_HEAD], 0], FLAGS] &= ~QUEUED
    whole[QUEUE_HEAD] = (whole[QUEUE_HEAD] + 1) % QUEUE
    whole[QUEUE_LENGTH] -= 1


@inner
def decide(row: Row, rules: Rules, action: int) -> None:
    """One decision about the oldest candidate; the last one of a batch moves what was chosen."""
    whole = row.state.whole
    time = whole[TIME]
    first, count = row.state.queue[whole[QUEUE_HEAD], 0], row.state.queue[whole[QUEUE_HEAD], 1]
    migrator = whole[MIGRATOR]
    target = action if migrator == AGENT else migrate(row, rules, migrator, first, count, time)
    penalty = 0.0
    if target != row.pages[first, DEVICE]:
        chosen = whole[CHOSEN]
        row.state.chosen[chosen, 0] = first
        row.state.chosen[chosen, 1] = count
        row.state.chosen[chosen, 2] = target
        whole[CHOSEN] = chosen + 1
        moved = row.pages[first, MOVED]
        if moved >= 0:
            unused = 1.0 + math.log2(1.0 + time - row.pages[first, LAST])
            unmoved = 1.0 + math.log2(1.0 + time - moved)
            penalty = rules.ping_pong / (unused * unmoved)
    row.state.ring[time % rules.window, 0] = row.state.real[CUMULATIVE]
    row.state.ring[time % rules.window, 1] = penalty
    pop(row)
    whole[DECIDED] += 1
    if whole[DECIDED] == rules.batch:
        move(row, rules)
        whole[DECIDED] = 0
        whole[CHOSEN] = 0
    whole[ACTING] = 0


@inner
def move(row: Row, rules: Rules) -> None:
    """Move the chosen candidates, in one transfer between each pair of devices."""
    whole, pages, devices = row.state.whole, row.pages, row.state.devices
    last = rules.table.shape[0] - 1
    rule, time = whole[RULE], whole[TIME]
    moved, evicted = row.state.scratch[8:24], row.state.scratch[4:8]
    moved[:] = 0
    evicted[:] = 0
    for number in range(whole[CHOSEN]):
        first, count, target = (
            row.state.chosen[number, 0],
            row.state.chosen[number, 1],
            row.state.chosen[number, 2],
        )
        if target < last and count > devices[target, CAPACITY]:
            continue
        incoming = 0
        for page in range(first, first + count):
            device = pages[page, DEVICE]
            if device != target:
                if device < last:
                    unlink(row, rule, page, device)
                devices[device, USED] -= 1
                pages[page, DEVICE] = target
                pages[page, MOVED] = time
                moved[4 * device + target] += 1
                incoming += 1
                pages[page, FLAGS] |= MOVING
        if not incoming:
            continue
        make_room(row, rule, last, target, incoming)
        devices[target, USED] += incoming
        for page in range(first, first + count):
            if pages[page, FLAGS] & MOVING:
                pages[page, FLAGS] &= ~MOVING
                if target < last:
                    link(row, rule, page, target)
        for device in range(last):
            evicted[device] += row.state.scratch[device]
    _occupy_all(row, rules, moved, evicted)


@inner
def demote_cold(row: Row, rules: Rules) -> None:
    """Every period, the pages that were not used in it leave the fastest device, at most 64 of them."""
    whole, pages, devices = row.state.whole, row.pages, row.state.devices
    last = rules.table.shape[0] - 1
    rule = whole[RULE]
    moved, evicted = row.state.scratch[8:24], row.state.scratch[4:8]
    moved[:] = 0
    evicted[:] = 0
    for _ in range(LARGEST_CANDIDATE):
        page = victim(row, rule, 0)
        if page < 0 or whole[TIME] - pages[page, LAST] < rules.cold:
            break
        unlink(row, rule, page, 0)
        devices[0, USED] -= 1
        if last > 1:
            make_room(row, rule, last, 1, 1)
            for device in range(last):
                evicted[device] += row.state.scratch[device]
        pages[page, DEVICE] = 1
        pages[page, MOVED] = whole[TIME]
        devices[1, USED] += 1
        if last > 1:
            link(row, rule, page, 1)
        moved[1] += 1
    _occupy_all(row, rules, moved, evicted)


@inner
def _occupy_all(row: Row, rules: Rules, moved: Any, evicted: Any) -> None:
    """The transfers of moves, then of the evictions that they caused, from the time at which all devices were idle."""
    devices = rules.table.shape[0]
    counts = row.state.whole[TIME] >= row.state.whole[WARM_UP]
    since = 0.0
    for device in range(devices):
        since = max(since, row.state.free[device])
    for source in range(devices):
        for target in range(devices):
            pages = moved[4 * source + target]
            if pages:
                occupy(row, rules, source, target, pages, since)
                row.state.whole[MIGRATIONS] += pages * counts
    for device in range(devices - 1):
        pages = evicted[device]
        if pages:
            occupy(row, rules, device, device + 1, pages, since)
            row.state.whole[EVICTIONS] += pages * counts
