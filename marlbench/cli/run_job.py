"""`marlbench run-job`: the process that an engine starts for one job of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from marlbench.catalog.cell import Cell
    from marlbench.store.needs import Meter, Trainer


def command(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")],
    results: Annotated[Path, typer.Option("--results", metavar="DIR", help="The store.")],
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:0.")] = "cpu",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of one operation.")] = 1,
    engine: Annotated[str, typer.Option("--engine", help="Who started it, for the record.")] = "local",
    checkpoint_seconds: Annotated[
        float, typer.Option("--checkpoint-seconds", min=0, help="The least time between two checkpoints.")
    ] = 5.0,
    keep_states: Annotated[
        int, typer.Option("--keep-states", min=0, help="MiB of the largest final state that is kept.")
    ] = 256,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Record what the training costs in calibration loops.")
    ] = False,
) -> None:
    """Train what is not done of one job, and leave with a code that says how it ended.

    0 done, 75 run by another process, 143 and 130 stopped by a signal, 10 exception, 11 out of memory, 12
    disk full.
    """
    from marlbench.store import job as jobs
    from marlbench.store.job_training import Settings
    from marlbench.store.process import leave

    settings = Settings(
        device, threads, engine, checkpoint_seconds, keep_states << 20, make_meter if calibrate else None
    )
    leave(jobs.main(results, job, make_trainer, settings))


def make_trainer(cells: Sequence[Cell], directory: Path, device: torch.device) -> Trainer:
    """The trainer of a job. Imported here, so that the log and the attempt's record say why it does not
    import."""
    from marlbench.training.trainer import Trainer

    trainer: Any = Trainer(cells, directory, device)
    return trainer


def make_meter() -> Meter:
    """What measures the cost of a job in calibration loops; imported late, as the trainer is."""
    from marlbench.store.execution import cpu_seconds
    from marlbench.training import calibration

    return calibration.Meter(cpu_seconds)
