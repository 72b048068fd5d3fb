"""`marlbench compare`: the table of a suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.store import Store

SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="Name of a suite or path of a suite file.", show_default=False)
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
    as_json: Json = False,
) -> None:
    """Compare algorithms on the cells that are done: interquartile means with 95 % bootstrap intervals.

    The options select cells as those of `marlbench run` do.
    """
    from dataclasses import replace

    from marlbench.analysis.comparison import compare_matrix
    from marlbench.analysis.notes import other_revisions
    from marlbench.analysis.tables import render
    from marlbench.cli.console import data, print_json, talk
    from marlbench.store.store import Store

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

    matrix = resolve(preset)
    store = Store.open(Store.locate(results))
    comparison = compare_matrix(store, matrix)[0]
    if comparison.done < comparison.expected:
        found = other_revisions(store, matrix.groups)
        comparison = replace(comparison, notes=(*comparison.notes, *found))
    if as_json:
        print_json(comparison.to_json())
    else:
        render([comparison], data())
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
