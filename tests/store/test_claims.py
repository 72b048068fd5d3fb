from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlbench.errors import StoreError
from marlbench.store import attempts, claims, durable, locks
from marlbench.store.states import State
from marlbench.store.store import Store

from .fake_cells import make_cell


def seeds(store: Store) -> list[list[int]]:
    """The seeds of every job, in order."""
    return sorted([store.cell(cell).cell.seed for cell in job.cells] for job in store.jobs())


@pytest.mark.parametrize(
    ("count", "slots", "per_job", "parts"),
    [
        (5, 1, None, [[0, 1, 2, 3, 4]]),
        (5, 2, None, [[0, 1], [2, 3, 4]]),
        (5, 16, None, [[0], [1], [2], [3], [4]]),
        (5, 16, 2, [[0], [1, 2], [3, 4]]),
        (5, 1, 9, [[0, 1, 2, 3, 4]]),
    ],
)
def test_seeds_are_divided_to_fill_the_slots(
    store: Store, count: int, slots: int, per_job: int | None, parts: list[list[int]]
) -> None:
    cells = [make_cell(seed) for seed in range(count)]
    random.Random(1).shuffle(cells)
    jobs = store.claim(cells, slots, per_job)
    assert seeds(store) == parts
    assert {job.id for job in jobs} == {job.id for job in store.jobs()}


def test_slots_are_shared_by_the_groups(store: Store) -> None:
    cells = [make_cell(seed, kind=kind) for seed in range(4) for kind in "ab"]
    store.claim(cells, slots=4)
    assert seeds(store) == [[0, 1], [0, 1], [2, 3], [2, 3]]


@given(
    counts=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    slots=st.integers(0, 20),
    per_job=st.none() | st.integers(1, 8),
)
def test_every_cell_is_in_one_part_with_its_own_group(
    counts: list[int], slots: int, per_job: int | None
) -> None:
    cells = [make_cell(seed, kind=kind) for kind, count in enumerate(counts) for seed in range(count)]
    parts = claims.divide(cells, slots, per_job)
    assert sorted(cell.id for part in parts for cell in part) == sorted(cell.id for cell in cells)
    for part in parts:
        assert len({cell.group() for cell in part}) == 1
        assert [cell.seed for cell in part] == sorted(cell.seed for cell in part)
        assert per_job is None or len(part) <= per_job
    if per_job is None:
        assert len(parts) <= max(slots, len(counts))


def test_claiming_again_changes_nothing(store: Store) -> None:
    cells = [make_cell(seed) for seed in range(3)]
    first = store.claim(cells, slots=1)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.json")}
    assert store.claim(list(reversed(cells)) + cells, slots=8) == first
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*.json")} == before


def test_a_claimed_cell_stays_in_its_job(store: Store) -> None:
    (first,) = store.claim([make_cell(seed) for seed in (0, 1)], slots=1)
    jobs = store.claim([make_cell(seed) for seed in (1, 2, 3)], slots=1)
    assert jobs[0] == first
    assert seeds(store) == [[0, 1], [2, 3]]


def test_a_changed_label_or_score_reaches_the_store_without_a_new_job(store: Store) -> None:
    cell = make_cell()
    store.claim([cell], slots=1)
    renamed = make_cell(label="renamed")
    renamed.score["high"] = 5.0
    assert renamed.id == cell.id
    store.claim([renamed], slots=1)
    assert store.cell(cell.id).cell.label == "renamed"
    assert store.cell(cell.id).cell.score["high"] == 5.0
    assert len(list(store.jobs())) == 1


def test_a_crash_between_cells_and_job_is_repaired(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [make_cell(seed) for seed in range(3)]
    real = durable.write_many

    def stop_before_jobs(documents: list) -> None:
        if documents[0][0].name == "job.json":
            raise KeyboardInterrupt
        real(documents)

    monkeypatch.setattr(durable, "write_many", stop_before_jobs)
    with pytest.raises(KeyboardInterrupt):
        store.claim(cells, slots=1)
    monkeypatch.undo()
    assert all(state.state is State.PLANNED for state in store.states(c.id for c in cells).values())
    # Another selection comes first: no cell may end up in two jobs.
    store.claim(cells[:1], slots=1)
    store.claim(cells, slots=1)
    assert seeds(store) == [[0], [1, 2]]


@pytest.mark.parametrize("damage", ["missing", "empty", "not json", "another cell's", "no directory"])
def test_a_lost_cell_json_is_written_again_for_the_same_job(store: Store, damage: str) -> None:
    cells = [make_cell(seed) for seed in range(3)]
    (job,) = store.claim(cells, slots=1)
    path = store.root / "cells" / cells[0].id / "cell.json"
    other = path.parent.with_name(cells[1].id) / "cell.json"
    match damage:
        case "missing":
            path.unlink()
        case "no directory":
            shutil.rmtree(path.parent)
        case "another cell's":
            path.write_bytes(other.read_bytes())
        case _:
            path.write_text("" if damage == "empty" else "{")
    with pytest.raises(StoreError):
        store.cell(cells[0].id)
    assert [entry.id for entry in store.cells()] == sorted(cell.id for cell in cells[1:])
    # Asking for another member is enough.
    wanted = cells[1:2] if damage in ("missing", "no directory") else cells
    assert store.claim(wanted, slots=3) == [job]
    assert store.cell(cells[0].id).cell == cells[0]


def test_a_lost_job_json_makes_a_new_job(store: Store) -> None:
    cells = [make_cell(seed) for seed in range(3)]
    (job,) = store.claim(cells, slots=1)
    (job.directory / "job.json").write_text("{}")
    with pytest.raises(StoreError, match="there is no job"):
        store.job(job.id)
    assert len(store.claim(cells, slots=3)) == 3
    assert seeds(store) == [[0], [1], [2]]


def test_a_stolen_cell_json_does_not_put_a_cell_into_a_foreign_job(store: Store) -> None:
    store.claim([make_cell(0)], slots=1)
    (other,) = store.claim([make_cell(1)], slots=1)
    path = store.root / "cells" / make_cell(0).id / "cell.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"job": other.id}))
    (job,) = store.claim([make_cell(0)], slots=1)
    assert job.cells == (make_cell(0).id,)


def test_overlapping_runs_never_put_a_cell_into_two_jobs(store: Store) -> None:
    program = (
        "import sys, random; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from fake_cells import make_cell\n"
        "from marlbench.store.store import Store\n"
        "chance = random.Random(int(sys.argv[3])); store = Store.open(Path(sys.argv[2]))\n"
        "for _ in range(4):\n"
        "    wanted = chance.sample(range(24), 8)\n"
        "    store.claim([make_cell(seed) for seed in wanted], slots=chance.randrange(1, 5))\n"
    )
    arguments = [sys.executable, "-c", program, str(Path(__file__).parent), str(store.root)]
    processes = [subprocess.Popen([*arguments, str(number)]) for number in range(3)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    members = list(itertools.chain.from_iterable(job.cells for job in store.jobs()))
    assert len(members) == len(set(members)) > 12
    for entry in store.cells():
        assert entry.id in store.job(entry.job).cells


def test_attempts_of_dead_processes_get_their_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = make_cell()
    (job,) = store.claim([cell], slots=1)
    (job.directory / "lock").touch()
    folder = store.root / "cells" / cell.id
    attempts.begin([folder], 1, job.id, "local", "cpu")
    lock = locks.Lock.take(job.directory / "lock", patience=0)
    assert lock is not None
    (running,) = store.claim([cell], slots=1)
    assert running.running
    assert store.attempts(cell.id)[0]["outcome"] is None
    lock.release()
    store.claim([cell], slots=1)
    assert store.attempts(cell.id)[0]["outcome"] == "failed"
    assert store.attempts(cell.id)[0]["failure"] == "signal"

    attempts.begin([folder], 2, job.id, "local", "cpu")
    monkeypatch.setattr(attempts, "boot_id", lambda: "after a restart")
    store.claim([cell], slots=1)
    assert store.attempts(cell.id)[1]["outcome"] == "interrupted"
    assert "restarted" in store.states([cell.id])[cell.id].detail

    attempts.begin([folder], 3, job.id, "local", "cpu")
    store.reconcile(job.id, reason="stopped by its scheduler")
    assert store.states([cell.id])[cell.id].state is State.INTERRUPTED
    assert store.states([cell.id])[cell.id].detail == "stopped by its scheduler"
    assert attempts.next_number([folder]) == 4


def test_a_directory_that_cannot_be_written(machine: Path) -> None:
    store = Store.open(machine / "results", create=True)
    store.root.chmod(0o555)
    # Root may write everywhere, so it becomes somebody else in a process of its own.
    if (child := os.fork()) == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            store.claim([make_cell()], slots=1)
        except StoreError as error:
            os._exit(
                error.exit_code if "Permission denied" in str(error) and "--results" in error.hint else 98
            )
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6
    store.root.chmod(0o755)
