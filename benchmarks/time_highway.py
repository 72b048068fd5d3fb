"""Times the highway and highway-env in turn: 5 agents with random actions among 50 other vehicles. Prints one JSON.

highway-env is its own `HighwayEnv` with the same lanes, vehicles, frames and observations, and its own drivers. Both
begin new episodes when all agents have crashed or 90 decisions are over; that is timed too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

from marlbench.environments.keys import row_keys
from marlbench.environments.traffic.highway.environment import Highway, HighwayParameters

AGENTS, OTHERS, LANES, LENGTH = 5, 50, 8, 90


def of_ours(rows: int, decisions: int) -> Callable[[], int]:
    """A function that takes some decisions of all rows and returns how many that were."""
    highway = Highway(HighwayParameters(), rows, torch.device("cpu"))
    actions = [torch.randint(5, (rows, AGENTS)) for _ in range(64)]
    highway.reset(row_keys([0], 0, rows, torch.device("cpu")))
    # Past their start, so that some rows end and begin at every step.
    for action in actions:
        highway.step(action)

    def play() -> int:
        for decision in range(decisions):
            highway.step(actions[decision % 64])
        return rows * decisions

    return play


def of_highway_env(decisions: int) -> Callable[[], int]:
    from highway_env.envs.highway_env import HighwayEnv

    seen = {"type": "Kinematics", "vehicles_count": 15, "features": ["presence", "x", "y", "vx", "vy"]}
    seen["features_range"] = {"x": [-100, 100], "y": [-100, 100], "vx": [-20, 20], "vy": [-20, 20]}
    environment: Any = HighwayEnv(
        {
            "observation": {"type": "MultiAgentObservation", "observation_config": seen},
            "action": {"type": "MultiAgentAction", "action_config": {"type": "DiscreteMetaAction"}},
            "lanes_count": LANES,
            "vehicles_count": OTHERS,
            "controlled_vehicles": AGENTS,
            "duration": LENGTH,
            "simulation_frequency": 5,
        }
    )
    random = np.random.default_rng(0)
    environment.reset(seed=0)

    def play() -> int:
        for _ in range(decisions):
            _, _, _, truncated, _ = environment.step(tuple(random.integers(5, size=AGENTS)))
            if truncated or all(vehicle.crashed for vehicle in environment.controlled_vehicles):
                environment.reset()
        return decisions

    return play


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--decisions", type=int, default=60, help="of every row, in a sample")
    parser.add_argument("--samples", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plays = {"marlbench": of_ours(arguments.rows, arguments.decisions), "highway-env": of_highway_env(10)}
    speeds: dict[str, list[float]] = {name: [] for name in plays}
    for _ in range(arguments.samples):
        for name, play in plays.items():
            began = time.process_time()
            taken = play()
            speeds[name].append(taken / (time.process_time() - began))
    medians = {name: median(values) for name, values in speeds.items()}
    ratio = medians["marlbench"] / medians["highway-env"]
    told = {"rows": arguments.rows, "decisions_per_cpu_second": medians, "ratio": ratio, "samples": speeds}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
