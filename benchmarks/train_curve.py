"""One seed of one task and method, trained in this process for so many CPU-seconds: speed, and the curve so far.

    OMP_NUM_THREADS=1 python benchmarks/train_curve.py smac 2s3z mappo --seed 900 --seconds 35 \
        --set rollout_length=32 --set epochs=5
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from marlbench.catalog.matrix import resolve
from marlbench.catalog.selection import parse_overrides
from marlbench.store.execution import prepare_torch
from marlbench.training.trainer import Trainer


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("suite")
    arguments.add_argument("task")
    arguments.add_argument("algorithm", help="label of an entry of the suite")
    arguments.add_argument("--seed", type=int, default=900)
    arguments.add_argument("--seconds", type=float, default=35.0, help="of processor time")
    arguments.add_argument(
        "--steps", type=int, default=60_000, help="over which schedules and evaluations run"
    )
    arguments.add_argument("--evaluations", type=int, default=6)
    arguments.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    given = arguments.parse_args()
    texts = [f"algorithm.{text}" for text in given.settings] + [f"protocol.evaluations={given.evaluations}"]
    matrix = resolve(
        [given.suite],
        tasks=[given.task],
        algorithms=[given.algorithm],
        seeds=(given.seed,),
        steps=given.steps,
        overrides=parse_overrides(texts),
        tuning=True,
    )
    cpu = torch.device("cpu")
    prepare_torch(cpu, 1)
    metric = matrix.cells[0].score["metric"]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(matrix.cells, Path(folder), cpu)
        began, curve = time.process_time(), []
        while not trainer.finished and time.process_time() - began < given.seconds:
            if trainer.must_checkpoint:
                # Nobody will resume this: a state that was made is as good as one on disk.
                trainer.state_dict()
                trainer.checkpoint_done()
            curve += [
                f"{record.step:,}: {record.values[metric]:.2f} (return {record.values['return_mean']:.1f})"
                for record in trainer.advance()
                if record.kind == "evaluation"
            ]
        spent = time.process_time() - began
        print(f"{trainer.steps:,} steps in {spent:.1f} CPU-s, {trainer.steps / spent:,.0f} a CPU-second")
        print(f"{metric}: " + "; ".join(curve))
        trainer.close()


if __name__ == "__main__":
    main()
