"""Why a cell will run, or will not: its state, and what tells it apart from the nearest cell that is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from marlbench.catalog.cell import Cell
from marlbench.catalog.difference import Difference, by_nearness, differences
from marlbench.catalog.lookup import names
from marlbench.catalog.matrix import resolve
from marlbench.catalog.suite import load_suite
from marlbench.catalog.types import FULL
from marlbench.errors import ConfigurationError, UsageError
from marlbench.store import naming
from marlbench.store.naming import Run as Run
from marlbench.store.naming import name as name
from marlbench.store.states import CellState, State
from marlbench.store.store import Store

# States are read in blocks of this many, nearest cells first, until one is done.
_BLOCK = 64


@dataclass(frozen=True)
class Explanation:
    """What is known of one cell.

    Attributes:
        state: None where there is no store yet.
        nearest: the nearest other cell that is done.
        differences: in what `cell` differs from it.
    """

    cell: Cell
    state: CellState | None
    nearest: Cell | None = None
    differences: tuple[Difference, ...] = ()

    @property
    def verdict(self) -> str:
        """One sentence: whether the next `marlbench run` trains it, and why."""
        return _VERDICTS[State.PLANNED if self.state is None else self.state.state]


_VERDICTS = {
    State.PLANNED: "It will run: it has no result yet.",
    State.DONE: "It will not run: it is done.",
    State.RUNNING: "It is running now.",
    State.INTERRUPTED: "It will run: it goes on from its last checkpoint.",
    State.FAILED: "It will run again: its last attempt failed.",
    State.DAMAGED: "It will run again: what it left cannot be trusted and is set aside.",
}


def explain(wanted: str, root: Path, run: Run) -> Explanation:
    """Explain a cell, given by name or id (see `marlbench.store.naming`).

    A name with its suite means the cell that the suite plans now, with the options of `run`.

    Args:
        root: of the store; it need not exist.

    Raises:
        UsageError: no cell, or several, go by this name.
        ConfigurationError: the suite cannot be used.
        StoreError: the store cannot be read.
    """
    store = Store.open(root) if (root / "store.json").exists() else None
    stored = {entry.id: entry.cell for entry in store.cells()} if store is not None else {}
    cell = _meant(wanted, store, stored, run)
    if store is None:
        return Explanation(cell, None)
    state = store.states([cell.id])[cell.id]
    stored.pop(cell.id, None)
    nearest = _nearest_done(cell, store, stored)
    if nearest is None:
        return Explanation(cell, state)
    return Explanation(cell, state, nearest, tuple(differences(cell.identity(), nearest.identity())))


def _nearest_done(cell: Cell, store: Store, others: Mapping[str, Cell]) -> Cell | None:
    ordered = by_nearness(cell.identity(), [(key, other.identity()) for key, other in others.items()])
    for start in range(0, len(ordered), _BLOCK):
        for key, state in store.states(ordered[start : start + _BLOCK]).items():
            if state.state is State.DONE:
                return others[key]
    return None


def _meant(wanted: str, store: Store | None, stored: Mapping[str, Cell], run: Run) -> Cell:
    called = naming.parse(wanted)
    if called is None:
        return _by_prefix(wanted, stored, run)
    naming.require_seed(called)
    if called.suite is None:
        if store is None:
            raise UsageError(f"'{wanted}' is not the name of a cell.", "There is no store: " + naming.FORMS)
        return naming.find(store, wanted, run).cell
    try:
        cells = naming.planned(called, run).cells
    except ConfigurationError:
        # The suite's file may be gone; what it trained is not.
        if store is None or not any(called.fits(cell) for cell in stored.values()):
            raise
        return naming.find(store, wanted).cell
    if len(cells) > 1:
        raise UsageError(f"'{wanted}' names {len(cells)} cells.", "Name one task.")
    return cells[0]


def _by_prefix(wanted: str, stored: Mapping[str, Cell], run: Run) -> Cell:
    if wanted in stored:
        return stored[wanted]
    found = {key: cell for key, cell in stored.items() if key.startswith(wanted)}
    found |= _planned(wanted, run)
    if len(found) > 1:
        examples = ", ".join(f"{key[:12]} ({name(cell)})" for key, cell in list(found.items())[:3])
        raise UsageError(
            f"{len(found)} cells have an id that begins with '{wanted}': {examples}.", "Write more digits."
        )
    if not found:
        raise UsageError(
            f"no cell of the store or of a suite has an id that begins with '{wanted}'.",
            "`marlbench status` lists the cells of the store; or write SUITE/TASK/LABEL/sSEED.",
        )
    return next(iter(found.values()))


def _planned(prefix: str, run: Run) -> dict[str, Cell]:
    """Cells of the suites found by name; a suite that cannot be used has none."""
    found: dict[str, Cell] = {}
    for suite in names():
        try:
            for preset in [run.preset] if run.preset else [FULL, *load_suite(suite).suite.presets]:
                matrix = resolve([suite], steps=run.steps, preset=preset, overrides=run.overrides)
                found |= {cell.id: cell for cell in matrix.cells if cell.id.startswith(prefix)}
        except (ConfigurationError, UsageError):
            continue
    return found
