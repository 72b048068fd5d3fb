"""`marlbench crossplay`: trained policies of different cells in one team."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from marlbench.cli.options import Json, Results
from marlbench.cli.policy_options import ChosenActions, Device, WhichPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marlbench.analysis.means import Mean
    from marlbench.catalog.cell import Cell
    from marlbench.policies.crossplay import CrossPlay
    from marlbench.store.states import CellEntry

SCHEMA = 1
# Policies whose matrix is shown with intervals; of more, means alone fit.
_WITH_INTERVALS = 6

Cells = Annotated[
    list[str],
    typer.Argument(
        metavar="CELL...",
        help="Done cells of one task by name or id; SUITE/TASK/LABEL means all its seeds that are done.",
        show_default=False,
    ),
]
Assign = Annotated[
    str | None,
    typer.Option(
        "--assign",
        metavar="AGENT,...",
        help="Agents that the row's policy plays; the column's plays the others. Default: the first half.",
    ),
]
Episodes = Annotated[
    int | None,
    typer.Option(
        "--episodes", min=1, metavar="N", help="Of each pairing. Default: the absolute evaluation's."
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="K", help="Which fresh episodes.")]


def command(
    cells: Cells,
    assign: Assign = None,
    episodes: Episodes = None,
    which: WhichPolicy = "best",
    seed: Seed = 0,
    policy: ChosenActions = None,
    device: Device = "cpu",
    results: Results = None,
    as_json: Json = False,
) -> None:
    """Pair the policies of several cells of one task in both orders, all on the same fresh episodes."""
    from marlbench.cli.console import print_json
    from marlbench.cli.policy_options import device_named, open_store, tell_notes
    from marlbench.errors import UsageError
    from marlbench.policies import crossplay, trained
    from marlbench.policies.evaluating import MAXIMUM_SEED
    from marlbench.store import naming
    from marlbench.store.numbers import encode
    from marlbench.store.states import State

    if seed > MAXIMUM_SEED:
        raise UsageError(f"--seed {seed}: not between 0 and {MAXIMUM_SEED}.")
    store = open_store(results)
    entries: dict[str, CellEntry] = {}
    for text in cells:
        found = naming.find_all(store, text)
        states = store.states(entry.id for entry in found)
        done = [entry for entry in found if states[entry.id].state is State.DONE]
        # Of a whole label, the seeds that there are; what is named one by one must be there.
        entries |= {entry.id: entry for entry in (done if len(found) > 1 and done else found)}
    where = device_named(device)
    teams = [trained.rebuild(store, entry, which, where)[1] for entry in entries.values()]
    tell_notes(note for team in teams for note in team.notes)
    first = None if assign is None else [name.strip() for name in assign.split(",")]
    count = episodes or int(teams[0].cells[0].protocol["absolute_episodes"])
    result = crossplay.cross_play(teams, first, policy, count, seed)
    for team in teams:
        team.close()
    if as_json:
        print_json(encode(_document(result, which, seed)))
    else:
        _print(result, which)


def _document(result: CrossPlay, which: str, seed: int) -> dict[str, Any]:
    from marlbench.store import naming

    count = range(len(result.cells))
    return {
        "schema": SCHEMA,
        "cells": [{"cell": cell.id, "name": naming.name(cell)} for cell in result.cells],
        "which": which,
        "seed": seed,
        "protocol": result.protocol.model_dump(mode="json", exclude_none=True),
        "metric": result.metric,
        "episodes": result.values.shape[2],
        "row_plays": list(result.first),
        "column_plays": list(result.rest),
        "matrix": [[_json(result.mean(row, column)) for column in count] for row in count],
        "self_play": result.self_play,
        "cross_play": result.cross_play,
        "gap": _json(result.gap()),
        "values": result.values.tolist(),
    }


def _json(mean: Mean) -> dict[str, float | None]:
    return {"mean": mean.mean, "low": mean.low, "high": mean.high}


def _print(result: CrossPlay, which: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from marlbench.cli.console import data

    console = data()
    cells, first = result.cells, result.cells[0]
    console.print(Text(f"{first.task}: {result.metric}, {len(cells)} policies", style="bold"))
    console.print(
        f"  {which} policies, {result.protocol.policy} actions, {result.values.shape[2]:,} episodes of each pairing, "
        "the same for all",
        markup=False,
    )
    console.print(
        f"  row plays {', '.join(result.first)}; column plays {', '.join(result.rest)}", markup=False
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("")
    names = _names(cells)
    for name in names:
        table.add_column(Text(name), justify="right")
    for row, name in enumerate(names):
        line = [Text(name)]
        for column in range(len(cells)):
            mean = result.mean(row, column)
            text = f"{mean.mean:.4g}"
            if len(cells) <= _WITH_INTERVALS:
                text += _interval(mean)
            line.append(Text(text, style="bold" if row == column else ""))
        table.add_row(*line)
    console.print(table)
    gap = result.gap()
    console.print(
        f"  self-play {result.self_play:.4g}, cross-play {result.cross_play:.4g}, gap {gap.mean:.4g}{_interval(gap)}",
        markup=False,
    )
    if gap.low is None:
        console.print("  (no interval of the gap: it needs three policies)", markup=False)


def _names(cells: Sequence[Cell]) -> list[str]:
    """As short as tells them apart."""
    if len({cell.label for cell in cells}) == 1:
        names = [f"s{cell.seed}" for cell in cells]
    else:
        names = [f"{cell.label}/s{cell.seed}" for cell in cells]
    if len(set(names)) == len(names):
        return names
    return [f"{name} {cell.id[:6]}" for name, cell in zip(names, cells, strict=True)]


def _interval(mean: Mean) -> str:
    return "" if mean.low is None or mean.high is None else f" [{mean.low:.4g}, {mean.high:.4g}]"
