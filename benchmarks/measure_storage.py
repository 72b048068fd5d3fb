"""Storage placement on one core, requests a CPU-second: simulate, step with a policy outside, libcachesim's LRU.

The systems stand side by side; libcachesim, where it is installed, gets the requests of one of them from
Python one by one, which is how a learner would drive it. Prints JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import torch

from marlbench.environments.keys import derive, row_keys
from marlbench.environments.storage import driver
from marlbench.environments.storage.environment import StoragePlacement
from marlbench.environments.storage.parameters import StorageParameters
from marlbench.environments.storage.systems import Systems
from marlbench.environments.storage.workloads.drawing import draw, extent

SYSTEMS = 64
REQUESTS = 20_000
STEPS = 4_000
REPEATS = 3
CPU = torch.device("cpu")


def best(work: Callable[[], int]) -> float:
    """Requests a CPU-second, the best of several."""
    speeds = []
    for _ in range(REPEATS):
        begin = time.process_time()
        speeds.append(work() / (time.process_time() - begin))
    return max(speeds)


def simulated(placement: str) -> float:
    told = {"workload": "calibrated_hm_1", "placement": placement, "migration": "none", "requests": REQUESTS}
    parameters = StorageParameters.model_validate(told)
    systems = Systems(parameters, SYSTEMS, *extent(parameters))
    for row, key in enumerate(derive(row_keys([0], 0, SYSTEMS, CPU), 0).tolist()):
        systems.feed(row, draw(parameters, key))
    speeds = []
    for _ in range(REPEATS):
        systems.begin(range(SYSTEMS))
        begin = time.process_time()
        driver.simulate_rows(systems.row, systems.feeds, systems.rules, REQUESTS, np.zeros((SYSTEMS, 0)))
        speeds.append(SYSTEMS * REQUESTS / (time.process_time() - begin))
    return max(speeds)


def stepped() -> float:
    parameters = StorageParameters(workload="calibrated_hm_1", requests=REPEATS * STEPS + STEPS)
    environment = StoragePlacement(parameters, SYSTEMS, CPU)
    environment.reset(row_keys([0], 0, SYSTEMS, CPU))
    action = torch.zeros(SYSTEMS, 2, dtype=torch.int64)
    environment.step(action)

    def work() -> int:
        for _ in range(STEPS):
            environment.step(action)
        return SYSTEMS * STEPS

    return best(work)


def libcachesim() -> float | None:
    try:
        import libcachesim as library  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    parameters = StorageParameters(workload="calibrated_hm_1", requests=200_000)
    pages = draw(parameters, 1).requests[:, 0].tolist()
    cache = library.LRU(4096 * len(set(pages)) // 10)
    request = library.Request()
    request.obj_size = 4096

    def work() -> int:
        for page in pages:
            request.obj_id = page
            cache.get(request)
        return len(pages)

    return best(work)


if __name__ == "__main__":
    torch.set_num_threads(1)
    players = ("fast_only", "lru", "lfu", "cde", "hps", "oracle")
    measured = {f"simulate_{name}": simulated(name) for name in players} | {"step": stepped()}
    theirs = libcachesim()
    if theirs is not None:
        measured["libcachesim_lru"] = theirs
    print(json.dumps(measured))
