"""Results with evaluations and episodes, of cells that nobody trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from marlbench.catalog.cell import Cell
from marlbench.store import durable, validity
from marlbench.store.journal import Journal
from marlbench.store.store import Store

EPISODES = 6
Record = Callable[..., None]


@pytest.fixture
def record(suite: Path, store: Store) -> Record:
    """Gives cells a result: evaluations that rise to a value, and episodes around it; None diverges half-way."""

    def write(cells: Sequence[Cell], values: Sequence[float | None], **execution: Any) -> None:
        store.claim(cells, slots=1)
        for cell, value in zip(cells, values, strict=True):
            _write(store, cell, value, execution)

    return write


def _write(store: Store, cell: Cell, value: float | None, execution: dict[str, Any]) -> None:
    directory = store.cell_directory(cell.id)
    metric, count = cell.score["metric"], cell.protocol["evaluations"]
    journal = Journal.begin(directory / "journal.jsonl", cell.id, attempt=1, time_ms=1)
    end = -3.0 if value is None else value
    evaluations = []
    for number in range(1, count + 1 if value is not None else 2):
        step, reached = cell.steps * number // count, end - (count - number)
        evaluations.append({"step": step, "values": {metric: reached}})
        journal.append(attempt=1, time_ms=2, kind="evaluation", step=step, values={metric: reached})
    if value is not None:
        episodes = {metric: [value + episode - (EPISODES - 1) / 2 for episode in range(EPISODES)]}
        line = {"attempt": 1, "time_ms": 3, "step": cell.steps}
        journal.append(**line, kind="absolute", values={metric: value}, episodes=episodes)
    extent = journal.sync()
    journal.close()
    outcome = {
        "status": "diverged" if value is None else "completed",
        "steps": cell.steps,
        "evaluations": evaluations,
        "final": evaluations[-1]["values"],
        "absolute": {} if value is None else {metric: value},
        "parameters_sha256": "0" * 64,
        "resume": "exact",
    }
    circumstances = {
        "device": "cpu",
        "device_name": "a processor",
        "engine": "local",
        "threads": 1,
        "git_sha": "c" * 40,
        "versions": {"marlbench": "1", "python": "3.11.7", "torch": "2.13.0+cpu", "numpy": "2.4.6"},
        "seconds": 36.0,
        "cpu_seconds": 72.0,
        "steps_per_second": 1000.0,
        "peak_memory_bytes": 1 << 30,
        "members": [cell.id],
        "finished_ms": 1_700_000_000_000,
        **execution,
    }
    document = validity.make(cell.id, cell.identity(), outcome, extent, circumstances)
    durable.write_json(directory / validity.NAME, document)
