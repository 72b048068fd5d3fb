"""`marlbench explain`: what state a cell is in, and why it will run."""

from __future__ import annotations

from typing import Annotated

import typer

from marlbench.cli.options import Json, Overrides, PresetName, Results, Steps


def command(
    cell: Annotated[
        str,
        typer.Argument(
            metavar="CELL",
            help="SUITE/TASK/LABEL/s3, LABEL/TASK/s3, or an id or its beginning, of a stored or a planned cell.",
            show_default=False,
        ),
    ],
    steps: Steps = None,
    preset: PresetName = None,
    set_: Overrides = None,
    results: Results = None,
    json: Json = False,
) -> None:
    """Say what state a cell is in and why it will run, compared with the nearest cell that is done."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from marlbench.analysis.explanation import Run, explain, name
    from marlbench.catalog.selection import parse_overrides
    from marlbench.cli.console import data, print_json
    from marlbench.store.store import Store

    root = Store.locate(results)
    found = explain(cell, root, Run(steps, preset, parse_overrides(set_ or ())))
    state = found.state.state.value if found.state is not None else "planned"
    detail = found.state.detail if found.state is not None else f"there is no store at {root}"
    if json:
        print_json(
            {
                "schema": 1,
                "cell": found.cell.id,
                "name": name(found.cell),
                "state": state,
                "detail": detail,
                "verdict": found.verdict,
                "nearest": found.nearest and {"cell": found.nearest.id, "name": name(found.nearest)},
                "differences": [
                    {"field": one.field, "here": _plain(one.here), "there": _plain(one.there)}
                    for one in found.differences
                ],
                "identity": found.cell.identity(),
            }
        )
        return
    console = data()
    console.print(Text(name(found.cell), style="bold"))
    console.print(f"  cell {found.cell.id}", markup=False, soft_wrap=True)
    console.print(f"  {state}: {detail}", markup=False, soft_wrap=True)
    console.print(f"  {found.verdict}", markup=False)
    if found.nearest is None:
        console.print("  No other cell of the store is done.")
        return
    console.print(
        f"  The nearest that is done is {name(found.nearest)}, {found.nearest.id[:12]}:", markup=False
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for column in ("field", "this cell", "nearest done"):
        table.add_column(column, overflow="fold")
    for one in found.differences:
        table.add_row(*(Text(text) for text in (one.field, _text(one.here), _text(one.there))))
    console.print(table)


def _plain(value: object) -> object:
    from marlbench.catalog.difference import ABSENT

    return None if value is ABSENT else value


def _text(value: object) -> str:
    from marlbench.catalog.difference import ABSENT
    from marlbench.catalog.identity import canonical

    return "(absent)" if value is ABSENT else value if isinstance(value, str) and value else canonical(value)
