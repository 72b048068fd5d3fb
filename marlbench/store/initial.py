"""The policies of other cells from which a job's trainings start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor

from marlbench.catalog.cell import Cell
from marlbench.errors import StoreError
from marlbench.store import checkpoint, durable, validity
from marlbench.store.states import Damaged

Description = Mapping[str, Tensor]


def policies_for(cells: Sequence[Cell], root: Path) -> list[dict[str, Tensor]]:
    """What each cell takes over from the best policy of the one that it starts from: name of a parameter -> value.

    Empty where the cells start from nothing.

    Raises:
        StoreError: a cell that is started from is not done, diverged or has lost its policy, or none of its
            parameters is asked for.
    """
    return [
        _taken(cell, root / "cells" / cell.init_from["cell"]) for cell in cells if cell.init_from is not None
    ]


def _taken(cell: Cell, folder: Path) -> dict[str, Tensor]:
    assert cell.init_from is not None
    called = f"{_called(folder)}, from which {cell.label}/{cell.task}/s{cell.seed} starts,"
    again = "`marlbench run` with the same suite trains it first."
    try:
        result = validity.verify(folder)
        document = checkpoint.read(folder / "policy.pt")
    except Damaged as damage:
        raise StoreError(f"{called} is not done: {damage}.", again) from None
    except checkpoint.Corrupt as error:
        raise StoreError(
            f"the policy of {called} cannot be used: {error}.", f"Delete {folder / validity.NAME}; {again}"
        ) from None
    if result["outcome"]["status"] == "diverged":
        raise StoreError(
            f"{called} diverged: its parameters are not numbers.", "Choose other seeds or hyperparameters."
        )
    best: Any = (document or {}).get("best")
    if not isinstance(best, dict):
        raise StoreError(f"the policy of {called} is missing.", f"Delete {folder / validity.NAME}; {again}")
    layers = cell.init_from["layers"]
    taken = {name: value for name, value in best.items() if any(fnmatchcase(name, glob) for glob in layers)}
    if not taken:
        raise StoreError(
            f"no parameter of {called} matches {', '.join(layers)}.",
            f"Its parameters are {', '.join(best) or 'none'}.",
        )
    return taken


def _called(folder: Path) -> str:
    try:
        document = durable.read(folder / "cell.json") or {}
        identity = document["identity"]
        return f"{document['label']}/{identity['task']}/s{identity['seed']} ({folder.name[:12]})"
    except (ValueError, KeyError, TypeError, StoreError):
        return f"the cell {folder.name[:12]}"
