"""`marlbench reference`: measure what later runs are compared with, and show it."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marlbench.cli.fresh import Jobs, OwnResults
from marlbench.cli.options import (
    AlgorithmNames,
    Json,
    Overrides,
    PresetName,
    Steps,
    TaskGlobs,
    names_given,
)

if TYPE_CHECKING:
    from marlbench.analysis.reference import Reference, Selection
    from marlbench.analysis.sizing import Measurements
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.store import Store

SEEDS = "10"
_MAIN_PACKAGES = ("python", "marlbench", "torch", "numpy")
_UNITS = {"s": 1, "m": 60, "h": 3600}

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Measure what `marlbench regress` compares with, and show it."""


@app.command("create")
def create(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="Name of a suite or path of a suite file.")],
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Of the reference.", show_default=False)
    ],
    time_allowed: Annotated[
        str,
        typer.Option("--time-allowed", metavar="TIME", help="For the fresh runs of `regress`: 90s, 10m, 2h."),
    ] = "10m",
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="SEEDS", help="Of the runs measured here.")
    ] = SEEDS,
    task: TaskGlobs = None,
    algorithm: AlgorithmNames = None,
    steps: Steps = None,
    preset: PresetName = None,
    set_: Overrides = None,
    results: OwnResults = None,
    jobs: Jobs = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE.json", help="Default: results/reference/NAME.json."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a reference of this name.")] = False,
) -> None:
    """Measure a suite, and choose from the spread of its runs how many fresh ones a gate needs.

    Refuses tasks on which a loss of a fifth of the score cannot be told from chance within the time allowed.
    """
    from marlbench.analysis.reference import Selection, write
    from marlbench.analysis.sizing import wall_seconds
    from marlbench.catalog.document import shown
    from marlbench.cli import words
    from marlbench.cli.console import talk
    from marlbench.cli.fresh import own_store, slots, stop_where_interrupted, tell_failures, train
    from marlbench.cli.options import select
    from marlbench.engines.machine import usable_cores
    from marlbench.errors import CELLS_FAILED, UsageError

    allowed = seconds(time_allowed)
    # More processes than cores do not make the fresh runs shorter.
    at_once = min(slots(jobs), usable_cores())
    path = (output or Path("results") / "reference" / f"{_checked(name)}.json").absolute()
    if path.exists() and not replace:
        raise UsageError(f"there is a reference {shown(path)}.", "Replace it with --replace.")
    selection = Selection(
        suite=suite,
        tasks=names_given(task),
        algorithms=names_given(algorithm),
        preset=preset,
        steps=steps,
        overrides=tuple(set_ or ()),
    )
    matrix = select(
        [suite], tasks=task, algorithms=algorithm, seeds=seeds, steps=steps, preset=preset, overrides=set_
    )
    with own_store(results, matrix) as store:
        report = train(store, matrix, jobs)
        stop_where_interrupted(report)
        tell_failures(report, matrix, store)
        if report.failures:
            raise typer.Exit(CELLS_FAILED)
        reference = _reference(name, selection, matrix, store, allowed, at_once)
        write(path, reference)
    _show(reference)
    about = words.duration(wall_seconds(reference.entries, at_once))
    fresh = sum(entry.fresh for entry in reference.entries)
    talk().print(f"{shown(path)}: {words.plural(fresh, 'fresh run')} in about {about}.", markup=False)


@app.command("show")
def show(
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="Name of a reference or path of its file.")
    ],
    as_json: Json = False,
) -> None:
    """Show what a reference holds: runs, their spread, and by which rule fresh runs are judged."""
    from marlbench.analysis.reference import find, read
    from marlbench.cli.console import print_json

    known = read(find(reference))
    if as_json:
        print_json(known.model_dump(mode="json", by_alias=True))
    else:
        _show(known)


def seconds(text: str) -> float:
    """`90s`, `10m`, `2h` in seconds.

    Raises:
        UsageError: other text.
    """
    from marlbench.errors import UsageError

    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([smh])", text.strip())
    if found is None or float(found[1]) == 0:
        raise UsageError(f"--time-allowed {text}: this is no time.", "Write for instance 90s, 10m or 2h.")
    return float(found[1]) * _UNITS[found[2]]


def _checked(name: str) -> str:
    from marlbench.catalog.fields import NAME_PATTERN
    from marlbench.errors import UsageError

    if not re.fullmatch(NAME_PATTERN.strip("^$"), name):
        raise UsageError(
            f"--name {name}: this cannot be the name of a reference.", "Use letters, digits, . _ and -."
        )
    return name


def _show(reference: Reference) -> None:
    from marlbench.analysis.regression_tables import render_reference
    from marlbench.cli.console import data

    render_reference(reference, data())


def _reference(
    name: str, selection: Selection, matrix: Matrix, store: Store, allowed: float, slots: int
) -> Reference:
    import torch

    from marlbench.analysis.fingerprint import fingerprint
    from marlbench.analysis.reference import SCHEMA, Reference
    from marlbench.analysis.sizing import entries, rule_for
    from marlbench.engines.machine import usable_cores
    from marlbench.store.execution import device_name, git_sha
    from marlbench.training.calibration import VERSION

    measured = _measured(matrix, store)
    rule = rule_for(len(measured))
    found = entries(measured, rule, allowed, slots)
    versions = measured[0].runs[0].versions
    return Reference(
        **{"schema": SCHEMA},
        name=name,
        selection=selection,
        command=_command(name, selection, matrix),
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        code={"commit": git_sha(), "sha256": fingerprint(matrix)},
        machine={"processor": device_name(torch.device("cpu")), "cores": usable_cores()},
        versions={package: versions[package] for package in _MAIN_PACKAGES if package in versions},
        calibration=VERSION,
        rule=rule,
        entries=found,
    )


def _measured(matrix: Matrix, store: Store) -> list[Measurements]:
    from marlbench.analysis.measurements import measurements
    from marlbench.analysis.sizing import Measurements

    return [Measurements(group, measurements(store, group.cells)) for group in matrix.groups]


def _command(name: str, selection: Selection, matrix: Matrix) -> str:
    """What measures this again, without paths of this machine."""
    import shlex

    from marlbench.catalog.selection import format_seeds

    words = ["marlbench", "reference", "create", selection.suite, "--name", name]
    words += ["--seeds", format_seeds([cell.seed for cell in matrix.groups[0].cells])]
    for option, values in (
        ("--task", selection.tasks),
        ("--algorithm", [",".join(selection.algorithms)] if selection.algorithms else []),
        ("--preset", [selection.preset] if selection.preset else []),
        ("--steps", [str(selection.steps)] if selection.steps else []),
        ("--set", selection.overrides),
    ):
        for value in values:
            words += [option, value]
    return shlex.join(words)
