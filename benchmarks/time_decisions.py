"""Time of one decision of small networks, and speed of Sibyl learning online on 64 systems.

    python benchmarks/time_decisions.py            # both; --requests 2000 of each system

Times are CPU seconds of one thread. A decision is the compiled one for a single row: called from Python, and from
compiled code as a storage system would. Harmonia's paper (arXiv 2503.20507) tells 240 ns on its machine [paper].
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

from marlbench.algorithms.base import Setting
from marlbench.algorithms.decision_kernel import best_action, decide
from marlbench.algorithms.harmonia import Harmonia, HarmoniaHyperparameters
from marlbench.algorithms.sibyl import Sibyl, SibylHyperparameters
from marlbench.environments.keys import row_keys
from marlbench.environments.storage.environment import StoragePlacement
from marlbench.environments.storage.parameters import StorageParameters

CPU = torch.device("cpu")
CALLS = 20_000
PAPER_NANOSECONDS = 240.0


@numba.njit(error_model="numpy")
def many(weights: Any, sizes: Any, support: Any, rows: Any, atoms: int) -> int:
    """Decisions one after the other, from compiled code: the sum of the actions."""
    widest = sizes.max()
    first, second, room = (
        np.empty(widest, np.float32),
        np.empty(widest, np.float32),
        np.empty(widest, np.float32),
    )
    powers = np.empty(widest, np.int32)
    total = 0
    for number in range(rows.shape[0]):
        first[: rows.shape[1]] = rows[number]
        total += best_action(weights, sizes, atoms, support, first, second, room, powers)
    return total


def trained(method: Any, options: Any, rows: int, requests: int, folder: str) -> tuple[Any, float]:
    """A method that learned online on `rows` systems, and requests per CPU-second of all of it but the first part."""
    parameters = StorageParameters(workload="calibrated_rsrch_0", interval=500.0, requests=20_000)
    environment = StoragePlacement(parameters, rows, CPU)
    setting = Setting(environment.specification, (0,), rows, rows * requests, CPU, Path(folder))
    algorithm = method(setting, options)
    step = environment.reset(row_keys((0,), 0, rows, CPU))
    generator = torch.Generator().manual_seed(0)
    began, counted, steps = 0.0, 0, 0
    warm_up = algorithm.rollout_length
    while steps < warm_up + requests:
        algorithm.begin(steps * rows)
        noise = torch.rand(algorithm.rollout_length, rows, 2, 2, generator=generator)
        if steps >= warm_up and not began:
            began = time.process_time()
        for now in range(algorithm.rollout_length):
            action, _ = algorithm.policy.act(step, None, noise[now], "behaviour")
            following = environment.step(action)
            algorithm.observe(step, None, action, following)
            step = following
            counted += rows if began else 0
        algorithm.learn()
        steps += algorithm.rollout_length
    return algorithm, counted / (time.process_time() - began)


def decision_nanoseconds(algorithm: Any) -> dict[str, float]:
    """One decision of the placement network, one row: from Python and from compiled code."""
    decider = algorithm.placement
    sizes, support = np.array(decider.network.sizes), decider.head.support.numpy()
    flat, atoms = decider.acting[:1].numpy(), decider.head.atoms
    rows = np.random.default_rng(0).random((CALLS, decider.columns.count), np.float32)
    observation, noise = np.zeros((1, 1, rows.shape[1]), np.float32), np.zeros((1, 1, 2), np.float32)
    columns, action = np.arange(rows.shape[1]), np.zeros((1, 1), np.int64)
    found: dict[str, list[float]] = {"from_python": [], "compiled": []}
    for _ in range(6):
        began = time.process_time()
        for row in rows:
            observation[0, 0] = row
            decide(observation, 0, columns, flat, sizes, atoms, support, 1, 1, 0.0, noise, action)
        found["from_python"].append(time.process_time() - began)
        began = time.process_time()
        many(flat[0], sizes, support, rows, atoms)
        found["compiled"].append(time.process_time() - began)
    return {name: 1e9 * min(times) / CALLS for name, times in found.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--requests", type=int, default=4_000, help="of each system, after the first thousand"
    )
    requests = arguments.parse_args().requests
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sibyl, speed = trained(Sibyl, SibylHyperparameters.model_validate({}), 64, requests, folder)
        harmonia, _ = trained(Harmonia, HarmoniaHyperparameters.model_validate({}), 1, 2_000, folder)
    measured = {
        "sibyl_online_requests_per_cpu_second": speed,
        "sibyl_decision_nanoseconds": decision_nanoseconds(sibyl),
        "harmonia_decision_nanoseconds": decision_nanoseconds(harmonia),
        "harmonia_paper_nanoseconds": PAPER_NANOSECONDS,
        "sibyl_agent_bytes": sibyl.agent_bytes(),
        "harmonia_agent_bytes": harmonia.agent_bytes(),
    }
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
