"""Built-in players on whole workloads, without a step from outside; `StoragePlacement.step` shares the transitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from marlbench.environments.keys import derive, row_keys
from marlbench.environments.storage import driver, layout
from marlbench.environments.storage.parameters import StorageParameters
from marlbench.environments.storage.systems import Systems
from marlbench.environments.storage.workloads import traces
from marlbench.environments.storage.workloads.drawing import draw, extent
from marlbench.environments.storage.workloads.formats import PIECE, Piece, pieces
from marlbench.environments.storage.workloads.page_numbers import PageNumbers
from marlbench.environments.storage.workloads.workload import Workload
from marlbench.errors import MarlbenchError


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


def replay(
    parameters: StorageParameters, placement: str, *, migration: str = "none", size: int = PIECE
) -> dict[str, float]:
    """Replay all of a trace that need not fit into memory, by built-in players: its measures.

    The file is read twice, first to number its pages. Memory holds a piece of it, and what is known of each page: 32
    bytes, and some more where pages in use are scattered.

    Args:
        parameters: name the trace; `requests` and `trace_skip` do not count.
        placement, migration: players; none that knows the future.
        size: bytes that are read at a time.
    """
    if {"oracle", "hindsight"} & {placement, migration}:
        raise MarlbenchError(
            "oracle and hindsight know the future, and a stream has none.", "Use `simulate` on a part of it."
        )
    assert parameters.trace is not None
    path, name = Path(parameters.trace), parameters.trace_format
    count, most = 0, 0

    def counted() -> Iterator[Piece]:
        nonlocal count, most
        for piece in _read(path, name, size):
            count, most = count + len(piece.times), max(most, len(piece.times))
            yield piece

    numbers = PageNumbers.of(counted())
    if not count:
        raise MarlbenchError(f"{path} holds no requests.")
    chosen = StorageParameters(**parameters.model_dump() | {"placement": placement, "migration": migration})
    systems = Systems(chosen, 1, numbers.extent, most)
    state = systems.row.state[0]
    fast_only, clock = np.array([0.0, -1.0, 0.0]), 0.0
    warm_up = int(chosen.warm_up * count)
    for number, piece in enumerate(_read(path, name, size)):
        arrivals = np.maximum(np.maximum.accumulate(piece.times), clock)
        clock = float(arrivals[-1])
        workload = Workload(arrivals, numbers.requests(piece), numbers.extent)
        systems.feed(0, workload)
        if number == 0:
            systems.begin([0], numbers.working_set, warm_up)
        else:
            state["whole"][layout.BASE] = state["whole"][layout.TIME]
            driver.begin_rows(systems.row, systems.feeds, systems.rules, np.zeros(1, np.int64))
        done = int(state["whole"][layout.TIME])
        driver.fast_only_latency(systems.feed_of(0), systems.rules, warm_up - done, fast_only)
        driver.simulate_rows(systems.row, systems.feeds, systems.rules, len(workload), np.zeros((1, 0)))
    systems.fast_only[0] = fast_only[2] / max(1, count - warm_up)
    return {name: float(value[0]) for name, value in systems.measures().items()}


def _read(path: Path, name: str, size: int) -> Iterator[Piece]:
    return traces.read(path, name) if name == "libcachesim" else pieces(path, name, size)
