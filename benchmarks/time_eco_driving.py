"""Eco-driving: steps of whole episodes, plain driving included, and how much of their time SUMO itself takes.

    python benchmarks/time_eco_driving.py [--episodes 4] [--duration 325]

Prints a JSON line: steps (half a second of traffic each) and observations of controlled vehicles for a CPU-second of
all processes, everything between two tensors of the job included; and the CPU time of SUMO's own steps in the same
episodes, driven by a plain loop that reads nothing, as a share of it. Every vehicle accelerates as it can.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
from dataclasses import replace
from typing import Any

import torch

from marlbench.adapters.sumo.ecodriving.environment import EcoDriving
from marlbench.adapters.sumo.ecodriving.parameters import EcoDrivingParameters
from marlbench.adapters.sumo.ecodriving.row import MOST_ACCELERATION, EcoDrivingRow


def spent() -> float:
    """CPU seconds of this process and of all that have ended below it."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def through_the_adapter(parameters: EcoDrivingParameters, episodes: int) -> tuple[int, int, list[int]]:
    """Steps, observations and seeds of whole episodes."""
    environment = EcoDriving(parameters, 1, torch.device("cpu"))
    agents = len(environment.specification.agents)
    action = torch.full((1, agents, 1), MOST_ACCELERATION)
    steps = observations = 0
    seeds: list[int] = []
    try:
        step = environment.reset(torch.tensor([3]))
        for _ in range(episodes):
            seeds.append(int(environment._shared["seed"][0]))
            while not (step := environment.step(action)).any_ended:
                steps, observations = steps + 1, observations + int(step.acting.sum())
            steps += 1
    finally:
        environment.close()
    return steps, observations, seeds


def by_itself(parameters: EcoDrivingParameters, seeds: list[int]) -> None:
    """The same episodes twice, as an episode is driven beside plain driving, with nothing read or told."""
    environment = EcoDriving.__new__(EcoDriving)
    environment.parameters = parameters
    row = EcoDrivingRow(replace(environment.rules(parameters), fresh=False))
    try:
        for seed in seeds:
            row._draw(seed)
            for _ in range(2):
                row._begin_drive(all_human=False)
                for _ in range(parameters.settings.warm_up_steps + parameters.steps):
                    row.simulation.libsumo.simulationStep()
                row.simulation.end()
    finally:
        row.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--duration", type=float, default=325.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    told: dict[str, Any] = {"slots": 12, "duration": given.duration}
    parameters = EcoDrivingParameters(**told)
    before = spent()
    steps, observations, seeds = through_the_adapter(parameters, given.episodes)
    ours = spent() - before
    before = spent()
    by_itself(parameters, seeds)
    sumo = spent() - before
    print(
        json.dumps(
            {
                "steps": steps,
                "cpu_seconds": ours,
                "steps_per_cpu_second": steps / ours,
                "observations_per_cpu_second": observations / ours,
                "share_of_sumo": sumo / ours,
                "load": os.getloadavg()[0],
            }
        )
    )


if __name__ == "__main__":
    main()
