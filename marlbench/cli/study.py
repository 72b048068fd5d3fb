"""`marlbench study`: train what is missing of a study, and give a verdict on each of its claims."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    TaskGlobs,
    as_words,
    select,
)
from marlbench.cli.training_options import Device, DryRun, How, Jobs, SeedsPerJob

if TYPE_CHECKING:
    from marlbench.analysis.studies.findings import Findings
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.store import Store

StudyName = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of a study or path of its file.", show_default=False)
]
NoRun = Annotated[bool, typer.Option("--no-run", help="Train nothing; judge what is there.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Write page, document and figure there. Default: reports/ in the store."
    ),
]


def command(
    name: StudyName,
    task: TaskGlobs = None,
    algorithm: AlgorithmNames = None,
    seeds: Seeds = None,
    steps: Steps = None,
    preset: PresetName = None,
    device: Device = "auto",
    jobs: Jobs = None,
    seeds_per_job: SeedsPerJob = None,
    set_: Overrides = None,
    results: Results = None,
    out: Out = None,
    engine: EngineName = LOCAL,
    profile: ProfileName = None,
    detach: Detach = False,
    per_gpu: PerGpu = 1,
    memory_limit: MemoryLimit = None,
    time_limit: TimeLimit = None,
    hang_after: HangAfter = None,
    no_run: NoRun = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Run a study of the literature's claims: train what is missing, then give a verdict on every claim.

    The cells are those of `marlbench run` on the same file; give the same command again after any interruption.
    """
    from marlbench.errors import UsageError
    from marlbench.store.store import Store

    matrix = select(
        [name],
        tasks=task,
        algorithms=algorithm,
        seeds=seeds,
        steps=steps,
        preset=preset,
        overrides=set_,
    )
    if matrix.suites[0].suite.study is None:
        raise UsageError(
            f"the suite '{matrix.suites[0].name}' has no block `study`.",
            "`marlbench list studies` lists studies.",
        )
    options = as_words(
        tasks=task, algorithms=algorithm, seeds=seeds, steps=steps, preset=preset, overrides=set_
    )

    def judged(store: Store, matrix: Matrix) -> Ending:
        return Judged(store, matrix, name, options, out, as_json)

    choice = EngineChoice(engine, profile, detach, per_gpu, memory_limit, time_limit, hang_after)
    how = How(device, jobs, results, choice, seeds_per_job)
    if dry_run:
        show_dry(matrix, how, as_json)
    elif no_run:
        ending = judged(Store.open(how.root), matrix)
        ending.keep(fresh=False)
        ending.show({}, stopped=False)
    else:
        raise typer.Exit(carry_out(matrix, how, judged))


@dataclass(frozen=True)
class Judged:
    """The verdicts of a study: its files, and the table.

    Attributes:
        name, options: the study by name or path, and the options that select cells.
        out: where the files go; None for the store's reports.
    """

    store: Store
    matrix: Matrix
    name: str
    options: list[str]
    out: Path | None
    as_json: bool

    @cached_property
    def findings(self) -> Findings:
        from marlbench.analysis.studies.findings import find_out

        return find_out(self.store, self.matrix, shlex.join(["marlbench", "study", self.name, *self.options]))

    def keep(self, fresh: bool) -> None:
        from marlbench.analysis.studies.writing import write
        from marlbench.cli.console import talk
        from marlbench.cli.report import keep_finished
        from marlbench.store import kept_reports

        folder = self.out
        if folder is None:
            self.store.require_writable()
            of_matrix = kept_reports.folder(self.store.root, self.matrix.suites[0].name, self.matrix.id)
            folder = of_matrix / kept_reports.STUDY
        for path in write(self.findings, folder):
            talk().print(f"Wrote {path}.", markup=False)
        if fresh:
            keep_finished(self.store, self.matrix, [self.name], self.options, fresh=True)

    def show(self, outcome: Mapping[str, object], stopped: bool) -> None:
        from marlbench.analysis.studies.texts import document, render
        from marlbench.cli.console import data, print_json

        if stopped:
            return
        if self.as_json:
            print_json(document(self.findings))
        else:
            render(self.findings, data())
