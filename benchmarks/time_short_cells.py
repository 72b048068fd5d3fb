"""Prints what cells of about a second cost besides their training: `python time_short_cells.py [FEW MANY]`.

Runs FEW and then MANY cells, each a job of its own, in CPU seconds of every process that `marlbench run` starts. The
difference is the cost of a cell, what is left is the cost of the command; both are set against the bare training loop
of the same cells in this process, without a store.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SUITE = """\
schema: 1
suite: short
title: Cells of about a second
rows: 8
seeds: 1000
steps: 4000
protocol: {kind: episodic, policy: greedy, evaluations: 2, episodes: 8, absolute_episodes: 8}
algorithms:
  ippo: {hyperparameters: {rollout_length: 64}}
tasks:
  spread:
    environment: simple_spread
    score: {metric: return_mean, low: -40.0, high: -10.0, source: the benchmark}
"""
CELLS = 1000


def bare(folder: Path, seeds: int) -> float:
    """CPU seconds of the training loop of one cell, the mean over seeds after one that warms up."""
    import torch

    from marlbench.catalog.matrix import resolve
    from marlbench.store.execution import prepare_torch
    from marlbench.training.trainer import Trainer

    prepare_torch(torch.device("cpu"), 1)
    cells = resolve([str(folder / "short.yaml")], seeds=tuple(range(seeds + 1))).cells
    times = []
    for cell in cells:
        began = time.process_time()
        trainer = Trainer([cell], folder / "bare", torch.device("cpu"))
        while not trainer.finished:
            trainer.advance()
        trainer.outcome(0)
        trainer.close()
        times.append(time.process_time() - began)
    return sum(times[1:]) / seeds


def run(folder: Path, seeds: int) -> float:
    """CPU seconds of a run of so many cells in a store of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        sys.executable,
        "-m",
        "marlbench",
        "run",
        "short.yaml",
        "--seeds",
        str(seeds),
        "--device",
        "cpu",
    ]
    command += ["--seeds-per-job", "1", "--jobs", "2", "--json", "--results", f"store-{seeds}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("M")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["done"] == seeds
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    few, many = (int(word) for word in sys.argv[1:3]) if len(sys.argv) > 2 else (5, 25)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "short.yaml").write_text(SUITE)
        loop = bare(folder, 5)
        small, large = run(folder, few), run(folder, many)
    cell = (large - small) / (many - few)
    command = small - few * cell
    figures = {
        "bare_seconds": loop,
        "cell_seconds": cell,
        "command_seconds": command,
        "ratio": (command + CELLS * cell) / (CELLS * loop),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
