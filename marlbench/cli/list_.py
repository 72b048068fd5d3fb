"""`marlbench list`: what there is to choose from."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marlbench.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console


class Kind(StrEnum):
    suites = "suites"
    studies = "studies"
    tasks = "tasks"
    algorithms = "algorithms"
    environments = "environments"
    engines = "engines"
    plugins = "plugins"


_COLUMNS = {
    Kind.suites: ("name", "title", "tasks", "algorithms", "where"),
    Kind.studies: ("name", "question", "source", "claims", "presets"),
    Kind.tasks: ("suite", "task", "environment", "metric", "title"),
    Kind.algorithms: ("name", "revision", "about", "settings", "package"),
    Kind.environments: ("name", "about", "package"),
    Kind.engines: ("name", "about", "package"),
    Kind.plugins: ("group", "name", "target", "package"),
}


def command(
    kinds: Annotated[
        list[Kind] | None, typer.Argument(metavar="[KIND...]", help="Default: all.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """List suites, studies, tasks, algorithms, environments, engines and plug-ins, broken ones with their error."""
    from marlbench.catalog import inventory
    from marlbench.cli.console import data, print_json
    from marlbench.plugins import GROUPS

    def rows(kind: Kind) -> list[dict[str, Any]]:
        if kind is Kind.suites:
            return inventory.suites()
        if kind is Kind.studies:
            return inventory.studies()
        if kind is Kind.tasks:
            return inventory.tasks()
        groups = GROUPS if kind is Kind.plugins else (kind.value,)
        return [row for group in groups for row in inventory.plugged(group)]

    found = {kind.value: rows(kind) for kind in dict.fromkeys(kinds or Kind)}
    if json:
        print_json({"schema": 1, **found})
        return
    console = data()
    for kind, listed in found.items():
        _print(console, Kind(kind), listed)


def _print(console: Console, kind: Kind, rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=kind.value, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for column in _COLUMNS[kind]:
        table.add_column(column, overflow="fold")
    for row in rows:
        if not row.get("error"):
            table.add_row(*(Text(_shown(row.get(column, ""))) for column in _COLUMNS[kind]))
    console.print(table)
    for row in rows:
        if row.get("error"):
            console.print(Text(f" broken: {row['error']}", style="red"), soft_wrap=True)
    console.print()


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list | dict) else str(value)
