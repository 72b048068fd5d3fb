"""`marlbench run`: train and evaluate what is missing, and show the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from marlbench.cli.carrying_out import Ending, carry_out, show_dry
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
from marlbench.cli.options import (
    AlgorithmNames,
    Json,
    Overrides,
    PresetName,
    Results,
    Seeds,
    Steps,
    SuiteNames,
    TaskGlobs,
    as_words,
    select,
)
from marlbench.cli.training_options import (
    KEEP_STATES,
    Device,
    DryRun,
    Extend,
    How,
    Jobs,
    KeepStates,
    SeedsPerJob,
)

if TYPE_CHECKING:
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.store import Store


def command(
    suites: SuiteNames,
    task: TaskGlobs = None,
    algorithm: AlgorithmNames = None,
    seeds: Seeds = None,
    steps: Steps = None,
    preset: PresetName = None,
    device: Device = "auto",
    jobs: Jobs = None,
    seeds_per_job: SeedsPerJob = None,
    set_: Overrides = None,
    extend: Extend = False,
    keep_states: KeepStates = KEEP_STATES,
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
    """Train and evaluate what is missing of one or more suites, then show the comparison.

    Give the same command again after any interruption: what is done is kept, what was begun goes on.
    """
    matrix = select(
        suites,
        tasks=task,
        algorithms=algorithm,
        seeds=seeds,
        steps=steps,
        preset=preset,
        overrides=set_,
    )
    options = as_words(
        tasks=task, algorithms=algorithm, seeds=seeds, steps=steps, preset=preset, overrides=set_
    )

    def compared(store: Store, matrix: Matrix) -> Ending:
        return Compared(store, matrix, suites, options, as_json)

    choice = EngineChoice(engine, profile, detach, per_gpu, memory_limit, time_limit, hang_after)
    how = How(device, jobs, results, choice, seeds_per_job, extend=extend, keep_states=keep_states)
    if dry_run:
        show_dry(matrix, how, as_json)
    else:
        raise typer.Exit(carry_out(matrix, how, compared))


@dataclass(frozen=True)
class Compared:
    """The comparison of suites: a report of each in the store, and the table.

    Attributes:
        suites, options: the suites by name or path, and the options that select cells.
    """

    store: Store
    matrix: Matrix
    suites: list[str]
    options: list[str]
    as_json: bool

    def keep(self, fresh: bool) -> None:
        from marlbench.cli.report import keep_finished

        keep_finished(self.store, self.matrix, self.suites, self.options, fresh=fresh)

    def show(self, outcome: Mapping[str, object], stopped: bool) -> None:
        from marlbench.analysis.comparison import compare_matrix
        from marlbench.analysis.tables import render
        from marlbench.cli.console import data, print_json

        if self.as_json:
            print_json(dict(outcome))
        elif not stopped:
            render(compare_matrix(self.store, self.matrix), data())
