"""The results root: the one door to cells, jobs and their states."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from marlbench.catalog.cell import Cell
from marlbench.store.states import CellEntry, CellState, Failure, Job


class Store:
    """A results directory.

    Reading never writes anything but the index, which is a cache. Numbers that were NaN or infinite come back as such
    from `result` and `journal`.
    """

    root: Path
    writable: bool

    @classmethod
    def locate(cls, results: Path | None) -> Path:
        """Where the store is: `results`, else MARLBENCH_RESULTS, else ./results; absolute."""
        raise NotImplementedError

    @classmethod
    def open(cls, root: Path, *, create: bool = False) -> Store:
        """The store at `root`; with `create`, made where it is missing and refused where it cannot be written.

        Raises:
            StoreError: there is no store, it cannot be read or made, or (with `create`) its format is not ours.
        """
        raise NotImplementedError

    # cells

    def states(self, cell_ids: Iterable[str]) -> dict[str, CellState]:
        """The state of each cell, in the order given; ids without a directory are `planned`."""
        raise NotImplementedError

    def cells(self) -> Iterator[CellEntry]:
        """Every cell that has a readable cell.json, by id."""
        raise NotImplementedError

    def cell(self, cell_id: str) -> CellEntry:
        """One cell; Damaged where its cell.json cannot be read or is another cell's."""
        raise NotImplementedError

    def find(self, prefix: str) -> str:
        """The id of the one cell whose id begins with `prefix`; StoreError where there is none or more."""
        raise NotImplementedError

    def result(self, cell_id: str) -> dict[str, Any]:
        """result.json, verified against identity, journal and hashes; Damaged where it is missing or does not hold."""
        raise NotImplementedError

    def journal(self, cell_id: str, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The lines of the journal, the header first; only whole lines within the first `limit` bytes.

        Raises Damaged at a bad line; a torn last line is left out, a missing journal is empty.
        """
        raise NotImplementedError

    def covered(self, cell_id: str) -> int:
        """Bytes of the journal that the result or a durable checkpoint covers: no resume cuts them off.

        They can still be given up when the checkpoint turns out corrupt: the journal then has another `generation`
        in its header.
        """
        raise NotImplementedError

    def attempts(self, cell_id: str) -> list[dict[str, Any]]:
        """The records of attempts/<n>.json, oldest first; unreadable ones are left out."""
        raise NotImplementedError

    # jobs

    def claim(self, cells: Sequence[Cell], slots: int, seeds_per_job: int | None = None) -> list[Job]:
        """The unfinished jobs of these cells; new cells are divided into new jobs. Safe to repeat.

        Existing jobs keep their members, so the jobs returned may train cells that were not asked for. New cells of
        one group (all but the seed equal) are divided into `seeds_per_job` seeds each, or else into as many jobs as
        fill `slots`. Attempts whose process is gone are given their end.

        Raises:
            StoreError: the store cannot be written.
        """
        raise NotImplementedError

    def job(self, job_id: str) -> Job:
        """One job; StoreError where its job.json cannot be read."""
        raise NotImplementedError

    def jobs(self) -> Iterator[Job]:
        """Every job that has a readable job.json, by id."""
        raise NotImplementedError

    def running(self, job_id: str) -> bool:
        """Whether a process holds the job's lock."""
        raise NotImplementedError

    def reconcile(self, job_id: str, failure: Failure | None = None, reason: str = "") -> bool:
        """Give attempts without an end, whose process is gone, their end; False where the job is running.

        Args:
            failure: what the caller knows of how the process ended; told apart by the boot id otherwise.
            reason: one line for people.
        """
        raise NotImplementedError

    def progress(self, job_id: str) -> dict[str, Any] | None:
        """jobs/<id>/progress.json; None where there is none yet."""
        raise NotImplementedError

    def log_path(self, job_id: str) -> Path:
        """jobs/<id>/log.txt, whether it exists or not."""
        raise NotImplementedError

    def log_tail(self, job_id: str, lines: int = 50) -> list[str]:
        """The last lines of the job's log; none where there is no log."""
        raise NotImplementedError

    # estimates

    def speed(self, suite: str, task: str, backend: str, algorithm: str, device: str) -> float | None:
        """Median environment steps per second and seed of results seen so far on a kind of device ("cpu", "cuda")."""
        raise NotImplementedError
