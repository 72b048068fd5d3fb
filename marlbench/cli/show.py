"""`marlbench show`: a suite as it resolves, and where each value came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marlbench.cli.options import (
    AlgorithmNames,
    Json,
    Overrides,
    PresetName,
    Seeds,
    Steps,
    SuiteNames,
    TaskGlobs,
    select,
)

if TYPE_CHECKING:
    from rich.table import Table

    from marlbench.catalog.presentation import Line


def command(
    suites: SuiteNames,
    task: TaskGlobs = None,
    algorithm: AlgorithmNames = None,
    seeds: Seeds = None,
    steps: Steps = None,
    preset: PresetName = None,
    set_: Overrides = None,
    json: Json = False,
) -> None:
    """Show suites as they resolve: protocol, tasks and hyperparameters, each value with where it came from."""
    from rich.text import Text

    from marlbench.catalog.lookup import describe
    from marlbench.catalog.presentation import as_json, present
    from marlbench.cli.console import data, print_json, talk

    matrix = select(
        suites, tasks=task, algorithms=algorithm, seeds=seeds, steps=steps, preset=preset, overrides=set_
    )
    for notice in matrix.notices:
        talk().print(notice, markup=False)
    if json:
        print_json(as_json(matrix))
        return
    console = data()
    for loaded in matrix.suites:
        presentation = present(matrix, loaded.name)
        label = matrix.labels.get(loaded.name)
        console.print(Text(f"{loaded.name}: {loaded.suite.title}", style="bold"))
        console.print(
            f"  {describe(loaded.found)}, sha256 {loaded.sha256[:12]}", markup=False, soft_wrap=True
        )
        console.print(f"  preset {matrix.preset}{f' ({label})' if label else ''}", markup=False)
        if loaded.suite.description:
            console.print(f"  {loaded.suite.description.strip()}", markup=False)
        for heading, lines in presentation.items():
            console.print()
            console.print(Text(heading, style="bold"))
            console.print(_table(lines))
        console.print()


def _table(lines: list[Line]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2), pad_edge=True)
    for line in lines:
        origin = str(line.origin) if line.origin is not None else ""
        tasks = f"only {', '.join(line.tasks)}" if line.tasks else ""
        style = "" if line.origin is None or line.origin.level != "default" else "dim"
        table.add_row(*(Text(_value(cell), style=style) for cell in (line.name, line.value, origin, tasks)))
    return table


def _value(value: Any) -> str:
    from marlbench.catalog.identity import canonical

    return value if isinstance(value, str) else canonical(value)
