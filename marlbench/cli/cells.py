"""`marlbench cells`: carry results between stores that no directory connects."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from marlbench.cli.options import Json, Results

SCHEMA = 1
_NAMED = 20

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Carry results between stores.")

File = Annotated[Path, typer.Argument(metavar="FILE.tar", help="The parcel.", show_default=False)]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME...]", help="Suites, or cells. Default: all.", show_default=False),
]


@app.command("export")
def export(file: File, names: Names = None, results: Results = None) -> None:
    """Write cells that are done into one file, to be imported into another store."""
    from marlbench.cli import words
    from marlbench.cli.console import talk
    from marlbench.cli.policy_options import open_store
    from marlbench.cli.selecting import chosen
    from marlbench.errors import UsageError
    from marlbench.store import parcels
    from marlbench.store.states import State

    store = open_store(results)
    entries = chosen(store, names or ())
    states = store.states(entry.id for entry in entries)
    done = [entry for entry in entries if states[entry.id].state is State.DONE]
    if not done:
        raise UsageError("none of these cells is done.", "`marlbench status` shows what is.")
    count = parcels.write(store, done, file.absolute())
    left = len(entries) - count
    more = f"; {words.plural(left, 'cell')} without a result left out" if left else ""
    talk().print(f"Wrote {words.plural(count, 'cell')} to {file}{more}.", markup=False)


@app.command("import")
def import_(file: File, results: Results = None, as_json: Json = False) -> None:
    """Take cells of another store into this one. Their identity and results are recomputed and compared."""
    from marlbench.cli.console import data, print_json
    from marlbench.errors import STORE
    from marlbench.store.parcels import Arrival, read
    from marlbench.store.store import Store

    store = Store.open(Store.locate(results), create=True)
    found = list(read(store, file))
    if as_json:
        print_json(
            {
                "schema": SCHEMA,
                "cells": [
                    {"cell": one.cell, "arrival": one.arrival.name.lower(), "reason": one.reason or None}
                    for one in found
                ],
            }
        )
    else:
        console = data()
        for arrival, count in Counter(one.arrival for one in found).items():
            console.print(f"{count:,} {arrival}", markup=False)
        refused = [one for one in found if one.arrival is Arrival.REFUSED]
        for one in refused[:_NAMED]:
            console.print(f"  {one.cell[:12]}: {one.reason}", markup=False, soft_wrap=True)
    if any(one.arrival is Arrival.REFUSED for one in found):
        raise typer.Exit(STORE)
