"""Built-in players on whole workloads, without a step from outside; `StoragePlacement.step` shares the transitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from marlbench.environments.keys import derive, row_keys
from marlbench.environments.storage import driver
from marlbench.environments.storage.parameters import StorageParameters
from marlbench.environments.storage.systems import Systems
from marlbench.environments.storage.workloads.drawing import draw, extent


@dataclass(frozen=True)
class Simulated:
    """What built-in players brought.

    Attributes:
        measures: name -> float64 [row], as the environment's metrics of an episode.
        latencies: float64 [row, request], microseconds; of no requests where they were not asked for.
    """

    measures: dict[str, NDArray[np.float64]]
    latencies: NDArray[np.float64]


def simulate(
    placement: str,
    requests: int | None = None,
    *,
    migration: str = "none",
    parameters: StorageParameters | None = None,
    rows: int = 1,
    seed: int = 0,
    latencies: bool = False,
) -> Simulated:
    """Play built-in players on the first episodes of a seed.

    Args:
        placement, migration: names of players.
        requests: of each episode; by default what the parameters say.
        parameters: of the task.
        rows: storage systems, each with a workload of its own.
        latencies: whether to keep those of all requests.
    """
    asked = (parameters or StorageParameters()).model_dump()
    asked |= {"placement": placement, "migration": migration}
    if requests is not None:
        asked["requests"] = requests
    chosen = StorageParameters(**asked)
    systems = Systems(chosen, rows, *extent(chosen))
    keys = derive(row_keys([seed], 0, rows, torch.device("cpu")), 0)
    for row, key in enumerate(keys.tolist()):
        systems.feed(row, draw(chosen, key))
    systems.begin(range(rows))
    length = systems.feeds.arrivals.shape[1]
    kept = np.zeros((rows, length if latencies else 0))
    driver.simulate_rows(systems.row, systems.feeds, systems.rules, length, kept)
    return Simulated(systems.measures(), kept)
