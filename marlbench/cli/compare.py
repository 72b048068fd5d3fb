"""`marlbench compare`: the table of a suite, of results of other programs, or of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marlbench.cli.command_lines import command_line
from marlbench.cli.options import (
    AlgorithmNames,
    Json,
    Overrides,
    PresetName,
    Results,
    Seeds,
    Steps,
    TaskGlobs,
    select,
)

if TYPE_CHECKING:
    from marlbench.analysis.comparison import Comparison
    from marlbench.analysis.foreign import ForeignResults
    from marlbench.analysis.statistics import AggregateName
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.store import Store

FORMATS = {
    "table": (),
    "markdown": (".md", ".markdown"),
    "latex": (".tex",),
    "csv": (".csv",),
    "json": (".json",),
    "marl-eval": (),
}

SuiteName = Annotated[
    str | None,
    typer.Argument(metavar="[SUITE]", help="Name of a suite or path of a suite file.", show_default=False),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="|".join(FORMATS), help="Default: table, or what the suffix of --output says."
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="Write there instead of printing.")
]
AggregateOption = Annotated[
    str,
    typer.Option(
        "--aggregate",
        metavar="iqm|median|mean|optimality_gap|all",
        help="The aggregate to show; `all` shows all four over tasks, and of single tasks the iqm.",
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        metavar="NAME",
        help="Set published numbers beside ours, by name or file; shown, never pooled. May be given several times.",
    ),
]
Foreign = Annotated[
    list[str] | None,
    typer.Option(
        "--foreign",
        metavar="FILE[:FORMAT]",
        help="Results of another program: marl-eval (JSON), rliable (arrays, .npz or .json), csv. "
        "May be given several times.",
    ),
]
Bounds = Annotated[
    list[str] | None,
    typer.Option(
        "--bounds",
        metavar="[TASK=]LOW:HIGH",
        help="Foreign values that score 0 and 1, where neither the suite nor the file says so.",
    ),
]
Metric = Annotated[
    str | None,
    typer.Option("--metric", metavar="NAME", help="The metric of foreign results that have several."),
]
Curves = Annotated[
    Path | None,
    typer.Option(
        "--curves", metavar="FILE.csv", help="Also write learning curves: of every run, and their aggregate."
    ),
]


@dataclass(frozen=True)
class _Wanted:
    """How the comparison is to be shown."""

    format: str
    output: Path | None
    shown: tuple[AggregateName, ...]


def command(
    suite: SuiteName = None,
    task: TaskGlobs = None,
    algorithm: AlgorithmNames = None,
    seeds: Seeds = None,
    steps: Steps = None,
    preset: PresetName = None,
    set_: Overrides = None,
    results: Results = None,
    as_json: Json = False,
    format_: Format = None,
    output: Output = None,
    aggregate: AggregateOption = "iqm",
    against: Against = None,
    foreign: Foreign = None,
    bounds: Bounds = None,
    metric: Metric = None,
    curves: Curves = None,
) -> None:
    """Compare algorithms on the cells that are done: estimates with 95 % bootstrap intervals, and what they cost.

    The options select cells as those of `marlbench run` do. `*` marks the best value, `~` those that are not
    significantly different from it.
    """
    from marlbench.errors import UsageError

    wanted = _wanted(format_, output, as_json, aggregate)
    if suite is None:
        if not foreign:
            raise UsageError(
                "name a suite, or files with --foreign.", "`marlbench list suites` lists the suites."
            )
        _compare_files(foreign, bounds or [], metric, against or [], curves, wanted)
        return
    if bounds and not foreign:
        raise UsageError("--bounds is for --foreign results; a suite has bounds of its own.")

    def resolve(name: str | None) -> Matrix:
        return select(
            [suite],
            tasks=task,
            algorithms=algorithm,
            seeds=seeds,
            steps=steps,
            preset=name,
            overrides=set_,
        )

    from dataclasses import replace

    from marlbench.analysis.comparison import compare_matrix
    from marlbench.analysis.notes import other_revisions
    from marlbench.analysis.published import load
    from marlbench.cli.console import talk
    from marlbench.store.store import Store

    matrix = resolve(preset)
    published = [load(name) for name in against or ()]
    read = _foreign(matrix, foreign, bounds or [], metric) if foreign else None
    store = Store.open(Store.locate(results))
    comparison = compare_matrix(store, matrix, shown=wanted.shown, foreign=read, published=published)[0]
    if comparison.done < comparison.expected:
        found = other_revisions(store, matrix.groups)
        comparison = replace(comparison, notes=(*comparison.notes, *found))
    _show(comparison, wanted, store, matrix, read)
    if curves is not None:
        _write_curves(curves, comparison, store, matrix, read)
    if comparison.done == comparison.expected:
        return
    options = {"--task": task, "--algorithm": algorithm, "--seeds": seeds, "--steps": steps, "--set": set_}

    def line(verb: str, name: str | None) -> str:
        words = [verb, suite]
        for option, value in {**options, "--preset": name, "--results": results}.items():
            for one in value if isinstance(value, list) else [value]:
                words += [] if one is None else [option, str(one)]
        return command_line(*words)

    console = talk()
    rest = "The rest" if comparison.done else "To get them"
    console.print(f"{rest}: {line('run', preset)}", markup=False)
    if not comparison.done:
        for name, done, expected in _elsewhere(store, matrix, resolve):
            told = f"{done} of {expected} cells of the preset {name} are done"
            console.print(f"{told}: {line('compare', name)}", markup=False)


def _wanted(format_: str | None, output: Path | None, as_json: bool, aggregate: str) -> _Wanted:
    from marlbench.analysis.statistics import AGGREGATES
    from marlbench.errors import UsageError, did_you_mean

    if format_ is not None and format_ not in FORMATS:
        raise UsageError(f"--format {format_}: there is no such format.", did_you_mean(format_, FORMATS))
    if as_json and format_ not in (None, "json"):
        raise UsageError(f"--json and --format {format_} contradict each other.")
    told = None if output is None else output.suffix.lower()
    by_suffix = [name for name, suffixes in FORMATS.items() if told in suffixes]
    chosen = format_ or ("json" if as_json else None) or (by_suffix[0] if by_suffix else "table")
    names: dict[str, tuple[AggregateName, ...]] = {
        "all": AGGREGATES,
        **{name: (name,) for name in AGGREGATES},
    }
    if aggregate not in names:
        raise UsageError(
            f"--aggregate {aggregate}: there is no such aggregate.", did_you_mean(aggregate, names)
        )
    return _Wanted(chosen, output, names[aggregate])


def _foreign(matrix: Matrix, files: list[str], bounds: list[str], metric: str | None) -> ForeignResults:
    from marlbench.analysis.foreign import Scale, gather, parse_bounds

    scores = {group.cell.task: group.cell.score for group in matrix.groups}
    scales = {name: Scale(float(of["low"]), float(of["high"]), of["metric"]) for name, of in scores.items()}
    suite = matrix.suites[0].name
    return gather(files, suite=suite, tasks=scales, bounds=parse_bounds(bounds), metric=metric)


def _compare_files(
    files: list[str],
    bounds: list[str],
    metric: str | None,
    against: list[str],
    curves: Path | None,
    wanted: _Wanted,
) -> None:
    from marlbench.analysis.comparison import compare_foreign
    from marlbench.analysis.foreign import gather, parse_bounds
    from marlbench.errors import UsageError

    if against:
        raise UsageError("--against needs a suite: published numbers are of its tasks.")
    read = gather(files, bounds=parse_bounds(bounds), metric=metric)
    comparison = compare_foreign(read, shown=wanted.shown)
    _show(comparison, wanted, None, None, read)
    if curves is not None:
        _write_curves(curves, comparison, None, None, read)


def _show(
    comparison: Comparison,
    wanted: _Wanted,
    store: Store | None,
    matrix: Matrix | None,
    foreign: ForeignResults | None,
) -> None:
    """Print the comparison, or write it to the file asked for."""
    from marlbench.analysis.tables import render
    from marlbench.cli.console import data, write_text

    if wanted.format == "table":
        if wanted.output is None:
            render([comparison], data())
            return
        import io

        from rich.console import Console

        stream = io.StringIO()
        render([comparison], Console(file=stream, width=data().width, color_system=None))
        write_text(wanted.output, "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n")
        return
    text = _text(comparison, wanted.format, store, matrix, foreign)
    write_text(wanted.output, text)


def _text(
    comparison: Comparison,
    name: str,
    store: Store | None,
    matrix: Matrix | None,
    foreign: ForeignResults | None,
) -> str:
    if name == "json":
        import json

        return json.dumps(comparison.to_json(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    if name == "csv":
        from marlbench.analysis.records import csv_text

        return csv_text([comparison])
    if name == "marl-eval":
        from marlbench.analysis.marl_eval import marl_eval_text

        return marl_eval_text(comparison, store, matrix, foreign)
    from marlbench.analysis.texts import FORMATS as texts

    return texts[name]([comparison])


def _write_curves(
    path: Path,
    comparison: Comparison,
    store: Store | None,
    matrix: Matrix | None,
    foreign: ForeignResults | None,
) -> None:
    from marlbench.analysis.traces import curves_csv
    from marlbench.cli.console import write_text

    write_text(path, curves_csv(comparison.suite, comparison.shown[0], store, matrix, foreign))


def _elsewhere(
    store: Store, matrix: Matrix, resolve: Callable[[str | None], Matrix]
) -> Iterator[tuple[str, int, int]]:
    """(preset, cells done, cells) of the suite's other presets, where the store has any."""
    from marlbench.catalog.types import FULL
    from marlbench.errors import MarlbenchError
    from marlbench.store.states import State

    for name in (FULL, *matrix.suites[0].suite.presets):
        if name == matrix.preset:
            continue
        try:
            cells = resolve(name).cells
        except MarlbenchError:
            # What was asked for resolves; that another preset does not is for `validate` to say.
            continue
        done = sum(state.state is State.DONE for state in store.states(cell.id for cell in cells).values())
        if done:
            yield name, done, len(cells)
