"""The workload of an episode, from its name and its key."""

from __future__ import annotations

import numpy as np

from marlbench.environments.storage.parameters import StorageParameters
from marlbench.environments.storage.workloads import synthetic
from marlbench.environments.storage.workloads.names import CALIBRATED, PREFIX, TRACE
from marlbench.environments.storage.workloads.workload import Workload


def draw(parameters: StorageParameters, key: int) -> Workload:
    """The workload of the episode with this key: which one of several, and everything random in it."""
    random = np.random.Generator(np.random.PCG64(key % 2**64))
    name = parameters.workloads[int(random.integers(len(parameters.workloads)))]
    return named(parameters, name, random)


def named(parameters: StorageParameters, name: str, random: np.random.Generator) -> Workload:
    """One workload by its name."""
    if name == TRACE:
        from marlbench.environments.storage.workloads.traces import loaded

        return loaded(parameters)
    if name.startswith(PREFIX):
        return synthetic.calibrated(
            name.removeprefix(PREFIX), parameters.requests, parameters.interval, random
        )
    return synthetic.pattern(
        name,
        parameters.requests or parameters.addresses,
        parameters.addresses,
        parameters.write_share,
        parameters.skew,
        parameters.interval,
        random,
    )


def extent(parameters: StorageParameters) -> tuple[int, int]:
    """Most pages and most requests that a workload of these parameters has."""
    pages, requests = 0, 0
    for name in parameters.workloads:
        if name == TRACE:
            from marlbench.environments.storage.workloads.traces import loaded

            workload = loaded(parameters)
            size, length = workload.pages, len(workload)
        elif name.startswith(PREFIX):
            whole = CALIBRATED[name.removeprefix(PREFIX)].requests
            size = synthetic.calibrated_pages(name.removeprefix(PREFIX))
            length = min(whole, parameters.requests or whole)
        else:
            size, length = parameters.addresses, parameters.requests or parameters.addresses
        pages, requests = max(pages, size), max(requests, length)
    return pages, requests
