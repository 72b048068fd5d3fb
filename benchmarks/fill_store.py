"""Fills a store with the finished cells of `suites/matrix.yaml`: `python fill_store.py DIRECTORY SEEDS`.

The jobs are run by the store's own code in this process, one after the other, with disks left to flush when they
like: what is timed later is reading it.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stderr
from pathlib import Path
from unittest import mock

import torch

from marlbench.catalog.matrix import resolve
from marlbench.store import job as jobs
from marlbench.store.execution import prepare_torch
from marlbench.store.job_training import Settings
from marlbench.store.process import Guard
from marlbench.store.store import Store
from marlbench.training.trainer import Trainer

SUITE = str(Path(__file__).parent / "suites" / "matrix.yaml")


def fill(directory: Path, seeds: int) -> None:
    prepare_torch(torch.device("cpu"), threads=1)
    store = Store.open(directory, create=True)
    cells = resolve([SUITE], seeds=tuple(range(seeds))).cells
    for job in store.claim(cells, slots=1, seeds_per_job=seeds):
        code = jobs.run(store, job.id, list(job.cells), Trainer, Settings(), Guard(), lambda text: None)
        if code != 0:
            raise SystemExit(f"job {job.id} ended with {code}")


if __name__ == "__main__":
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere), mock.patch.object(os, "fsync"):
        fill(Path(sys.argv[1]), int(sys.argv[2]))
