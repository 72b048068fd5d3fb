"""Traffic signals through the adapter against a plain libsumo loop that takes the same actions and reads the same
values, and one process against two.

    python benchmarks/time_signals.py [--network grid4x4] [--decisions 120] [--repeats 3]

Prints a JSON line: CPU seconds of simulated decisions in the process of the simulation (adapter and plain loop taken
in turn, the best of each), what the job's own process adds for each decision, steps per second of one row and of two.
Times of two processes mean something on a quiet machine with two cores only. Both loops begin in a process that has
simulated nothing yet.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import psutil
import torch

from marlbench.adapters.sumo.signals.environment import Signals
from marlbench.adapters.sumo.signals.networks import NETWORKS, files
from marlbench.adapters.sumo.signals.parameters import SignalsParameters

# Every agent takes the next of its phases in turn: all loops do the same, with a yellow at every decision.
_PHASES = {"grid4x4": 8, "cologne1": 4, "ingolstadt1": 3}

PLAIN = """
import sys, time
from marlbench.adapters.sumo.installation import library
libsumo = library()
net, routes, begin, decisions, seed = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
started = time.process_time()
libsumo.start(["sumo", "-n", net, "-r", routes, "--begin", str(begin), "--seed", str(seed), "--time-to-teleport", "-1",
    "--no-step-log", "--no-warnings", "--default.departspeed", "0", "--default.departlane", "first",
    "--waiting-time-memory", str(10 * decisions), "--tripinfo-output", "/dev/null",
    "--tripinfo-output.write-unfinished", "--tripinfo-output.write-undeparted"])
names, lane, vehicle, light = libsumo.trafficlight.getIDList(), libsumo.lane, libsumo.vehicle, libsumo.trafficlight
lanes = {name: list(dict.fromkeys(light.getControlledLanes(name))) for name in names}
phases = {name: [p.state for p in light.getAllProgramLogics(name)[0].phases if "y" not in p.state] for name in names}
pairs = {}
for name in names:
    for a, was in enumerate(phases[name]):
        for b, comes in enumerate(phases[name]):
            pairs[name, a, b] = "".join("y" if x in "Gg" and y not in "Gg" else x for x, y in zip(was, comes))

def read():
    for name in names:
        for one in lanes[name]:
            lane.getLastStepVehicleNumber(one), lane.getLastStepHaltingNumber(one), lane.getLastStepLength(one)
            for who in lane.getLastStepVehicleIDs(one):
                vehicle.getAccumulatedWaitingTime(who)

for name in names:
    light.setRedYellowGreenState(name, phases[name][0])
read()
began, phase = time.process_time(), 0
for decision in range(decisions):
    now = begin + 10 * decision
    for name in names:
        light.setRedYellowGreenState(name, pairs[name, phase, (phase + 1) % len(phases[name])])
    libsumo.simulationStep(now + 3)
    phase = (phase + 1) % len(phases[names[0]])
    for name in names:
        light.setRedYellowGreenState(name, phases[name][phase])
    libsumo.simulationStep(now + 10)
    read()
print(time.process_time() - began)
"""


def plain(network: str, decisions: int, seed: int) -> float:
    """CPU seconds of the decisions in a plain loop."""
    net, routes = files(network)
    arguments = [str(net), str(routes), str(NETWORKS[network].begin), str(decisions), str(seed)]
    told = subprocess.run(
        [sys.executable, "-c", PLAIN, *arguments], check=True, capture_output=True, text=True
    )
    return float(told.stdout.split()[-1])


class Played:
    """The adapter's side: `rows` simulations in lockstep."""

    def __init__(self, network: str, decisions: int, rows: int) -> None:
        begin = NETWORKS[network].begin
        parameters = SignalsParameters(network=network, end=begin + 10 * (decisions + 1))
        self.rows, self.decisions, self.phases = rows, decisions, _PHASES[network]
        self.environment = Signals(parameters, rows, torch.device("cpu"))

    def seconds(self) -> tuple[float, float, float, int]:
        """CPU seconds of a simulation's process and of this one, wall seconds, the seed of row 0."""
        environment = self.environment
        environment.reset(torch.arange(self.rows) + 3)
        seed = int(environment._shared["seed"][0])
        copies = [psutil.Process(process).children()[0] for process in environment.workers.process_ids]
        agents = len(environment.specification.agents)
        actions = [torch.full((self.rows, agents), phase) for phase in range(self.phases)]

        def spent() -> float:
            return sum(sum(copy.cpu_times()[:2]) for copy in copies) / len(copies)

        before, here, wall = spent(), time.process_time(), time.perf_counter()
        for decision in range(self.decisions):
            environment.step(actions[(decision + 1) % self.phases])
        return spent() - before, time.process_time() - here, time.perf_counter() - wall, seed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", default="grid4x4", choices=_PHASES)
    parser.add_argument("--decisions", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    one, two = (Played(given.network, given.decisions, rows) for rows in (1, 2))
    ours, job, single, double, bare = [], [], [], [], []
    try:
        for _ in range(given.repeats):
            cpu, here, wall, seed = one.seconds()
            ours.append(cpu)
            job.append(here)
            single.append(given.decisions / wall)
            bare.append(plain(given.network, given.decisions, seed))
            double.append(2 * given.decisions / two.seconds()[2])
    finally:
        one.environment.close()
        two.environment.close()
    print(
        json.dumps(
            {
                "network": given.network,
                "decisions": given.decisions,
                "adapter_cpu_seconds": min(ours),
                "plain_cpu_seconds": min(bare),
                "slower": min(ours) / min(bare) - 1,
                "job_cpu_ms_a_decision": 1e3 * min(job) / given.decisions,
                "slower_with_job": (min(ours) + min(job)) / min(bare) - 1,
                "steps_per_second_of_one": max(single),
                "steps_per_second_of_two": max(double),
                "two_to_one": max(double) / max(single),
                "load": os.getloadavg()[0],
            }
        )
    )


if __name__ == "__main__":
    main()
