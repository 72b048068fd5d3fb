"""Times battles under random legal policies, the choice of actions included. Prints one JSON.

`--environment smax` times SMAX, whose compiling is told apart and is not in the other figures.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch import Tensor

from marlbench import plugins
from marlbench.environments.contract import Step
from marlbench.environments.keys import row_keys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", help="for instance terran_5_vs_5")
    parser.add_argument("--environment", default="smac", help="smac or smax")
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=40, help="timed joint steps, after as many that are not")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(1)
    environment = plugins.load("environments", arguments.environment)
    battles = environment(environment.Parameters(scenario=arguments.scenario), arguments.rows, device)
    generator = torch.Generator(device=device).manual_seed(0)

    def legal(step: Step) -> Tensor:
        wish = torch.rand(step.available_actions.shape, generator=generator, device=device)
        return wish.masked_fill_(~step.available_actions, -1).argmax(2)

    def play(step: Step) -> Step:
        for _ in range(arguments.steps):
            step = battles.step(legal(step))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return step

    # Battles are past their start, and some end and begin at every step.
    step = play(battles.reset(row_keys([0], 0, arguments.rows, device)))
    start, begun = time.perf_counter(), time.process_time()
    play(step)
    wall, cpu = time.perf_counter() - start, time.process_time() - begun
    told = {"steps": arguments.rows * arguments.steps, "wall_seconds": wall, "cpu_seconds": cpu}
    if hasattr(battles, "compile_seconds"):
        told["compile_seconds"] = battles.compile_seconds
    print(json.dumps(told))


if __name__ == "__main__":
    main()
