"""`marlbench regress`: has a change made anything worse?"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marlbench.cli.fresh import Jobs, OwnResults
from marlbench.cli.options import Json
from marlbench.errors import CELLS_FAILED, REGRESSION

if TYPE_CHECKING:
    from marlbench.analysis.reference import Reference
    from marlbench.analysis.regression import Verdict
    from marlbench.catalog.matrix import CellGroup
    from marlbench.store.store import Store

# GitHub shows what is appended to this file on the page of the job.
_SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"


def command(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REFERENCE",
            help="Name of a reference (results/reference/NAME.json) or path of its file.",
            show_default=False,
        ),
    ],
    results: OwnResults = None,
    jobs: Jobs = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite", metavar="SUITE", help="The suite, where it is not found as when it was measured."
        ),
    ] = None,
    no_run: Annotated[
        bool, typer.Option("--no-run", help="Judge the runs that the store has; make none. Needs --results.")
    ] = False,
    summary: Annotated[
        Path | None,
        typer.Option("--summary", metavar="FILE.md", help="Also write the verdict as Markdown."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make fresh runs and compare them with a reference: scores, and throughput per calibration loop.

    Exit code 5 where a regression was found, 4 where runs are missing, 3 where what runs is not what the reference
    measured, 2 where nothing was measured.
    """
    from marlbench.analysis.reference import find, read
    from marlbench.analysis.regression import groups_by_entry
    from marlbench.cli.fresh import own_store, stop_where_interrupted, tell_failures, train
    from marlbench.cli.options import select
    from marlbench.errors import UsageError

    if no_run and results is None:
        raise UsageError("--no-run judges the runs of a store.", "Name it with --results.")
    known = read(find(reference))
    chosen = known.selection
    matrix = select(
        [suite or chosen.suite],
        tasks=chosen.tasks,
        algorithms=chosen.algorithms,
        steps=chosen.steps,
        preset=chosen.preset,
        overrides=chosen.overrides,
    )
    groups = _wanted(known, groups_by_entry(known, matrix))
    matrix = replace(matrix, groups=tuple(groups.values()))
    with own_store(results, matrix) as store:
        if not no_run:
            report = train(store, matrix, jobs)
            stop_where_interrupted(report)
            tell_failures(report, matrix, store)
        verdict = _judge(known, groups, store)
        _tell(verdict, summary, as_json)
        code = REGRESSION if verdict.worse else CELLS_FAILED if verdict.incomplete else 0
        if code:
            raise typer.Exit(code)


def _wanted(reference: Reference, groups: dict[str, CellGroup]) -> dict[str, CellGroup]:
    """The groups with the seeds of the fresh runs.

    They are the first seeds of the reference: unchanged code then makes runs that the reference has, and what does
    change makes them as good as independent.
    """
    return {
        entry.name: replace(
            groups[entry.name], cells=groups[entry.name].cell.with_seeds(entry.seeds[: entry.fresh])
        )
        for entry in reference.entries
    }


def _judge(reference: Reference, groups: dict[str, CellGroup], store: Store) -> Verdict:
    from marlbench.analysis.measurements import measurements
    from marlbench.analysis.regression import judge

    fresh = {name: measurements(store, group.cells) for name, group in groups.items()}
    versions = {run.calibration for runs in fresh.values() for run in runs if run.calibration is not None}
    return judge(reference, fresh, max(versions, default=reference.calibration))


def _tell(verdict: Verdict, summary: Path | None, as_json: bool) -> None:
    from marlbench.analysis.regression_tables import markdown, render
    from marlbench.cli.console import data, print_json
    from marlbench.errors import UsageError

    if as_json:
        print_json(verdict.to_json())
    else:
        render(verdict, data())
    page = os.environ.get(_SUMMARY_VARIABLE)
    for path, mode in ((summary, "w"), (Path(page) if page else None, "a")):
        if path is not None:
            try:
                with path.open(mode, encoding="utf-8") as file:
                    file.write(markdown(verdict))
            except OSError as error:
                raise UsageError(f"cannot write {path}: {error.strerror}.") from None
