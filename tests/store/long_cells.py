"""Cells that take long enough to be interrupted, and what tests ask of the store that they are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from marlbench.catalog.cell import Cell
from marlbench.store.states import Job
from marlbench.store.store import Store

from .fake_cells import make_cell

# Half way there is a checkpoint every 7 steps.
CELLS = [make_cell(seed, steps=60, delay=0.01, replay=7) for seed in range(2)]


def state(store: Store, cell: Cell = CELLS[0]) -> Any:
    return store.states([cell.id])[cell.id]


def stamp(path: Path) -> tuple[int, int, int]:
    """Changes whenever a file is written or replaced."""
    return path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino


def only(store: Store) -> Job:
    (job,) = store.jobs()
    return job


def log(store: Store) -> str:
    return store.log_path(only(store).id).read_text()
