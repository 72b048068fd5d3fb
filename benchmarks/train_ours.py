"""Times a `Trainer`: acting, stepping and learning of some rollouts, after others that are not counted.

Prints one JSON. Evaluations lie at the end of training, and the run is left before it gets there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import psutil
import torch

from marlbench.catalog.matrix import resolve
from marlbench.catalog.selection import parse_overrides
from marlbench.store.execution import prepare_torch
from marlbench.training.trainer import Trainer

SUITE = str(Path(__file__).parent / "suites" / "speed.yaml")
# More than any run here reaches, so that the end of training is never timed.
STEPS = 10_000_000


def cpu_seconds() -> float:
    """Of this process and of the workers it has now, user and system."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="native", help="of suites/speed.yaml")
    parser.add_argument("--method", default="ippo", help="entry of suites/speed.yaml")
    parser.add_argument("--warm-up", type=int, default=1, help="rollouts that are not timed")
    parser.add_argument("--seeds", type=int, default=1, help="trained together in one job")
    parser.add_argument("--rollouts", type=int, default=20, help="timed rollouts")
    parser.add_argument("--length", type=int, default=128, help="joint steps of a rollout")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    prepare_torch(device, threads=1)
    matrix = resolve(
        [SUITE],
        tasks=[arguments.task],
        algorithms=[arguments.method],
        seeds=tuple(range(arguments.seeds)),
        steps=STEPS,
        overrides=parse_overrides(["protocol.evaluations=1"]),
    )

    def rollout(trainer: Trainer) -> None:
        for _ in range(arguments.length):
            trainer.advance()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(matrix.cells, Path(folder), device)
        try:
            for _ in range(arguments.warm_up):
                rollout(trainer)
            before, begun = trainer.steps, cpu_seconds()
            start = time.perf_counter()
            for _ in range(arguments.rollouts):
                rollout(trainer)
            wall, cpu = time.perf_counter() - start, cpu_seconds() - begun
            steps = (trainer.steps - before) * arguments.seeds
        finally:
            trainer.close()
    print(json.dumps({"steps": steps, "wall_seconds": wall, "cpu_seconds": cpu}))


if __name__ == "__main__":
    main()
