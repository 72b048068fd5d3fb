"""Times smacv2 and smac through the adapter beside their direct use, on the game that SC2PATH names. Prints one JSON.

Both take random legal actions, and only what they do with these is timed: CPU seconds of the package's calls, of the
adapter in this process, and of its workers, without those of the game.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from typing import Any

from marlbench.adapters.sc2 import scenarios


def alone(scenario: str, steps: int) -> float:
    """CPU seconds for steps of the package itself, with what its user asks for after each, and for what it resets."""
    if scenarios.is_drawn(scenario):
        from smacv2.env.starcraft2.wrapper import StarCraftCapabilityEnvWrapper as Environment
    else:
        from smac.env import StarCraft2Env as Environment
    environment = Environment(**scenarios.arguments(scenario, "7", False, False))
    environment.reset()
    masks, over, spent = environment.get_avail_actions(), False, 0.0
    for _ in range(steps):
        chosen = [random.choice([action for action, legal in enumerate(mask) if legal]) for mask in masks]
        begun = time.process_time()
        _, over, _ = environment.step(chosen)
        environment.get_obs()
        environment.get_state()
        masks = environment.get_avail_actions()
        if over:
            environment.reset()
            masks = environment.get_avail_actions()
        spent += time.process_time() - begun
    environment.close()
    return spent


def adapted(scenario: str, rows: int, steps: int, fix_obs: bool) -> dict[str, float]:
    """CPU seconds for steps of every row: of this process, and of the workers."""
    import psutil
    import torch

    from marlbench.adapters.sc2.environment import Sc2, Sc2Parameters
    from marlbench.environments.keys import row_keys

    torch.set_num_threads(1)
    environment = Sc2(Sc2Parameters(scenario=scenario, fix_obs=fix_obs), rows, torch.device("cpu"))
    workers = [psutil.Process(process) for process in environment.workers.process_ids]

    def used() -> float:
        return sum(sum(worker.cpu_times()[:2]) for worker in workers)

    step = environment.reset(row_keys([0], 0, rows, torch.device("cpu")))
    before, here, began = used(), 0.0, time.monotonic()
    for _ in range(steps):
        wish = torch.rand(step.available_actions.shape).masked_fill_(~step.available_actions, -1)
        action = wish.argmax(2)
        begun = time.process_time()
        step = environment.step(action)
        here += time.process_time() - begun
    told = {"here": here, "workers": used() - before, "wall": time.monotonic() - began}
    environment.close()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", help="for instance terran_5_vs_5")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1000, help="of every row")
    parser.add_argument("--alone", action="store_true", help="only the package, in this process")
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps({"alone": alone(arguments.scenario, arguments.steps)}))
        return
    command = [sys.executable, __file__, arguments.scenario, "--alone", "--steps", str(arguments.steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    of_package = json.loads(done.stdout.splitlines()[-1])["alone"] / arguments.steps
    told: dict[str, Any] = {"milliseconds_of_the_package": 1e3 * of_package}
    for name, fixed in (("adapter", False), ("adapter_with_fix_obs", True)):
        spent = adapted(arguments.scenario, arguments.rows, arguments.steps, fixed)
        taken = arguments.rows * arguments.steps
        cost = (spent["here"] + spent["workers"]) / taken
        told[name] = {
            "milliseconds": 1e3 * cost,
            "of_them_in_the_job": 1e3 * spent["here"] / taken,
            "added": cost / of_package - 1,
            "steps_a_second": taken / spent["wall"],
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
