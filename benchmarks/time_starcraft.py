"""Times smacv2 and smac through the adapter beside their direct use, on the game that SC2PATH names. Prints one JSON.

As many processes of the package as the adapter has rows stand beside it, and the two sides take turns of some steps:
what else the machine does, and what the games do to each other, meets both alike. All take random legal actions. What
is compared are CPU seconds of whole processes, without those of the games: of the package's own, and of this one and
the adapter's workers. The figure is the median over turns. `--scaling 1,2,8` plays with so many rows besides, and tells
the steps a second by the clock.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from statistics import median
from typing import Any

from marlbench.adapters.sc2 import scenarios


def serve(scenario: str) -> None:
    """The package alone: reads numbers of steps from standard input and answers each with the CPU seconds it took."""
    if scenarios.is_drawn(scenario):
        from smacv2.env.starcraft2.wrapper import StarCraftCapabilityEnvWrapper as Environment
    else:
        from smac.env import StarCraft2Env as Environment
    environment = Environment(**scenarios.arguments(scenario, "7", False, False))
    environment.reset()
    masks = environment.get_avail_actions()
    print("ready", flush=True)
    for line in sys.stdin:
        begun = time.process_time()
        for _ in range(int(line)):
            chosen = [random.choice([action for action, legal in enumerate(mask) if legal]) for mask in masks]
            _, over, _ = environment.step(chosen)
            environment.get_obs()
            environment.get_state()
            masks = environment.get_avail_actions()
            if over:
                environment.reset()
                masks = environment.get_avail_actions()
        print(time.process_time() - begun, flush=True)
    environment.close()


class Package:
    """The package in so many processes that play at once."""

    def __init__(self, scenario: str, rows: int) -> None:
        command = [sys.executable, __file__, scenario, "--serve"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(rows)]  # type: ignore[call-overload]
        for process in self.processes:
            self._answer(process)

    def _answer(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        # The package greets in standard output as well.
        for line in process.stdout:
            word = line.split()[0] if line.split() else ""
            if word == "ready" or word.replace(".", "", 1).replace("e-", "", 1).isdigit():
                return word
        raise RuntimeError("the package ended; run it with --serve to see why")

    def play(self, steps: int) -> float:
        """CPU seconds of all processes for so many steps of each."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
        return sum(float(self._answer(process)) for process in self.processes)

    def close(self) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            process.wait(60)


class Adapted:
    """The adapter with so many rows."""

    def __init__(self, scenario: str, rows: int, fix_obs: bool) -> None:
        import psutil
        import torch

        from marlbench.adapters.sc2.environment import Sc2, Sc2Parameters
        from marlbench.environments.keys import row_keys

        torch.set_num_threads(1)
        self.torch, self.rows = torch, rows
        self.environment = Sc2(Sc2Parameters(scenario=scenario, fix_obs=fix_obs), rows, torch.device("cpu"))
        self.workers = [psutil.Process(process) for process in self.environment.workers.process_ids]
        self.step = self.environment.reset(row_keys([0], 0, rows, torch.device("cpu")))

    def _used(self) -> float:
        return sum(sum(worker.cpu_times()[:2]) for worker in self.workers)

    def play(self, steps: int) -> tuple[float, float]:
        """CPU seconds of this process and of the workers for so many steps of every row."""
        torch, before, begun = self.torch, self._used(), time.process_time()
        for _ in range(steps):
            wish = torch.rand(self.step.available_actions.shape)
            self.step = self.environment.step(wish.masked_fill_(~self.step.available_actions, -1).argmax(2))
        return time.process_time() - begun, self._used() - before

    def close(self) -> None:
        self.environment.close()


def compared(scenario: str, rows: int, steps: int, turns: int) -> dict[str, Any]:
    """Milliseconds of CPU a step of one row, on both sides, and what the adapter adds."""
    package = Package(scenario, rows)
    adapters = {
        "adapter": Adapted(scenario, rows, False),
        "adapter_with_fix_obs": Adapted(scenario, rows, True),
    }
    alone, taken = [], {name: [] for name in adapters}  # type: ignore[var-annotated]
    each = max(1, steps // turns)
    for turn in range(turns + 1):
        spent = package.play(each)
        found = {name: adapter.play(each) for name, adapter in adapters.items()}
        if turn:
            # The first is for warming up.
            alone.append(spent)
            for name, (here, workers) in found.items():
                taken[name].append((here, workers, (here + workers) / spent - 1))
    package.close()
    for adapter in adapters.values():
        adapter.close()
    scale = 1e3 / (rows * each)
    told: dict[str, Any] = {"rows": rows, "milliseconds_of_the_package": scale * median(alone)}
    for name, turns_of in taken.items():
        added = sorted(share for *_, share in turns_of)
        told[name] = {
            "milliseconds": scale * median(here + workers for here, workers, _ in turns_of),
            "of_them_in_the_job": scale * median(here for here, *_ in turns_of),
            "added": median(added),
            "added_in_the_middle_half_of_turns": [added[len(added) // 4], added[-1 - len(added) // 4]],
        }
    return told


def scaling(scenario: str, counts: list[int], steps: int) -> dict[str, float]:
    """Steps a second by the clock, all rows together, for each number of rows; these take turns too."""
    sides = {rows: Adapted(scenario, rows, True) for rows in counts}
    seconds: dict[int, list[float]] = {rows: [] for rows in counts}
    for _ in range(5):
        for rows, side in sides.items():
            begun = time.monotonic()
            side.play(max(1, steps // 5))
            seconds[rows].append(time.monotonic() - begun)
    for side in sides.values():
        side.close()
    return {str(rows): rows * max(1, steps // 5) / median(spent) for rows, spent in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", help="for instance terran_5_vs_5")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1000, help="of every row, on each side")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--scaling", default="", help="numbers of rows, with commas")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.scenario)
        return
    told = compared(arguments.scenario, arguments.rows, arguments.steps, arguments.turns)
    if arguments.scaling:
        counts = [int(count) for count in arguments.scaling.split(",")]
        told["steps_a_second"] = scaling(arguments.scenario, counts, arguments.steps)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
