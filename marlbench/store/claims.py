"""Dividing cells into jobs, so that no cell is ever in two unfinished jobs.

Everything here happens under the store's lock. A cell names its job in cell.json, and job.json, written last,
makes the job exist: a crash in between leaves cells that name a job which does not exist, and they are simply
claimed again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from marlbench.catalog.cell import Cell
from marlbench.errors import StoreError
from marlbench.store import durable
from marlbench.store.attempts import now_ms
from marlbench.store.states import CellState, State

SCHEMA = 1


def job_id(cells: Iterable[str]) -> str:
    """The id of the job with these members: 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(cells)).encode()).hexdigest()[:16]


def read_members(directory: Path) -> dict[str, int] | None:
    """The members that job.json names and their seeds; None where it is missing or not this job's."""
    try:
        document = durable.read(directory / "job.json")
    except ValueError:
        return None
    if document is None or document.get("schema") != SCHEMA:
        return None
    cells, seeds = document.get("cells"), document.get("seeds")
    if not isinstance(cells, list) or not isinstance(seeds, list) or len(cells) != len(seeds):
        return None
    if not all(isinstance(cell, str) for cell in cells) or job_id(cells) != directory.name:
        return None
    return dict(zip(cells, seeds, strict=True))


def divide(cells: Sequence[Cell], slots: int, seeds_per_job: int | None) -> list[list[Cell]]:
    """Cells by group, and each group's seeds in parts that differ by at most one in their size.

    Only for cells that go on from no other; those train together as their sources did.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.group(), []).append(cell)
    parts: list[list[Cell]] = []
    for members in groups.values():
        members.sort(key=lambda cell: cell.seed)
        if seeds_per_job is None:
            count = min(len(members), max(1, slots // len(groups)))
        else:
            count = math.ceil(len(members) / max(1, seeds_per_job))
        bounds = [len(members) * index // count for index in range(count + 1)]
        parts += [members[low:high] for low, high in pairwise(bounds)]
    return parts


def assign(
    root: Path,
    cells: Sequence[Cell],
    states: dict[str, CellState],
    slots: int,
    seeds_per_job: int | None,
) -> list[str]:
    """Write cell.json and job.json where missing or stale; returns the ids of the cells' unfinished jobs.

    Args:
        cells: each id once.
        states: the state of each of them.

    Raises:
        Unwritable: some of it may have been written; the next claim goes on.
    """
    found = {cell.id: _read_cell(root / "cells" / cell.id / "cell.json") for cell in cells}
    jobs = {cell_id: str(document.get("job")) for cell_id, document in found.items()}
    members = {job: read_members(root / "jobs" / job) or {} for job in set(jobs.values())}
    jobs = {cell_id: job for cell_id, job in jobs.items() if cell_id in members[job]}
    stray = {cell.id for cell in cells if cell.id not in jobs}
    if stray:
        # A job may know a cell whose directory was deleted; it is its job still.
        for job, known in _all_members(root):
            if own := known.keys() & stray:
                members[job] = known
                jobs.update((cell_id, job) for cell_id in own)
    done = {cell_id for cell_id, state in states.items() if state.state is State.DONE}
    new = [cell for cell in cells if cell.id not in jobs and cell.id not in done]
    parts = divide([cell for cell in new if cell.source is None], slots, seeds_per_job)
    parts += continuations(root, [cell for cell in new if cell.source is not None])
    new_jobs = []
    for part in parts:
        new_jobs.append(part)
        jobs.update((cell.id, job_id(c.id for c in part)) for cell in part)
    for cell_id in done - jobs.keys():
        jobs[cell_id] = states[cell_id].job or ""

    # A job cannot run without its other members, asked for now or not.
    wanted = {cell.id: cell for part in new_jobs for cell in part} | {cell.id: cell for cell in cells}
    for cell in cells:
        if cell.id not in done:
            for other, seed in members.get(jobs[cell.id], {}).items():
                path = root / "cells" / other / "cell.json"
                if other not in wanted and not _read_cell(path):
                    wanted[other] = _with_seed(root, cell, seed)
                    found[other], jobs[other] = {}, jobs[cell.id]
    documents = []
    for cell_id, cell in wanted.items():
        there = found.get(cell_id, {})
        document = _cell_document(cell, jobs[cell_id], there.get("created_ms", now_ms()))
        if there != document:
            documents.append((root / "cells" / cell_id / "cell.json", document))
    _write_all(root / "cells", documents)
    folder = root / "jobs"
    _write_all(folder, [(folder / jobs[part[0].id] / "job.json", _job_document(part)) for part in new_jobs])
    return list(dict.fromkeys(jobs[cell.id] for cell in cells if cell.id not in done))


def continuations(root: Path, cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that go on from others, with all those that train along: the members of each job of sources.

    Raises:
        StoreError: a source is in no job, because somebody removed it.
    """
    parts: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        job, members = _job_of_source(root, cell)
        # Continuations of one job to different lengths are different jobs.
        parts.setdefault(
            (job, cell.group()),
            [replace(cell, seed=seed, source=source) for source, seed in members.items()],
        )
    return list(parts.values())


def _job_of_source(root: Path, cell: Cell) -> tuple[str, dict[str, int]]:
    job = str(_read_cell(root / "cells" / str(cell.source) / "cell.json").get("job"))
    members = read_members(root / "jobs" / job)
    if members is None or cell.source not in members:
        raise StoreError(
            f"cell {cell.id[:12]} goes on from {str(cell.source)[:12]}, whose job is not in the store any more.",
            "Run without --extend trains it from the start.",
        )
    return job, members


def _with_seed(root: Path, cell: Cell, seed: int) -> Cell:
    """The cell that trains along with this one and has another seed."""
    if cell.init_from is not None:
        raise StoreError(
            f"cell {cell.id[:12]} trains together with seed {seed}, whose description is gone.",
            f"Ask for that seed too: --seeds {min(seed, cell.seed)}-{max(seed, cell.seed)}.",
        )
    if cell.source is None:
        return replace(cell, seed=seed)
    _, members = _job_of_source(root, cell)
    return replace(
        cell, seed=seed, source=next(source for source, of_source in members.items() if of_source == seed)
    )


def _read_cell(path: Path) -> dict[str, Any]:
    try:
        return durable.read(path) or {}
    except ValueError:
        return {}


def _cell_document(cell: Cell, job: str, created_ms: int) -> dict[str, Any]:
    return {"schema": SCHEMA, "cell": cell.id, **cell.to_json(), "job": job, "created_ms": created_ms}


def _job_document(cells: list[Cell]) -> dict[str, Any]:
    ids = [cell.id for cell in cells]
    seeds = [cell.seed for cell in cells]
    return {"schema": SCHEMA, "job": job_id(ids), "cells": ids, "seeds": seeds, "created_ms": now_ms()}


def _write_all(folder: Path, documents: list[tuple[Path, dict[str, Any]]]) -> None:
    """Write files into directories below `folder`, whose names become durable together."""
    if not documents:
        return
    durable.make_directory(folder)
    with durable.told(folder):
        for path, _ in documents:
            path.parent.mkdir(exist_ok=True)
    durable.write_many(documents)
    with durable.told(folder):
        durable.sync_directory(folder)


def _all_members(root: Path) -> Iterator[tuple[str, dict[str, int]]]:
    folder = root / "jobs"
    if folder.is_dir():
        for directory in sorted(folder.iterdir()):
            if (known := read_members(directory)) is not None:
                yield directory.name, known
