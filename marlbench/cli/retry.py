"""`marlbench retry --failed`: run again what failed in a store, whatever command it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from marlbench.cli.carrying_out import carry_out, show_dry
from marlbench.cli.engine_options import (
    LOCAL,
    Detach,
    EngineChoice,
    EngineName,
    HangAfter,
    MemoryLimit,
    PerGpu,
    ProfileName,
    TimeLimit,
)
from marlbench.cli.options import Json, Results
from marlbench.cli.selecting import Names
from marlbench.cli.training_options import Device, DryRun, How, Jobs

if TYPE_CHECKING:
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.store import Store

Failed = Annotated[bool, typer.Option("--failed", help="Cells that failed or are damaged.")]


def command(
    names: Names = None,
    failed: Failed = False,
    device: Device = "auto",
    jobs: Jobs = None,
    results: Results = None,
    engine: EngineName = LOCAL,
    profile: ProfileName = None,
    detach: Detach = False,
    per_gpu: PerGpu = 1,
    memory_limit: MemoryLimit = None,
    time_limit: TimeLimit = None,
    hang_after: HangAfter = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Run failed cells of the store again, as they were planned then. Suite files are not read."""
    from marlbench.catalog.matrix import of_cells
    from marlbench.cli.console import data, print_json
    from marlbench.cli.policy_options import open_store
    from marlbench.cli.selecting import chosen
    from marlbench.errors import UsageError
    from marlbench.store.states import State

    if not failed:
        raise UsageError(
            "nothing is named that could be tried again.", "`marlbench retry --failed --dry-run`"
        )
    store = open_store(results)
    entries = chosen(store, names or ())
    states = store.states(entry.id for entry in entries)
    wanted = [entry.cell for entry in entries if states[entry.id].state in (State.FAILED, State.DAMAGED)]
    if not wanted:
        if as_json:
            print_json({"schema": 1, "cells": 0})
        else:
            data().print(f"No cell of {store.root} has failed.", markup=False)
        return
    matrix = of_cells(wanted)
    choice = EngineChoice(engine, profile, detach, per_gpu, memory_limit, time_limit, hang_after)
    how = How(device, jobs, store.root, choice)
    if dry_run:
        show_dry(matrix, how, as_json)
        return

    def counted(store: Store, matrix: Matrix) -> Counted:
        return Counted(as_json)

    raise typer.Exit(carry_out(matrix, how, counted))


@dataclass(frozen=True)
class Counted:
    """What became of the cells, in numbers: they need not be those of any one suite."""

    as_json: bool

    def keep(self, fresh: bool) -> None:
        """Nothing stays in the store besides the results."""

    def show(self, outcome: Mapping[str, object], stopped: bool) -> None:
        from marlbench.cli.console import data, print_json

        if self.as_json:
            print_json(dict(outcome))
        elif not stopped:
            data().print(f"{outcome['done']} of {outcome['cells']} cells are done now.", markup=False)
