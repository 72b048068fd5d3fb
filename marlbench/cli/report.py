"""`marlbench report`: the comparison of a suite as one page with figures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marlbench.cli.command_lines import again, command_line
from marlbench.cli.options import (
    AlgorithmNames,
    Overrides,
    PresetName,
    Results,
    Seeds,
    Steps,
    TaskGlobs,
    as_words,
    select,
)
from marlbench.errors import MarlbenchError, UsageError

if TYPE_CHECKING:
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.store import Store

SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="Name of a suite or path of a suite file.", show_default=False)
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        "--against", metavar="NAME", help="Set published numbers beside ours, by name or file; never pooled."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="DIR|FILE.html",
        help="A directory for page and figures, or a file for the page alone. Default: reports/ in the store, "
        "from where it goes to MLflow.",
    ),
]


def command(
    suite: SuiteName,
    task: TaskGlobs = None,
    algorithm: AlgorithmNames = None,
    seeds: Seeds = None,
    steps: Steps = None,
    preset: PresetName = None,
    set_: Overrides = None,
    results: Results = None,
    against: Against = None,
    output: Output = None,
) -> None:
    """Write the comparison of the cells that are done as one HTML page, and its figures as PNG and PDF.

    The page needs no network and no other file. The options select cells as those of `marlbench run` do.
    """
    from marlbench.analysis.report.provenance import Asked
    from marlbench.analysis.report.writing import keep, write_folder, write_page
    from marlbench.store.extensions import stand_ins
    from marlbench.store.states import State
    from marlbench.store.store import Store

    selection = {
        "tasks": task,
        "algorithms": algorithm,
        "seeds": seeds,
        "steps": steps,
        "preset": preset,
        "overrides": set_,
    }
    matrix = select([suite], **selection)  # type: ignore[arg-type]
    options = as_words(**selection)  # type: ignore[arg-type]
    asked = Asked(suite, tuple(options), tuple(against or ()))
    single = output is not None and output.suffix.lower() in (".html", ".htm")
    if output is not None and not single and output.is_file():
        raise UsageError(f"--output {output} is a file.", "Name a directory, or a file that ends in .html.")
    store = Store.open(Store.locate(results))
    # As in every comparison, what went on from a shorter training stands for cells that are missing.
    matrix = stand_ins(store, matrix).matrix
    states = store.states(cell.id for cell in matrix.cells)
    if not any(state.state is State.DONE for state in states.values()):
        words = ["run", suite, *options, *(["--results", str(results)] if results else [])]
        raise UsageError(
            "no cell of this selection has a result yet.", f"To get them: {command_line(*words)}"
        )
    if output is None:
        print(keep(store, matrix, asked, figures=True), flush=True)
        _send(store)
    elif single:
        write_page(output, store, matrix, asked)
        print(output)
    else:
        print(write_folder(output, store, matrix, asked))


def keep_finished(
    store: Store, matrix: Matrix, suites: Sequence[str], options: Sequence[str], fresh: bool
) -> None:
    """After a run: the report of every suite whose cells are all done, the page alone.

    A preset with a label ("not a comparison") has none. Figures are written where an earlier report has them.

    Args:
        suites: names or paths by which the suites of the matrix were asked for, in their order.
        options: those that select cells.
        fresh: whether results came that an earlier report lacks.
    """
    from dataclasses import replace

    from marlbench.analysis.report.provenance import Asked
    from marlbench.analysis.report.writing import keep
    from marlbench.store import kept_reports
    from marlbench.store.states import State

    states = store.states(cell.id for cell in matrix.cells)
    for name, loaded in zip(dict.fromkeys(suites), matrix.suites, strict=True):
        groups = tuple(group for group in matrix.groups if group.suite is loaded)
        of_suite = replace(matrix, suites=(loaded,), groups=groups)
        if not groups or loaded.name in matrix.labels:
            continue
        if any(states[cell.id].state is not State.DONE for cell in of_suite.cells):
            continue
        place = kept_reports.folder(store.root, loaded.name, of_suite.id)
        if fresh or kept_reports.read(place) is None:
            path = keep(
                store, of_suite, Asked(name, tuple(options)), figures=(place / kept_reports.FIGURES).exists()
            )
            _say(f"{path}")


def _send(store: Store) -> None:
    """To MLflow; where a `marlbench run` goes on, that does it."""
    from marlbench.tracking import sync

    try:
        sync.once(store.root, _say, patience=0.0)
    except MarlbenchError as error:
        _say(f"note: MLflow does not show it yet: {error} `{again('sync', store.root)}` catches up.")


def _say(line: str) -> None:
    sys.stderr.write(f"report: {line}\n")
    sys.stderr.flush()
