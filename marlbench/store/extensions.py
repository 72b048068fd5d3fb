"""Finished cells that go on to more steps: for each planned cell, the shorter one that it can go on from.

An extension is a cell of its own that names its source; it stands for the planned cell of the same steps where that
one has no result. A longer training that began at zero is always preferred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from marlbench.catalog.cell import Cell
from marlbench.catalog.matrix import Matrix
from marlbench.catalog.spacing import total_steps
from marlbench.plugins import load
from marlbench.store import kept
from marlbench.store.states import CellEntry, CellState, State
from marlbench.store.store import Store


@dataclass(frozen=True)
class Continued:
    """A cell of a matrix that is, or will be, the continuation of a shorter one.

    Attributes:
        cell: the continuation.
        source: the cell that it goes on from.
        begun: whether it has been claimed already.
    """

    cell: Cell
    source: Cell
    begun: bool


@dataclass(frozen=True)
class Refused:
    """A planned cell that could go on from a shorter one but for a reason; it is trained from the start."""

    cell: Cell
    source: Cell
    reason: str


@dataclass(frozen=True)
class Extended:
    """A matrix in which continuations stand for planned cells."""

    matrix: Matrix
    continued: tuple[Continued, ...]
    refused: tuple[Refused, ...]


def extend(store: Store, matrix: Matrix) -> Extended:
    """Let every cell that has no result go on from the longest shorter one that can.

    Raises:
        StoreError: the store cannot be read.
    """
    return _Extension(store, matrix).resolve(plan=True)


def stand_ins(store: Store, matrix: Matrix) -> Extended:
    """Let continuations that are done stand for cells of the matrix that are not.

    Raises:
        StoreError: the store cannot be read.
    """
    return _Extension(store, matrix).resolve(plan=False)


class _Extension:
    def __init__(self, store: Store, matrix: Matrix) -> None:
        self.store, self.matrix = store, matrix
        self.states = store.states(cell.id for cell in matrix.cells)
        self.related: dict[str, list[CellEntry]] = {}
        self.states_of_related: Mapping[str, CellState] = {}
        self._obstacles: dict[str, str] = {}

    def resolve(self, plan: bool) -> Extended:
        open_cells = [cell for cell in self.matrix.cells if self.states[cell.id].state is not State.DONE]
        if open_cells:
            self._read(open_cells)
        if not self.related:
            return Extended(self.matrix, (), ())
        continued: list[Continued] = []
        refused: list[Refused] = []
        groups = []
        for group in self.matrix.groups:
            cells = []
            for cell in group.cells:
                found = self._of(cell, plan)
                cells.append(found.cell)
                if isinstance(found, Continued):
                    continued.append(found)
                elif isinstance(found, Refused):
                    refused.append(found)
            groups.append(replace(group, cells=tuple(cells)))
        matrix = replace(self.matrix, groups=tuple(groups)) if continued else self.matrix
        return Extended(matrix, tuple(continued), tuple(refused))

    def _read(self, cells: Sequence[Cell]) -> None:
        """The cells of the store that have the lineage of one of these."""
        wanted = {(cell.suite, cell.task, cell.algorithm) for cell in cells}
        lineages = {cell.lineage for cell in cells}
        for entry in self.store.cells():
            cell = entry.cell
            if (cell.suite, cell.task, cell.algorithm) in wanted and cell.lineage in lineages:
                self.related.setdefault(_key(cell), []).append(entry)
        self.states_of_related = self.store.states(
            entry.id for entries in self.related.values() for entry in entries
        )

    def _of(self, cell: Cell, plan: bool) -> Continued | Refused | _Same:
        state = self.states[cell.id]
        if state.state is State.DONE or (plan and state.attempts):
            # What was begun from the start goes on from its own checkpoint.
            return _Same(cell)
        entries = self.related.get(_key(cell), [])
        existing = [e for e in entries if e.cell.source is not None and e.cell.steps == cell.steps]
        for entry in sorted(existing, key=lambda e: (not self._done(e), e.id)):
            if plan or self._done(entry):
                return Continued(entry.cell, self._source(entry.cell, entries), begun=True)
        if not plan:
            return _Same(cell)
        shorter = [
            entry
            for entry in entries
            if total_steps(entry.cell.steps, cell.rows) < total_steps(cell.steps, cell.rows)
            and self._done(entry)
        ]
        # The longest first; of equals the one that was trained in one go.
        shorter.sort(key=lambda entry: (-entry.cell.steps, entry.cell.source is not None, entry.id))
        for entry in shorter:
            if not self._obstacle(entry):
                return Continued(cell.continuing(entry.cell), entry.cell, begun=False)
        if shorter:
            return Refused(cell, shorter[0].cell, self._obstacle(shorter[0]))
        return _Same(cell)

    def _done(self, entry: CellEntry) -> bool:
        return self.states_of_related[entry.id].state is State.DONE

    def _source(self, cell: Cell, entries: Sequence[CellEntry]) -> Cell:
        """The cell's source; where somebody has removed it, the cell itself."""
        return next((entry.cell for entry in entries if entry.id == cell.source), cell)

    def _obstacle(self, entry: CellEntry) -> str:
        if entry.id not in self._obstacles:
            self._obstacles[entry.id] = self._find_obstacle(entry)
        return self._obstacles[entry.id]

    def _find_obstacle(self, entry: CellEntry) -> str:
        method = load("algorithms", entry.cell.algorithm)
        hyperparameters = method.Hyperparameters(**entry.cell.hyperparameters)
        reason: str = method.obstacle_to_extension(hyperparameters)
        if reason:
            return reason
        found = kept.look(self.store.job_directory(entry.job))
        if found is None:
            return "no final state is kept (it was finished by an older marlbench)"
        return "" if found.kept else f"no final state is kept: {found.reason}"


@dataclass(frozen=True)
class _Same:
    """A cell that stays what it was."""

    cell: Cell


def _key(cell: Cell) -> str:
    return f"{cell.lineage} {cell.seed}"
