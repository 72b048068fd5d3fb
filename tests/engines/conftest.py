from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from marlbench.engines.jobs import Report
from marlbench.engines.local import LocalEngine
from marlbench.engines.slots import Slots
from marlbench.store.states import Job

from .fakes import FakeStore, Run, Witness, make


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(tmp_path)


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    engine = LocalEngine()
    yield engine
    engine.close()


@pytest.fixture
def run(store: FakeStore, engine: LocalEngine) -> Run:
    def run(jobs: Sequence[Job], slots: Slots | None = None, **options: Any) -> tuple[Report, Witness]:
        scheduler, witness = make(store, engine, slots, **options)
        return scheduler.run(jobs, [cell for job in jobs for cell in job.cells]), witness

    return run
