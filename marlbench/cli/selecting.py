"""Cells of a store by what people type: names of suites, and names of cells as every verb knows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from marlbench.store.states import CellEntry
    from marlbench.store.store import Store

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME...]",
        help="Suites, or cells: SUITE/TASK/LABEL/s3, SUITE/TASK/LABEL for all its seeds, an id.",
        show_default=False,
    ),
]


def chosen(store: Store, names: Sequence[str]) -> list[CellEntry]:
    """The cells that go by these names, each once; all of the store without a name.

    Raises:
        UsageError: there is no such suite and no such cell.
    """
    from marlbench.store.naming import find_all

    entries = list(store.cells())
    suites = {entry.cell.suite for entry in entries}
    found: dict[str, CellEntry] = {}
    for name in names:
        of_suite = [entry for entry in entries if entry.cell.suite == name] if name in suites else None
        found.update((entry.id, entry) for entry in (find_all(store, name) if of_suite is None else of_suite))
    return list(found.values()) if names else entries
