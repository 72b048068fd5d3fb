"""Traffic signals through the adapter against a plain libsumo loop that takes the same actions and reads the same
values, and two processes against one.

    python benchmarks/time_signals.py [--network grid4x4] [--decisions 120] [--repeats 3]

Prints a JSON line. Adapter and plain loop play the same episode, in turns of four decisions, so that whatever else runs
meets both alike; told are CPU seconds: of the process of the simulation, of the job's own process, of the plain loop.
Then one row, two rows, one plain loop and two at once are timed by the clock, in turns too, which means something on a
quiet machine with two cores only: what two plain loops reach is what the machine has to give. All loops begin in a
process that has simulated nothing yet.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import torch

from marlbench.adapters.sumo.signals.environment import Signals
from marlbench.adapters.sumo.signals.networks import NETWORKS, files
from marlbench.adapters.sumo.signals.parameters import SignalsParameters

# Every agent takes the next of its phases in turn: all loops do the same, with a yellow at every decision.
_PHASES = {"grid4x4": 8, "cologne1": 4, "ingolstadt1": 3}
# Decisions of one side before it is the other's turn.
_TURN = 4

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
phase, decision = 0, -1
print("ready", flush=True)
for turn in sys.stdin:
    began = time.process_time()
    for _ in range(int(turn)):
        decision += 1
        now = begin + 10 * decision
        for name in names:
            light.setRedYellowGreenState(name, pairs[name, phase, (phase + 1) % len(phases[name])])
        libsumo.simulationStep(now + 3)
        phase = (phase + 1) % len(phases[names[0]])
        for name in names:
            light.setRedYellowGreenState(name, phases[name][phase])
        libsumo.simulationStep(now + 10)
        read()
    print(time.process_time() - began, flush=True)
"""


class Plain:
    """A plain loop in a process of its own, which has begun its episode."""

    def __init__(self, network: str, decisions: int, seed: int) -> None:
        net, routes = files(network)
        arguments = [str(net), str(routes), str(NETWORKS[network].begin), str(decisions), str(seed)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", PLAIN, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        told = self._told()
        if told != "ready":
            raise RuntimeError(f"the plain loop did not begin: {told}")

    def _told(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def send(self, decisions: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{decisions}\n")
        self._process.stdin.flush()

    def seconds(self) -> float:
        """CPU seconds of the decisions that were sent last."""
        return float(self._told())

    def close(self) -> None:
        self._process.communicate()


class Played:
    """The adapter's side: `rows` simulations in lockstep."""

    def __init__(self, network: str, decisions: int, rows: int) -> None:
        begin = NETWORKS[network].begin
        parameters = SignalsParameters(network=network, end=begin + 10 * (decisions + 1))
        self.rows, self.phases = rows, _PHASES[network]
        self.environment = Signals(parameters, rows, torch.device("cpu"))
        self._agents = len(self.environment.specification.agents)

    def begin(self) -> int:
        """Begin an episode; the seed of row 0."""
        self.environment.reset(torch.arange(self.rows) + 3)
        self._decision = 0
        self._copies = [
            psutil.Process(process).children()[0].pid for process in self.environment.workers.process_ids
        ]
        return int(self.environment._shared["seed"][0])

    def play(self, decisions: int) -> None:
        for _ in range(decisions):
            self._decision += 1
            phase = self._decision % self.phases
            self.environment.step(torch.full((self.rows, self._agents), phase))

    def spent(self) -> float:
        """CPU seconds of the simulations' processes so far, to the nanosecond."""
        return sum(
            1e-9 * int(Path(f"/proc/{copy}/schedstat").read_text().split()[0]) for copy in self._copies
        )


def in_turns(network: str, one: Played, decisions: int) -> tuple[float, float, float]:
    """CPU seconds of one episode: in the simulation's process, in the job's, in a plain loop's."""
    plain = Plain(network, decisions, one.begin())
    ours = job = bare = 0.0
    for _ in range(decisions // _TURN):
        before, here = one.spent(), time.process_time()
        one.play(_TURN)
        ours, job = ours + one.spent() - before, job + time.process_time() - here
        plain.send(_TURN)
        bare += plain.seconds()
    plain.close()
    return ours, job, bare


def by_the_clock(network: str, one: Played, two: Played, decisions: int) -> tuple[float, float]:
    """How many times the decisions of one row two rows bring in the same time; the same of plain loops."""
    seed = one.begin()
    two.begin()
    plain = [Plain(network, decisions, seed + number) for number in range(3)]
    took = [0.0] * 4
    for _ in range(decisions // _TURN):
        for side, played in enumerate((one, two)):
            began = time.perf_counter()
            played.play(_TURN)
            took[side] += time.perf_counter() - began
        for side, loops in ((2, plain[:1]), (3, plain[1:])):
            began = time.perf_counter()
            for loop in loops:
                loop.send(_TURN)
            for loop in loops:
                loop.seconds()
            took[side] += time.perf_counter() - began
    for loop in plain:
        loop.close()
    return 2 * took[0] / took[1], 2 * took[2] / took[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", default="grid4x4", choices=_PHASES)
    parser.add_argument("--decisions", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    one, two = (Played(given.network, given.decisions, rows) for rows in (1, 2))
    try:
        spent = [in_turns(given.network, one, given.decisions) for _ in range(given.repeats)]
        clock = [by_the_clock(given.network, one, two, given.decisions) for _ in range(given.repeats)]
    finally:
        one.environment.close()
        two.environment.close()
    ours, job, bare = min(spent, key=lambda times: times[2])
    print(
        json.dumps(
            {
                "network": given.network,
                "decisions": given.decisions,
                "adapter_cpu_seconds": ours,
                "job_cpu_seconds": job,
                "plain_cpu_seconds": bare,
                "slower": statistics.median(ours / bare for ours, _, bare in spent) - 1,
                "slower_with_job": statistics.median((ours + job) / bare for ours, job, bare in spent) - 1,
                "two_to_one": max(ours for ours, _ in clock),
                "two_to_one_plain": max(bare for _, bare in clock),
                "load": os.getloadavg()[0],
            }
        )
    )


if __name__ == "__main__":
    main()
