"""`marlbench validate`: check suites without running anything."""

from __future__ import annotations

from typing import Annotated

import typer

from marlbench.cli.options import Json


def command(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SUITE...]",
            help="Names or files. Default: every suite found by name.",
            show_default=False,
        ),
    ] = None,
    build: Annotated[
        bool,
        typer.Option(
            "--build", help="Also build every environment with one row and every algorithm for it (slower)."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Check suite files: every cell of every preset is resolved, nothing is trained."""
    from marlbench.catalog.lookup import names
    from marlbench.catalog.validation import check_suite
    from marlbench.cli import print_error
    from marlbench.cli.console import data, print_json
    from marlbench.cli.words import plural
    from marlbench.errors import CONFIGURATION, ConfigurationError

    reports = []
    for name in suites or names():
        try:
            report = check_suite(name, build=build)
        except ConfigurationError as error:
            print_error(error)
            reports.append({"suite": name, "ok": False, "error": str(error), "hint": error.hint})
        else:
            reports.append({"suite": name, "ok": True, **report})
            if not json:
                counts = ", ".join(f"{preset} {count}" for preset, count in report["cells"].items())
                data().print(f"{name}: ok ({plural(report['tasks'], 'task')}; cells: {counts})", markup=False)
    if json:
        print_json({"schema": 1, "suites": reports})
    if not all(report["ok"] for report in reports):
        raise typer.Exit(CONFIGURATION)
