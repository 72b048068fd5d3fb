"""Speed of the simulators of social dilemmas and of navigation on one core, with random actions.

Prints one JSON, task -> figures. Actions are drawn before the clock starts; what is timed is `step` alone, with its
observations, ends and new episodes.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from marlbench import plugins
from marlbench.environments.contract import Discrete
from marlbench.environments.keys import row_keys
from marlbench.store.execution import prepare_torch

# Task -> plug-in, parameters, rows, joint steps of a sample.
TASKS: dict[str, tuple[str, dict[str, object], int, int]] = {
    "iterated": ("iterated_game", {}, 1024, 400),
    "iterated_mixed": ("iterated_game", {"opponents": "mixed"}, 1024, 400),
    "coin_game": ("coin_game", {}, 1024, 200),
    "fishery": ("common_pool", {}, 1024, 200),
    "harvest": ("harvest", {}, 64, 200),
    "clean_up": ("clean_up", {}, 64, 200),
    "navigation": ("navigation", {}, 1024, 200),
    "navigation_walker": ("navigation", {"walker": True}, 1024, 200),
}
ACTIONS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(TASKS)}; default: all")
    parser.add_argument("--rows", type=int, help="instead of the usual number")
    parser.add_argument("--samples", type=int, default=3, help="the fastest one is told")
    arguments = parser.parse_args()
    if unknown := set(arguments.tasks) - set(TASKS):
        parser.error(f"there is no task {', '.join(sorted(unknown))}; known: {', '.join(TASKS)}")
    device = torch.device("cpu")
    prepare_torch(device, 1)
    figures = {}
    for task in arguments.tasks or TASKS:
        name, parameters, usual, steps = TASKS[task]
        rows = arguments.rows or usual
        simulator = plugins.load("environments", name)
        environment = simulator(simulator.Parameters(**parameters), rows, device)
        space = environment.specification.action
        assert isinstance(space, Discrete)
        agents = len(environment.specification.agents)
        actions = [torch.randint(space.count, (rows, agents)) for _ in range(ACTIONS)]
        environment.reset(row_keys([0], 0, rows, device))
        for action in actions[:3]:
            environment.step(action)
        best = 0.0
        for _ in range(arguments.samples):
            began = time.process_time()
            for step in range(steps):
                environment.step(actions[step % ACTIONS])
            best = max(best, rows * steps / (time.process_time() - began))
        figures[task] = {"rows": rows, "steps_per_cpu_second": round(best)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
