"""What a job takes over from the finished one that its cells go on from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlbench.catalog.cell import Cell
from marlbench.errors import StoreError
from marlbench.store import checkpoint, durable, kept, validity
from marlbench.store import journal as journals
from marlbench.store.failures import is_out_of_memory
from marlbench.store.states import Damaged

if TYPE_CHECKING:
    from marlbench.store.needs import Trainer

# What a state that another version of the code wrote looks like when it is loaded. An error of the machine is
# not among them: the state is not at fault then.
UNLOADABLE = (KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError)
# The absolute evaluation is of the end, and speeds are of the machine at that time: both are made anew.
_CARRIED = ("train", "evaluation", "diverged")


class Sources:
    """The cells that a job's cells go on from: all members of one finished job, with its final state.

    Attributes:
        directory: of that job.
    """

    def __init__(self, cells: Sequence[Cell], directory: Path, state: dict[str, Any], root: Path) -> None:
        """Use `of`."""
        self.cells = cells
        self.directory = directory
        self._state = state
        self._root = root

    @classmethod
    def of(cls, cells: Sequence[Cell], directory: Path) -> Sources | None:
        """The sources of the members of the job in `directory`; None where they go on from nothing.

        Raises:
            StoreError: a source is not done any more, or its final state is not kept.
        """
        ids = [cell.source for cell in cells if cell.source is not None]
        if not ids:
            return None
        root = directory.parent.parent
        try:
            for source in ids:
                validity.verify(root / "cells" / source)
            found = _job_directory(root, ids[0])
            return cls(cells, found, kept.load(found, ids), root)
        except (checkpoint.Corrupt, Damaged) as error:
            raise StoreError(
                f"cell {cells[0].id[:12]} cannot go on from {ids[0][:12]}: {error}.",
                "Run without --extend trains it from the start.",
            ) from None

    def hand_over(self, trainer: Trainer, target: Path) -> None:
        """Put a fresh trainer, of the job in `target`, where the sources' one ended.

        Raises:
            StoreError: it cannot take the state over.
        """
        if not _sizes(self.directory).items() <= _sizes(target).items():
            # A trainer makes files of another size anew, and they would be empty; more files than before are no harm.
            raise StoreError(
                f"the replay in {self.directory} is not of the size that {self.cells[0].algorithm} needs.",
                "Another version of the method wrote it. Run without --extend.",
            )
        try:
            trainer.extend(self._state["trainer"])
        except UNLOADABLE as error:
            if is_out_of_memory(error) or "CUDA error" in str(error):
                raise
            raise StoreError(
                f"the final state of {self.cells[0].source} does not load: {type(error).__name__}: {error}.",
                "Another version of the method wrote it. Run without --extend.",
            ) from error
        self._state = {}

    def records(self, member: int) -> Iterator[dict[str, Any]]:
        """The lines of the source's journal that are the first ones of the member's own, without their numbers."""
        source = self.cells[member].source
        assert source is not None
        for line in journals.read_lines(self._root / "cells" / source / journals.NAME):
            if line["kind"] in _CARRIED:
                keys = ("time_ms", "kind", "step", "values", "episodes")
                yield {key: line[key] for key in keys if key in line}


def _job_directory(root: Path, cell_id: str) -> Path:
    try:
        document = durable.read(root / "cells" / cell_id / "cell.json") or {}
    except ValueError:
        document = {}
    return root / "jobs" / str(document.get("job"))


def _sizes(directory: Path) -> dict[str, int]:
    folder = directory / kept.REPLAY
    return {path.name: path.stat().st_size for path in folder.iterdir()} if folder.is_dir() else {}
