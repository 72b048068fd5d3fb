"""Pictures come after results: whatever happens to them, a cell that is done stays done."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from marlbench.store import pictures
from marlbench.store.states import State
from marlbench.store.store import Store

from .conftest import Server
from .fake_cells import make_cell
from .long_cells import log, only, state


def test_pictures_belong_to_the_result_they_were_made_with(server: Server, machine: Path) -> None:
    cell = make_cell()
    assert server.run(machine / "results", [cell]) == 0
    store = Store.open(machine / "results")
    folder, result = store.cell(cell.id).directory, store.result(cell.id)
    (film,) = pictures.of(folder, result)
    assert film.name == "episode.gif"
    assert film.read_bytes() == f"GIF89a of {cell.seed}".encode()
    assert not pictures.of(folder, {**result, "outcome_sha256": "of another training"})
    record = json.loads((folder / pictures.RECORD).read_text())
    (folder / pictures.RECORD).write_text(json.dumps(record | {"files": ["../cell.json", "gone.gif", 3]}))
    assert not pictures.of(folder, result)
    (folder / pictures.RECORD).write_text("not JSON")
    assert not pictures.of(folder, result)


@pytest.mark.parametrize(("draw", "code"), [("exception", 0), ("exit", 0), ("crash", -signal.SIGSEGV)])
def test_a_picture_that_cannot_be_made_harms_nothing(
    server: Server, machine: Path, draw: str, code: int
) -> None:
    cell = make_cell(draw=draw)
    assert server.run(machine / "results", [cell]) == code
    store = Store.open(machine / "results")
    assert state(store, cell).state is State.DONE
    assert not pictures.of(store.cell(cell.id).directory, store.result(cell.id))
    assert not store.running(only(store).id)
    if draw == "exception":
        assert "there is nothing to see" in log(store)
    # Nothing is left to do, and nothing goes wrong then either.
    assert server.run(machine / "results", [cell]) == 0


def test_jobs_that_took_hardly_any_time_have_no_pictures(server: Server, machine: Path) -> None:
    cell = make_cell()
    assert server.run(machine / "results", [cell], pictures_from=1e9) == 0
    store = Store.open(machine / "results")
    assert state(store, cell).state is State.DONE
    assert not (store.cell(cell.id).directory / pictures.RECORD).exists()
