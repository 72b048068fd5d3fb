"""Synthetic workloads: simple patterns, and some that are calibrated to published characteristics of traces.

All are [ours]. Everything random comes from the generator that is given.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marlbench.environments.storage.devices import PAGE_BYTES
from marlbench.environments.storage.workloads.names import CALIBRATED, Characteristics
from marlbench.environments.storage.workloads.workload import Workload

# Of Zipf's law in calibrated workloads: the publications do not tell.
SKEW = 0.9
# Addresses that are met for the first time come in runs of neighbours, as scans do.
RUN = 8
PHASES = 4
# Arrivals come in bursts: nine of ten gaps are a fifth of the mean, the tenth is long.
_SHORT_SHARE, _SHORT = 0.9, 0.2
_LONG = (1.0 - _SHORT_SHARE * _SHORT) / (1.0 - _SHORT_SHARE)


def bursts(count: int, interval: float, random: Generator) -> NDArray[np.float64]:
    """Arrival times in microseconds with `interval` between requests in the mean: float64 [count]."""
    scale = np.where(random.random(count) < _SHORT_SHARE, _SHORT, _LONG)
    return np.cumsum(scale * random.exponential(interval, count))


def pattern(
    name: str,
    count: int,
    addresses: int,
    write_share: float,
    skew: float,
    interval: float,
    random: Generator,
) -> Workload:
    """`uniform`, `zipf`, `sequential` or `phases` over addresses of one page each.

    `zipf` ranks addresses in random order; `phases` draws a new order four times; `sequential` goes round and round.
    """
    if name == "sequential":
        page = np.arange(count) % addresses
    elif name == "uniform":
        page = random.integers(0, addresses, count)
    else:
        rank = _zipf(addresses, skew, random.random(count))
        orders = [random.permutation(addresses) for _ in range(PHASES if name == "phases" else 1)]
        phase = np.arange(count) * len(orders) // count
        page = np.stack(orders)[phase, rank]
    requests = np.ones((count, 3), np.int32)
    requests[:, 0] = page
    requests[:, 2] = random.random(count) < write_share
    return Workload(bursts(count, interval, random), requests, addresses)


def calibrated(name: str, count: int | None, interval: float, random: Generator) -> Workload:
    """ "Synthetic, calibrated to `name`": the first `count` requests of it, or all.

    Addresses are ranges of pages that lie side by side in random order. Each is requested once in runs of eight
    neighbours, and otherwise by Zipf's law with exponent 0.9, at random times. The whole has the published write
    share, mean size, accesses of an address and unique addresses.
    """
    published = CALIBRATED[name]
    whole, addresses = published.requests, published.addresses
    count = whole if count is None else min(count, whole)
    sizes = _sizes(name)
    order = random.permutation(addresses)
    starts = np.empty(addresses, np.int64)
    starts[order] = np.cumsum(sizes[order]) - sizes[order]

    met = int(random.hypergeometric(addresses, whole - addresses, count)) if whole > addresses else count
    runs = -(-addresses // RUN)
    scanned = order[
        (random.permutation(runs)[:, None] * RUN + np.arange(RUN)).ravel() % (runs * RUN) % addresses
    ]
    scanned = scanned[np.sort(np.unique(scanned, return_index=True)[1])][:met]
    drawn = _zipf(addresses, SKEW, random.random(count - met))
    # Runs and single requests in random order.
    first = np.arange(0, met, RUN)
    kinds = np.concatenate([first, np.full(count - met, -1)])
    random.shuffle(kinds)
    lengths = np.where(kinds >= 0, np.minimum(RUN, met - kinds), 1)
    begin = np.cumsum(lengths) - lengths
    rank = np.empty(count, np.int64)
    rank[begin[kinds < 0]] = drawn
    for offset in range(RUN):
        chosen = (kinds >= 0) & (lengths > offset)
        rank[begin[chosen] + offset] = scanned[kinds[chosen] + offset]

    requests = np.empty((count, 3), np.int32)
    requests[:, 0] = starts[rank]
    requests[:, 1] = sizes[rank]
    requests[:, 2] = random.random(count) < published.write_share
    return Workload(bursts(count, interval, random), requests, int(sizes.sum()))


@functools.cache
def calibrated_pages(name: str) -> int:
    """Pages of all addresses of a calibrated workload: the same for every seed."""
    return int(_sizes(name).sum())


@functools.cache
def _sizes(name: str) -> NDArray[np.int64]:
    """Pages of the address of each rank: geometric, and such that the mean over requests is the published one."""
    published: Characteristics = CALIBRATED[name]
    mean = published.kibibytes * 1024 / PAGE_BYTES
    # The golden ratio spreads the quantiles evenly over the ranks.
    quantile = (np.arange(published.addresses) + 0.5) * ((5**0.5 - 1) / 2) % 1.0
    sizes = 1 + np.floor(np.log1p(-quantile * 0.999) / np.log1p(-1.0 / mean)).astype(np.int64)
    again = (published.requests - published.addresses) / published.requests
    weight = again * _shares(published.addresses, SKEW) + 1.0 / published.requests
    for rank in range(published.addresses):
        surplus = float(weight @ sizes) - mean
        if abs(surplus) < 0.002 * mean:
            break
        change = int(np.clip(round(surplus / float(weight[rank])), -4, min(4, int(sizes[rank]) - 1)))
        sizes[rank] -= change
    return sizes


@functools.lru_cache(maxsize=32)
def _shares(addresses: int, skew: float) -> NDArray[np.float64]:
    weight = np.arange(1, addresses + 1, dtype=np.float64) ** -skew
    return weight / weight.sum()


def _zipf(addresses: int, skew: float, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ranks from 0 by Zipf's law, one for each uniform."""
    bounds = np.cumsum(_shares(addresses, skew))
    return np.minimum(np.searchsorted(bounds, uniforms, side="right"), addresses - 1)
