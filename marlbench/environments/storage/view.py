"""What the agents see of a row and what they are paid, filled into arrays."""

from __future__ import annotations

import math
from typing import Any

from marlbench.environments.inner_loops import inner
from marlbench.environments.storage.layout import (
    ACTING,
    ARRIVAL,
    BASE,
    CAPACITY,
    COUNT,
    CUMULATIVE,
    DEVICE,
    EVICTION,
    FLAGS,
    HARMONIA,
    LAST,
    LAST_EVICTED,
    LATENCY,
    MOVED,
    QUEUE_HEAD,
    RUN,
    SIBYL,
    TIME,
    USED,
    WRITTEN,
    Feed,
    Row,
    Rules,
)

_BINS = 63.0
_SCALE = 16.0
_LOCALITY = 64.0


@inner
def _interval_bin(requests: int) -> float:
    """floor(4 log2(1 + requests)) in 64 bins, as a share of the last one."""
    return min(_BINS, math.floor(4.0 * math.log2(1.0 + requests))) / _BINS


@inner
def _since(time: int, then: int) -> float:
    return 1.0 if then < 0 else _interval_bin(time - then)


@inner
def _describe(row: Row, out: Any, page: int, count: int, write: int, requests: int, largest: int) -> None:
    """The columns of SHARED and CODE that describe pages, from column 2 on, and the last one."""
    pages, devices = row.pages, row.state.devices
    last = row.heaps.shape[0]
    time = row.state.whole[TIME]
    size = min(7.0, math.floor(math.log2(count))) / 7.0
    free = (devices[0, CAPACITY] - devices[0, USED]) / devices[0, CAPACITY]
    place = pages[page, DEVICE] / last
    out[2] = write
    out[3] = size
    out[4] = _since(time, pages[page, LAST])
    out[5] = _interval_bin(pages[page, COUNT])
    out[6] = min(7.0, max(0.0, math.floor(8.0 * free))) / 7.0
    out[7] = place
    out[8] = _since(time, pages[page, MOVED])
    out[9] = (count - 1) / max(1, largest - 1)
    out[10] = write
    out[11] = pages[page, COUNT] / (requests / 2)
    out[12] = min(1.0, row.state.whole[RUN] / _LOCALITY)
    out[13] = min(1.0, count / _LOCALITY) if count > 1 else 0.0
    out[14] = place
    out[15] = devices[0, USED] / devices[0, CAPACITY]
    out[16] = devices[last, USED] / devices[last, CAPACITY]
    used = pages[page, LAST]
    out[out.shape[0] - 1] = 1.0 if used < 0 else math.log1p(time - used) / _SCALE


@inner
def _outcome(row: Row, out: Any, more: bool) -> None:
    """The columns of the request before, and of what still keeps the devices, from column 17 on."""
    out[17] = math.log1p(row.state.real[LATENCY]) / _SCALE
    out[18] = math.log1p(row.state.real[EVICTION]) / _SCALE
    out[19] = math.log1p(row.state.whole[LAST_EVICTED]) / _SCALE
    for device in range(row.heaps.shape[0] + 1):
        waiting = max(0.0, row.state.free[device] - row.state.real[ARRIVAL]) if more else 0.0
        out[20 + device] = math.log1p(waiting) / _SCALE


@inner
def observe(row: Row, feed: Feed, observation: Any, state: Any, acting: Any, largest: int) -> None:
    """Fill what one row shows.

    Args:
        observation: float32 [2, features], of zeros.
        state: float32 [features of the state], of zeros.
        acting: bool [2].
        largest: pages of the workload's largest request.
    """
    devices = row.state.devices
    requests = feed.arrivals.shape[0] + row.state.whole[BASE]
    index = row.state.whole[TIME] - row.state.whole[BASE]
    more = index < feed.arrivals.shape[0]
    place, move = observation[0], observation[1]
    place[0] = 1.0
    move[1] = 1.0
    acting[0] = True
    acting[1] = row.state.whole[ACTING] != 0
    if more:
        first, count, write = feed.requests[index, 0], feed.requests[index, 1], feed.requests[index, 2]
        _describe(row, place, first, count, write, requests, largest)
    _outcome(row, place, more)
    if row.state.whole[ACTING]:
        head = row.state.whole[QUEUE_HEAD]
        first, count = row.state.queue[head, 0], row.state.queue[head, 1]
        write = row.pages[first, FLAGS] & WRITTEN
        _describe(row, move, first, count, write, requests, largest)
        _outcome(row, move, more)
    width, count = place.shape[0], row.heaps.shape[0] + 1
    for column in range(width):
        state[column] = place[column]
        state[width + column] = move[column]
    for device in range(count):
        state[2 * width + device] = devices[device, USED] / devices[device, CAPACITY]
    state[2 * width + count] = acting[1]


@inner
def pay(row: Row, feed: Feed, rules: Rules, reward: Any) -> None:
    """Fill reward, float32 [2], after a request: for placing it, and for decisions of migration that are due."""
    latency = row.state.real[LATENCY]
    if rules.reward == SIBYL or rules.reward == HARMONIA:
        paid = rules.unit / latency
        if rules.reward == SIBYL and row.state.whole[LAST_EVICTED]:
            paid = max(0.0, paid - 0.001 * row.state.real[EVICTION] / rules.unit)
    else:
        raw = 100.0 / latency - row.state.whole[LAST_EVICTED] ** 0.09
        paid = 0.3 * math.floor(raw / 0.3)
    reward[0] = paid
    time, window = row.state.whole[TIME], rules.window
    total = 0.0
    if time - row.state.whole[BASE] >= feed.arrivals.shape[0]:
        for made in range(max(0, time - window), time):
            total += _due(row, rules, made, time)
    elif time >= window:
        total = _due(row, rules, time - window, time)
    reward[1] = total


@inner
def _due(row: Row, rules: Rules, made: int, time: int) -> float:
    """What the decision before request number `made` is paid when `time` requests are done; 0 without a decision."""
    slot = made % rules.window
    before = row.state.ring[slot, 0]
    if before < 0.0:
        return 0.0
    return (time - made) * rules.unit / (row.state.real[CUMULATIVE] - before) - row.state.ring[slot, 1]
