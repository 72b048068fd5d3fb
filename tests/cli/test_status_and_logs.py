from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from marlbench.catalog.matrix import Matrix, resolve
from marlbench.errors import STORE, USAGE
from marlbench.store import attempts
from marlbench.store.states import Failure, Job
from marlbench.store.store import Store

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def matrices(two_suites: Path) -> dict[str, Matrix]:
    return {name: resolve([str(two_suites / f"{name}.yaml")]) for name in ("first", "second")}


@pytest.fixture
def jobs(typed: Typed, tmp_path: Path, matrices: dict[str, Matrix]) -> dict[str, Job]:
    """The jobs of two suites in the store of the current directory."""
    store = Store.open(tmp_path / "results", create=True)
    return {name: store.claim(matrix.cells, 1)[0] for name, matrix in matrices.items()}


def begin(job: Job) -> None:
    """An attempt at all members that has no end."""
    cells = [job.directory.parent.parent / "cells" / cell for cell in job.cells]
    attempts.begin(cells, 1, job.id, "local", "cpu")
    (job.directory / "lock").touch()


def test_status_counts_all_or_some_suites(typed: Typed, jobs: dict[str, Job]) -> None:
    code, out, _ = typed("status")
    assert code == 0
    assert "4 cells: 4 planned" in out
    assert out.count("random") == 2
    code, out, _ = typed("status", "second", "--json")
    document = json.loads(out)
    assert (document["schema"], document["cells"], document["states"]) == (1, 2, {"planned": 2})
    assert document["rows"] == [
        {"suite": "second", "task": "stag", "algorithm": "random", "states": {"planned": 2}}
    ]
    code, _, said = typed("status", "secnd")
    assert code == USAGE
    assert "Did you mean 'second'?" in said


def test_status_without_a_store_says_so(typed: Typed) -> None:
    code, out, said = typed("status")
    assert (code, out) == (STORE, "")
    assert "there is no store" in said


def test_status_reconciles_what_died(typed: Typed, jobs: dict[str, Job], tmp_path: Path) -> None:
    begin(jobs["first"])
    document = json.loads(typed("status", "--json")[1])
    assert "running" not in document["states"]
    store = Store.open(tmp_path / "results")
    (record,) = store.attempts(jobs["first"].cells[0])
    assert record["outcome"] is not None


def test_status_shows_running_jobs(typed: Typed, jobs: dict[str, Job]) -> None:
    job = jobs["first"]
    begin(job)
    progress = {
        "pid": 7,
        "attempt": 1,
        "steps": 10,
        "total_steps": 40,
        "steps_per_second": 50.0,
        "time_ms": 0,
    }
    progress["last"] = {"metric": "return_mean", "value": 3.5}
    with (job.directory / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "running: random/stag seeds 0-1, starting" in typed("status")[1]
        (job.directory / "progress.json").write_text(json.dumps(progress))
        out = typed("status")[1]
        assert "running: random/stag seeds 0-1, 25 % · 100 steps/s · return_mean 3.5" in out
        (active,) = json.loads(typed("status", "--json")[1])["active"]
        assert (active["job"], active["seeds"], active["progress"]["steps"]) == (job.id, [0, 1], 10)
        (job.directory / "progress.json").write_text('{"steps": "x"}')
        assert json.loads(typed("status", "--json")[1])["active"][0]["progress"] is None


def test_status_names_cells_in_trouble(typed: Typed, jobs: dict[str, Job], tmp_path: Path) -> None:
    begin(jobs["second"])
    Store.open(tmp_path / "results").reconcile(jobs["second"].id, Failure.MEMORY, "no [room] left")
    out = typed("status")[1]
    cell = jobs["second"].cells[0]
    assert f"failed: random/stag/s0 ({cell[:12]}): memory: no [room] left" in out
    assert f"logs {cell[:12]} shows more" in out


def test_logs_finds_cells_and_jobs(typed: Typed, jobs: dict[str, Job], tmp_path: Path) -> None:
    job = jobs["first"]
    begin(job)
    Store.open(tmp_path / "results").reconcile(job.id, Failure.SIGNAL, "it was [killed]")
    (job.directory / "log.txt").write_text("".join(f"line {number}\n" for number in range(100)))
    for subject in (job.id, job.id[:8], job.cells[0], job.cells[0][:10], "first/stag/random/s0"):
        code, out, _ = typed("logs", subject, "-n", "2")
        assert code == 0
        lines = out.splitlines()
        assert lines[-2:] == ["line 98", "line 99"]
        assert "line 97" not in out
        assert lines[1].startswith("  attempt 1: ")
        assert lines[1].endswith("failed, signal: it was [killed]")
        assert lines[2] == f"  log: {job.directory / 'log.txt'}"
    assert len(typed("logs", job.id)[1].splitlines()) == 3 + 50
    assert "random/stag seeds 0-1" in typed("logs", job.id)[1]


def test_logs_of_what_never_started(typed: Typed, jobs: dict[str, Job]) -> None:
    code, out, _ = typed("logs", jobs["first"].id, "--follow")
    assert code == 0
    assert "not started yet" in out


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("random/stag/s0", "2 cells are called 'random/stag/s0'"),
        ("random/stag/s9", "no cell called 'random/stag/s9'"),
        ("stag", "neither the id of a cell nor the name of one"),
        ("", "neither the id of a cell nor the name of one"),
        ("random/stag", "it names no seed"),
        ("0123456789abcdef0", "has an id that begins with"),
    ],
)
def test_logs_says_what_it_cannot_find(typed: Typed, jobs: dict[str, Job], subject: str, words: str) -> None:
    code, out, said = typed("logs", subject)
    assert (code, out) == (USAGE, "")
    assert words in said


def test_logs_asks_for_more_digits(typed: Typed, tmp_path: Path, matrices: dict[str, Matrix]) -> None:
    # Of 17 ids two begin with the same of 16 digits.
    cells = resolve([str(matrices["first"].suites[0].found.path)], seeds=tuple(range(17))).cells
    Store.open(tmp_path / "results", create=True).claim(cells, 1)
    digits = [cell.id[0] for cell in cells]
    first = max(digits, key=digits.count)
    code, _, said = typed("logs", first)
    assert code == USAGE
    assert f"ids begin with '{first}'" in said
