"""Which matrices a cell belongs to, so that a run of MLflow can be found by the command line that asked for it.

`<store>/matrices/<matrix id>.json` names the cells of a matrix. The id is made from the cells, so a file never changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from marlbench.store import durable, locks

FOLDER = "matrices"
_NAME = re.compile(r"([0-9a-f]{8,64})\.json")


def record(root: Path, matrix_id: str, cells: Iterable[str]) -> None:
    """Write down the cells of a matrix, once.

    Raises:
        Unwritable: the store cannot be written.
    """
    path = root / FOLDER / f"{matrix_id}.json"
    if path.exists():
        return
    durable.make_directory(path.parent)
    # Two runs of the same matrix begin at the same time.
    with locks.holding(root / "lock"):
        durable.write_json(path, {"schema": 1, "matrix": matrix_id, "cells": sorted(cells)})


class Matrices:
    """The matrices of a store, read again when one came."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER
        self._known: set[str] = set()
        self._of: dict[str, list[str]] = {}

    def refresh(self) -> None:
        """Read the files that are new; one that cannot be read is left out."""
        try:
            names = sorted(path.name for path in self._folder.iterdir())
        except OSError:
            return
        for name in names:
            match = _NAME.fullmatch(name)
            if match is None or name in self._known:
                continue
            self._known.add(name)
            try:
                document = durable.read(self._folder / name)
            except ValueError:
                continue
            for cell in (document or {}).get("cells") or ():
                self._of.setdefault(str(cell), []).append(match[1])

    def of(self, cell: str) -> str:
        """The ids of the cell's matrices, sorted and joined by spaces."""
        return " ".join(sorted(self._of.get(cell, ())))
