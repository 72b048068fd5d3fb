"""Loops over rows: `step` with actions from outside, `simulate` with built-in players, what all rows show."""

from __future__ import annotations

from typing import Any

import numpy as np

from marlbench.environments.inner_loops import compiled, inner
from marlbench.environments.storage.devices import (
    READ,
    READ_PAGE,
    SEQUENTIAL_READ,
    SEQUENTIAL_WRITE,
    WRITE,
    WRITE_PAGE,
)
from marlbench.environments.storage.layout import (
    AGENT,
    ASKED_PLACER,
    MARK,
    MIGRATOR,
    NEVER,
    TIME,
    Feed,
    Feeds,
    Row,
    Rules,
)
from marlbench.environments.storage.transition import await_next, serve
from marlbench.environments.storage.unowned import unowned
from marlbench.environments.storage.view import observe, pay


@inner
def feed_of(feeds: Feeds, number: int) -> Feed:
    """What is asked of one row."""
    which = feeds.of_row[number]
    length = feeds.lengths[which]
    return Feed(
        unowned(feeds.arrivals[which, :length]),
        unowned(feeds.requests[which, :length]),
        unowned(feeds.offsets[which]),
        unowned(feeds.following[which]),
    )


@inner
def held(rules: Rules) -> Rules:
    """The rules, without counting references to their table."""
    return Rules(
        unowned(rules.table),
        rules.batch,
        rules.window,
        rules.hot,
        rules.cold,
        rules.closed,
        rules.load,
        rules.unit,
        rules.ping_pong,
        rules.reward,
    )


@compiled
def begin_rows(rows: Row, feeds: Feeds, rules: Rules, chosen: Any) -> None:
    """The rows whose numbers are given, int64 [row], await their coming request."""
    for number in chosen:
        row = Row(unowned(rows.pages[number]), unowned(rows.heaps[number]), rows.state[number])
        await_next(row, feed_of(feeds, number), rules)


@compiled
def simulate_rows(rows: Row, feeds: Feeds, rules: Rules, requests: int, latencies: Any) -> None:
    """Serve requests by the rows' built-in players.

    Args:
        requests: at most so many in each row.
        latencies: float64 [row, requests] to be filled, or [row, 0].
    """
    rules = held(rules)
    one = np.zeros(1, np.float32)
    keep = latencies.shape[1] > 0
    for number in range(rows.pages.shape[0]):
        row = Row(unowned(rows.pages[number]), unowned(rows.heaps[number]), rows.state[number])
        feed = feed_of(feeds, number)
        for index in range(min(requests, feed.arrivals.shape[0])):
            latency = serve(row, feed, rules, 0, 0, unowned(one))
            if keep:
                latencies[number, index] = latency


@compiled
def step_rows(
    rows: Row,
    feeds: Feeds,
    rules: Rules,
    action: Any,
    segment: int,
    reward: Any,
    over: Any,
    ended: Any,
    own: Any,
) -> int:
    """One request in every row.

    Args:
        action: int64 [row, 2].
        segment: requests after which measures are told; 0 where they are not before the end.
        reward: float32 [row, 2], filled.
        over: bool [row], filled: the workload is over.
        ended: bool [row], filled: it is, or a segment of it.
        own: bool [2], whether each agent decides unless it leaves that to a built-in player.

    Returns:
        the number of the first row whose actions cannot be taken, or -1; nothing changes in that case.
    """
    devices = rules.table.shape[0]
    for number in range(rows.pages.shape[0]):
        for agent in range(2):
            player = rows.state[number].whole[ASKED_PLACER + agent]
            code = action[number, agent]
            if own[agent] and (code >= devices or (code < 0 and player != -1 - code)):
                return number
    rules = held(rules)
    one = np.zeros(1, np.float32)
    for number in range(rows.pages.shape[0]):
        row = Row(unowned(rows.pages[number]), unowned(rows.heaps[number]), rows.state[number])
        feed = feed_of(feeds, number)
        serve(row, feed, rules, action[number, 0], action[number, 1], unowned(one))
        pay(row, feed, rules, reward[number])
        time = row.state.whole[TIME]
        over[number] = time >= feed.arrivals.shape[0]
        ended[number] = over[number] or (segment > 0 and time - row.state.whole[MARK] >= segment)
    return -1


@compiled
def show_rows(
    rows: Row, feeds: Feeds, own: Any, observation: Any, state: Any, available: Any, acting: Any
) -> None:
    """What all rows show, into zeros: float32 [row, 2, features], [row, features], bool [row, 2, action], [row, 2]."""
    for number in range(rows.pages.shape[0]):
        row = Row(unowned(rows.pages[number]), unowned(rows.heaps[number]), rows.state[number])
        feed = feed_of(feeds, number)
        largest = feeds.largest[feeds.of_row[number]]
        acts = acting[number]
        observe(row, feed, observation[number], state[number], acts, largest)
        acts[0] = own[0]
        acts[1] = acts[1] and own[1] and row.state.whole[MIGRATOR] == AGENT
        for agent in range(2):
            available[number, agent, 0] = True
            if acts[agent]:
                available[number, agent, 1:] = True


@compiled
def fast_only_latency(feed: Feed, rules: Rules, warm_up: int, carry: Any) -> None:
    """Latency of the requests from number `warm_up` on, were all of them served by the fastest device.

    Args:
        carry: float64 [3], when the request before was done, the page after it, and the sum of latencies in
            microseconds so far; goes on from one part of a trace to the next.
    """
    table = rules.table
    completion, end, total = carry[0], carry[1], carry[2]
    for index in range(feed.arrivals.shape[0]):
        first, count, write = feed.requests[index, 0], feed.requests[index, 1], feed.requests[index, 2]
        arrival = completion if rules.closed else feed.arrivals[index] / rules.load
        if write:
            base = SEQUENTIAL_WRITE if end == first else WRITE
            service = table[0, base] + count * table[0, WRITE_PAGE]
        else:
            base = SEQUENTIAL_READ if end == first else READ
            service = table[0, base] + count * table[0, READ_PAGE]
        completion = max(completion, arrival) + service
        end = float(first + count)
        if index >= warm_up:
            total += completion - arrival
    carry[0], carry[1], carry[2] = completion, end, total


@compiled
def next_uses(requests: Any, pages: int, offsets: Any, following: Any) -> None:
    """Fill for every page of every request, int32 [request, 3], when it is requested next, or NEVER.

    Args:
        pages: how many there are.
        offsets: int64 [request + 1], filled: where a request's pages begin in `following`.
        following: int32 [pages of all requests], filled.
    """
    count = requests.shape[0]
    offsets[0] = 0
    for index in range(count):
        offsets[index + 1] = offsets[index] + requests[index, 1]
    later = np.full(pages, NEVER, np.int32)
    for back in range(count):
        index = count - 1 - back
        first = requests[index, 0]
        for number in range(requests[index, 1]):
            following[offsets[index] + number] = later[first + number]
            later[first + number] = index
