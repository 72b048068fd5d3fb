"""`marlbench tune`: choose hyperparameters with a stated budget, on seeds that no comparison uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from marlbench.cli.engine_options import (
    LOCAL,
    EngineChoice,
    EngineName,
    HangAfter,
    MemoryLimit,
    PerGpu,
    ProfileName,
    TimeLimit,
)
from marlbench.cli.options import Json, Overrides, PresetName, Results, Steps, TaskGlobs
from marlbench.cli.training_options import Device, How, Jobs

if TYPE_CHECKING:
    from marlbench.store.store import Store
    from marlbench.tuning.search import Search
    from marlbench.tuning.study import Study


def command(
    suite: Annotated[
        str,
        typer.Argument(metavar="SUITE", help="Name of a suite or path of a suite file.", show_default=False),
    ],
    algorithm: Annotated[
        str, typer.Option("--algorithm", metavar="A", help="Its name in the suite.", show_default=False)
    ],
    budget: Annotated[
        int,
        typer.Option(
            "--budget",
            min=1,
            metavar="N",
            help="Trials: so many settings are tried in all.",
            show_default=False,
        ),
    ],
    space: Annotated[
        list[str],
        typer.Option(
            "--space",
            metavar="NAME=VALUES|FILE",
            help="What is searched; may be given several times: learning_rate=log:1e-5..1e-2, epochs=1..10, "
            "'hidden=[[64, 64], [128, 128]]', or a YAML file.",
            show_default=False,
        ),
    ],
    task: TaskGlobs = None,
    seeds_per_trial: Annotated[
        int,
        typer.Option("--seeds-per-trial", min=1, metavar="K", help="Seeds that each trial is trained with."),
    ] = 2,
    steps: Steps = None,
    preset: PresetName = None,
    set_: Overrides = None,
    sampler: Annotated[
        str, typer.Option("--sampler", metavar="tpe|random", help="What proposes the settings.")
    ] = "tpe",
    sampler_seed: Annotated[
        int, typer.Option("--sampler-seed", min=0, metavar="SEED", help="Another seed is another search.")
    ] = 0,
    device: Device = "auto",
    jobs: Jobs = None,
    results: Results = None,
    engine: EngineName = LOCAL,
    profile: ProfileName = None,
    per_gpu: PerGpu = 1,
    memory_limit: MemoryLimit = None,
    time_limit: TimeLimit = None,
    hang_after: HangAfter = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE.yaml", help="Also write the settings to this file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Try settings of an algorithm, and print the best as an entry of a suite file, with what the search cost.

    Trials are ordinary cells of the store. Give the same command again after any interruption, or with a larger
    --budget: the search goes on. Its seeds are those from 10000 on, on which its result cannot be compared.
    """
    from marlbench.catalog.selection import parse_overrides
    from marlbench.cli import words
    from marlbench.cli.console import print_json, talk
    from marlbench.errors import CELLS_FAILED, UsageError, did_you_mean
    from marlbench.store import durable, locks
    from marlbench.store.store import Store
    from marlbench.tuning.search import Search
    from marlbench.tuning.space import read_space
    from marlbench.tuning.study import Sampler, library

    samplers = get_args(Sampler)
    if sampler not in samplers:
        raise UsageError(f"--sampler {sampler}: there is no such sampler.", did_you_mean(sampler, samplers))
    proposer: Any = sampler
    overrides = parse_overrides(set_ or ())
    search = Search(
        suite, algorithm, read_space(space), seeds_per_trial, tuple(task or ()), steps, preset, overrides
    )
    search.check()
    library()
    choice = EngineChoice(engine, profile, False, per_gpu, memory_limit, time_limit, hang_after)
    how = How(device, jobs, results, choice)
    # Before anything is written: it refuses options that contradict each other.
    how.machine()
    store = Store.open(how.root, create=True)
    path = search.study(store.root, proposer, sampler_seed).path
    durable.make_directory(path.parent)
    lock = locks.Lock.take(path.with_suffix(".lock"), patience=1.0)
    if lock is None:
        raise UsageError("this search is under way in another process.", "Wait for it, or end it.")
    try:
        # Read under the lock: the other process may have gone on until it let go of it.
        study = search.study(store.root, proposer, sampler_seed)
        cells, there = len(search.base.cells), sum(not trial.open for trial in study.trials)
        length = f"{search.base.groups[0].cell.steps:,} environment steps"
        talk().print(
            f"{words.plural(budget, 'trial')} of {words.plural(cells, 'run')} of {length}, {there} of them done "
            f"before: {path}",
            markup=False,
        )
        _carry_out(search, study, store, budget, how)
    finally:
        lock.release()
    best = study.best
    if best is None:
        talk().print(f"Every trial failed: {study.trials[-1].failed}", markup=False)
        raise typer.Exit(CELLS_FAILED)
    text = search.entry(study, best)
    durable.write(path.with_suffix(".yaml"), text.encode())
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {output}: {error.strerror}.") from None
    if as_json:
        print_json(search.to_json(study, best))
    else:
        typer.echo(text, nl=False)


def _carry_out(search: Search, study: Study, store: Store, budget: int, how: How) -> None:
    """Train and settle trials until there are `budget`, as many at once as fill the slots."""
    from marlbench.cli import words
    from marlbench.cli.command_lines import invocation
    from marlbench.cli.console import talk
    from marlbench.cli.fresh import stop_where_interrupted, tell_failures
    from marlbench.cli.jobs import Alone, run_jobs
    from marlbench.cli.plan import make_plan
    from marlbench.engines.jobs import Report
    from marlbench.errors import CELLS_FAILED

    machine = how.machine()
    at_once = max(1, machine.slots // len(search.base.cells))
    while trials := study.next(at_once, budget):
        matrix = search.together(trials)
        plan = make_plan(matrix, store, machine)
        report = run_jobs(plan, store, Alone(), engine=how.engine) if plan.jobs else Report()
        stop_where_interrupted(report)
        tell_failures(report, matrix, store)
        failures = {failure.cell: f"{failure.kind}: {failure.reason}" for failure in report.failures}
        for trial in trials:
            if not search.settle(study, trial, store, failures):
                if report.cancelled:
                    continue
                # A metric that is no finite number, though the parameters are.
                study.finish(trial.number, (), "a run has no score")
            settled = study.trials[trial.number]
            told = settled.failed or f"score {words.number(settled.value or 0.0)}"
            settings = ", ".join(f"{name} {value}" for name, value in settled.hyperparameters.items())
            talk().print(f"trial {settled.number}: {told} ({settings})", markup=False)
        if report.cancelled:
            count = words.plural(len(report.cancelled), "run")
            talk().print(f"{count} cancelled. Go on with: {invocation()}", markup=False)
            raise typer.Exit(CELLS_FAILED)
