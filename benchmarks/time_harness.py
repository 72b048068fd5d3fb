"""Prints what marlbench costs besides training: `python time_harness.py short [FEW MANY]` or `long [STEPS]`.

short: runs FEW and then MANY cells of about a second, each a job of its own, in CPU seconds of every process that
`marlbench run` starts. The difference is the cost of a cell, what is left is the cost of the command; both are set
against the bare training loop of the same cells without a store, in two processes at once, as the run has two jobs.

long: trains one cell of STEPS as a job does, and tells what of its CPU seconds is not the training loop: checkpoints,
journals, results and pictures, and the loop's own questions. Both are measured in one process, so that neighbours slow
both alike.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SUITE = """\
schema: 1
suite: timed
title: Cells that are timed
rows: 8
seeds: 1000
steps: {steps}
protocol: {{kind: episodic, policy: greedy, evaluations: {evaluations}, episodes: 8, absolute_episodes: 8}}
algorithms:
  ippo: {{hyperparameters: {{rollout_length: 64}}}}
tasks:
  spread:
    environment: simple_spread
    score: {{metric: return_mean, low: -40.0, high: -10.0, source: the benchmark}}
"""
CELLS = 1000


def bare(folder: Path, seeds: int) -> float:
    """CPU seconds of the training loop of one cell, the mean over seeds."""
    import torch

    from marlbench.catalog.matrix import resolve
    from marlbench.store.execution import prepare_torch
    from marlbench.training.trainer import Trainer

    prepare_torch(torch.device("cpu"), 1)
    cells = resolve([str(folder / "timed.yaml")], seeds=tuple(range(seeds))).cells
    times = []
    for cell in cells:
        began = time.process_time()
        trainer = Trainer([cell], folder / "bare", torch.device("cpu"))
        while not trainer.finished:
            trainer.advance()
        trainer.outcome(0)
        trainer.close()
        times.append(time.process_time() - began)
    return sum(times) / seeds


def bare_twice(folder: Path, seeds: int) -> float:
    """The same in two processes at once: what a core gives depends on what its neighbour does."""
    command = [sys.executable, __file__, "bare", str(folder), str(seeds)]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = [process.communicate()[0] for process in pair]
    assert not any(process.returncode for process in pair)
    return sum(map(float, found)) / 2


def run(folder: Path, seeds: int) -> float:
    """CPU seconds of a run of so many cells in a store of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        sys.executable,
        "-m",
        "marlbench",
        "run",
        "timed.yaml",
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


def short(few: int, many: int) -> dict[str, float]:
    """What a thousand cells of a second cost, for each second of their loops."""
    with _suite(6_400, 2) as folder:
        loop = bare_twice(folder, 5)
        small, large = run(folder, few), run(folder, many)
    cell = (large - small) / (many - few)
    command = small - few * cell
    return {
        "bare_seconds": loop,
        "cell_seconds": cell,
        "command_seconds": command,
        "ratio": (command + CELLS * cell) / (CELLS * loop),
    }


def long(steps: int) -> dict[str, float]:
    """What a job does besides training, as a share of its training; pictures are a part of it."""
    from marlbench.catalog.matrix import resolve
    from marlbench.cli.run_job import make_trainer
    from marlbench.store import job as jobs
    from marlbench.store.job_training import JobTraining, Settings
    from marlbench.store.store import Store
    from marlbench.training.trainer import Trainer

    spent = {"training": 0.0, "job": 0.0, "pictures": 0.0}

    def timed(kind: type, name: str, part: str) -> None:
        plain = getattr(kind, name)

        def measured(*arguments: Any) -> Any:
            began = time.process_time()
            try:
                return plain(*arguments)
            finally:
                spent[part] += time.process_time() - began

        setattr(kind, name, measured)

    timed(Trainer, "__init__", "training")
    timed(Trainer, "advance", "training")
    timed(JobTraining, "run", "job")
    timed(JobTraining, "draw", "pictures")
    with _suite(steps, 10) as folder:
        store = Store.open(folder / "store", create=True)
        (job,) = store.claim(resolve([str(folder / "timed.yaml")], seeds=(0,)).cells, slots=1)
        output = os.dup(1)
        code = jobs.main(folder / "store", job.id, make_trainer, Settings())
        # What a job prints goes into its log.
        os.dup2(output, 1)
        assert code == 0
    besides = spent["job"] + spent["pictures"] - spent["training"]
    return {
        "training_seconds": spent["training"],
        "pictures_share": spent["pictures"] / spent["training"],
        "share": besides / spent["training"],
    }


@contextmanager
def _suite(steps: int, evaluations: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "timed.yaml").write_text(SUITE.format(steps=steps, evaluations=evaluations))
        yield folder


def main() -> None:
    kind, *words = sys.argv[1:]
    if kind == "bare":
        folder, seeds = Path(words[0]), int(words[1])
        bare(folder, 1)  # imports and the like
        print(bare(folder, seeds))
        return
    numbers = [int(word) for word in words]
    print(json.dumps(short(*(numbers or (5, 25))) if kind == "short" else long(*(numbers or (300_000,)))))


if __name__ == "__main__":
    main()
