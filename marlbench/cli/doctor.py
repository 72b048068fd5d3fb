"""`marlbench doctor`: check this installation."""

from __future__ import annotations

from typing import Annotated

import typer

from marlbench.cli.options import Json, Results


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="What a part of marlbench needs besides, such as traffic; `list plugins` has the names. Default: "
            "marlbench itself.",
            show_default=False,
        ),
    ] = None,
    results: Results = None,
    json: Json = False,
) -> None:
    """Check python, torch, packages, plug-ins, suites, the store and MLflow, or what a part needs; exit 0 unless
    something needed is broken."""
    from rich.table import Table
    from rich.text import Text

    from marlbench.checks import Status
    from marlbench.cli.console import data, print_json
    from marlbench.diagnosis import diagnose, examine
    from marlbench.errors import CONFIGURATION, STORE
    from marlbench.store.store import Store

    examined = (check for name in names or () for check in examine(name))
    checks = list(examined if names else diagnose(Store.locate(results)))
    broken = [check for check in checks if check.status is Status.BROKEN]
    if json:
        keys = ("area", "name", "status", "detail", "hint")
        print_json(
            {
                "schema": 1,
                "ok": not broken,
                "checks": [{key: getattr(check, key) for key in keys} for check in checks],
            }
        )
    else:
        styles = {Status.OK: "green", Status.NOTE: "dim", Status.WARNING: "yellow", Status.BROKEN: "bold red"}
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for column in ("area", "status", "name", "detail"):
            table.add_column(column, overflow="fold", no_wrap=column != "detail")
        area = ""
        for check in checks:
            told = f"{check.detail}\n{check.hint}" if check.hint else check.detail
            table.add_row(
                Text(check.area if check.area != area else "", style="bold"),
                Text(check.status.value, style=styles[check.status]),
                Text(check.name),
                Text(told),
            )
            area = check.area
        data().print(table)
        data().print(
            f"{len(broken)} broken: {', '.join(check.name for check in broken)}"
            if broken
            else "Everything needed works.",
            markup=False,
        )
    if broken:
        raise typer.Exit(STORE if all(check.area == "store" for check in broken) else CONFIGURATION)
