"""`marlbench clean`: give back the disk that nothing needs any more."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marlbench.cli.options import Json, Results
from marlbench.cli.selecting import Names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marlbench.store.cleaning import Removable

SCHEMA = 1
_NAMED = 20

Damaged = Annotated[bool, typer.Option("--damaged", help="Also damaged files that were set aside.")]
Attempts = Annotated[
    bool,
    typer.Option("--attempts", help="Also journals of attempts that were given up, of cells that are done."),
]
Unfinished = Annotated[
    bool,
    typer.Option("--unfinished", help="Also cells without a result: what they have done so far is lost."),
]
Finished = Annotated[
    list[str] | None,
    typer.Option(
        "--result", metavar="CELL", help="Also this cell with its result; may be given several times."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Remove it. Without this, it is only shown.")]


def command(
    names: Names = None,
    damaged: Damaged = False,
    attempts: Attempts = False,
    unfinished: Unfinished = False,
    result: Finished = None,
    yes: Yes = False,
    results: Results = None,
    as_json: Json = False,
) -> None:
    """Show what nothing needs any more, and with --yes remove it. No result goes unless --result names its cell."""
    from marlbench.cli.console import data, print_json
    from marlbench.cli.policy_options import open_store
    from marlbench.cli.queued import held_tickets
    from marlbench.cli.selecting import chosen
    from marlbench.errors import UsageError
    from marlbench.store.cleaning import RUBBISH, Kind, find, remove
    from marlbench.store.naming import find as find_cell
    from marlbench.store.naming import require_done

    store = open_store(results)
    entries = chosen(store, names or ())
    going = [find_cell(store, name) for name in result or ()]
    require_done(store, going)
    sources = {entry.cell.source: entry for entry in store.cells() if entry.cell.source is not None}
    for entry in going:
        if entry.id in sources:
            raise UsageError(
                f"{entry.id[:12]} is the source of {sources[entry.id].id[:12]}, which goes on from it.",
                "Name that one too, first.",
            )
    kinds = [*RUBBISH]
    kinds += [
        kind
        for kind, asked in ((Kind.DAMAGED, damaged), (Kind.ATTEMPTS, attempts), (Kind.UNFINISHED, unfinished))
        if asked
    ]
    found = find(store, kinds, entries, going, held_tickets(store))
    kept: list[Removable] = []
    if yes:
        store.require_writable()
        kept = [one for one in found if not remove(store, one)]
    if as_json:
        print_json(_document(found, kept, yes))
        return
    console = data()
    for line in _lines(found, kept, yes):
        console.print(line, markup=False, soft_wrap=True)


def _document(found: Sequence[Removable], kept: Sequence[Removable], yes: bool) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "dry_run": not yes,
        "bytes": sum(one.bytes for one in found if one not in kept),
        "removable": [
            {
                "kind": one.kind.name.lower(),
                "path": str(one.path),
                "bytes": one.bytes,
                "removed": yes and one not in kept,
            }
            for one in found
        ],
    }


def _lines(found: Sequence[Removable], kept: Sequence[Removable], yes: bool) -> list[str]:
    from marlbench.cli import words

    by_kind: dict[str, list[Removable]] = defaultdict(list)
    for one in found:
        by_kind[str(one.kind)].append(one)
    lines = []
    for kind, members in by_kind.items():
        lines.append(f"{kind}: {len(members):,}, {words.size(sum(one.bytes for one in members))}")
        lines += [f"  {one.path}" for one in members[:_NAMED]]
        lines += [f"  and {len(members) - _NAMED:,} more"] if len(members) > _NAMED else []
    lines += [f"stays, because its job runs: {one.path}" for one in kept]
    total = words.size(sum(one.bytes for one in found if one not in kept))
    lines.append(f"{total} are free again." if yes else f"{total} would be free; --yes removes it.")
    return lines
