"""Memory of QMIX on a task of the size of SMAC's zerg_10_vs_11: 10 agents with 170 features, a state of 306, 17 actions
with masks, 1,000,000 joint steps (5,000 episodes of 200), one seed, one row.

The replay is filled with made-up numbers in [-1, 1], half of them zero; then recurrent updates are made from all over
it. Prints one JSON: bytes of the files, the process's peak resident memory, seconds of appends and updates.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch

from marlbench.algorithms.base import Setting
from marlbench.algorithms.qmix import QMIX, QMIXHyperparameters
from marlbench.environments.contract import Discrete, EnvironmentSpecification, Step
from marlbench.store.execution import prepare_torch

AGENTS, FEATURES, STATE, ACTIONS, EPISODE = 10, 170, 306, 17, 200
DIFFERENT = 64


def steps() -> list[Step]:
    """Steps with content of their own, the last one at the end of an episode."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for number in range(DIFFERENT):
        last = number == DIFFERENT - 1

        def numbers(*shape: int) -> torch.Tensor:
            drawn = 2.0 * torch.rand(shape, generator=generator) - 1.0
            return drawn * (torch.rand(shape, generator=generator) < 0.5)

        observation, state = numbers(1, AGENTS, FEATURES), numbers(1, STATE)
        available = torch.rand(1, AGENTS, ACTIONS, generator=generator) < 0.5
        available[..., 0] = True
        nobody = torch.zeros(1, AGENTS, dtype=torch.bool)
        made.append(
            Step(
                observation=observation,
                state=state,
                available_actions=available,
                acting=~nobody,
                new_occupant=nobody,
                reward=torch.rand(1, 1, generator=generator).expand(1, AGENTS),
                terminated=nobody,
                truncated=~nobody if last else nobody,
                ended=torch.tensor([last]),
                any_ended=last,
                final_observation=observation,
                final_state=state,
                final_available_actions=available,
            )
        )
    return made


def peak() -> int:
    """Bytes that the process has had resident, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000, help="joint steps")
    parser.add_argument("--dtype", default="int8", help="replay_dtype of the method")
    parser.add_argument("--updates", type=int, default=20)
    arguments = parser.parse_args()
    prepare_torch(torch.device("cpu"), threads=1)
    specification = EnvironmentSpecification(
        agents=tuple(f"agent_{number}" for number in range(AGENTS)),
        observation_size=FEATURES,
        state_size=STATE,
        action=Discrete(ACTIONS),
        episode_limit=EPISODE,
        masks_actions=True,
    )
    options = QMIXHyperparameters.model_validate(
        {
            "replay_dtype": arguments.dtype,
            "replay_steps": arguments.steps,
            "hidden": (64,),
            "recurrent_units": 64,
            "sequence_length": 50,
            "batch": 32,
            "learning_starts": 0,
        }
    )
    told = QMIX.estimate_memory(specification, options, rows=1, seeds=1)
    with tempfile.TemporaryDirectory() as folder:
        before = peak()
        method = QMIX(
            Setting(specification, (0,), 1, arguments.steps, torch.device("cpu"), Path(folder)), options
        )
        shown, memory = steps(), torch.zeros(1, AGENTS, 64)
        action = torch.zeros(1, AGENTS, dtype=torch.int64)
        start = time.process_time()
        for number in range(arguments.steps):
            # Episodes of 200 steps out of the steps there are.
            following = shown[-1] if number % EPISODE == EPISODE - 1 else shown[number % (DIFFERENT - 1)]
            method.experience.add(shown[number % (DIFFERENT - 1)], memory, action, following)
            if method.must_checkpoint:
                method.checkpoint_begins()
                method.checkpoint_done()
        appended = time.process_time() - start
        filled = peak()
        start = time.process_time()
        for _ in range(arguments.updates):
            method.update()
        updated = time.process_time() - start
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    measured = {
        "joint_steps": arguments.steps,
        "disk_bytes": size,
        "estimated_disk_bytes": told.disk,
        "resident_before_bytes": before,
        "resident_filled_bytes": filled,
        "resident_peak_bytes": peak(),
        "microseconds_per_append": 1e6 * appended / arguments.steps,
        "seconds_per_update": updated / max(1, arguments.updates),
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
