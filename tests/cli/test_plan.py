from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from marlbench.algorithms.base import Memory
from marlbench.algorithms.random_policy import RandomPolicy
from marlbench.catalog.matrix import Matrix, resolve
from marlbench.cli.plan import PROCESS_BYTES, Machine, Plan, make_plan, makespan
from marlbench.cli.plan_text import show_plan, to_json
from marlbench.engines.devices import Devices, Gpu
from marlbench.environments.matrix_games.game import MatrixGame
from marlbench.errors import STORE, USAGE, MarlbenchError
from marlbench.store.states import CellState, Failure, State
from marlbench.store.store import Store

GIB = 1 << 30
SUITE = """\
schema: 1
suite: small
title: Two tasks, two methods, four seeds
rows: 2
seeds: 4
steps: 40
protocol: {kind: episodic, policy: sampled, evaluations: 2, episodes: 2, absolute_episodes: 2}
algorithms:
  random: {}
  iql: {hyperparameters: {replay_steps: 200}}
tasks:
  stag:
    environment: matrix_game:stag_hunt
    parameters: {rounds: 5}
    score: {metric: return_mean, low: 0.0, high: 20.0, source: the test}
  chicken:
    environment: matrix_game:chicken
    parameters: {rounds: 5}
    score: {metric: return_mean, low: 0.0, high: 20.0, source: the test}
"""


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    path = tmp_path / "small.yaml"
    path.write_text(SUITE)
    return resolve([str(path)])


def machine(
    slots: int = 2, memory: int = 8 * GIB, disk: int = 8 * GIB, gpus: tuple[Gpu, ...] = ()
) -> Machine:
    return Machine(Devices("cuda" if gpus else "cpu", gpus), slots, memory, disk)


def sizes(plan: Plan) -> list[int]:
    return [job.members for job in plan.jobs]


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a job of `random` need so much for each of its seeds."""

    def set_needs(resident: int = 0, disk: int = 0) -> None:
        def estimate(cls: Any, specification: Any, hyperparameters: Any, rows: int, seeds: int) -> Memory:
            assert specification.agents
            assert rows == 2
            return Memory(resident * seeds, disk * seeds)

        monkeypatch.setattr(RandomPolicy, "estimate_memory", classmethod(estimate))

    return set_needs


def test_the_plan_of_an_empty_store(matrix: Matrix) -> None:
    plan = make_plan(matrix, None, machine())
    assert plan.counts == {"done": 0, "to_resume": 0, "to_run": 16, "running": 0, "damaged": 0}
    assert sizes(plan) == [4, 4, 4, 4]
    assert plan.steps == plan.steps_left == 16 * 40
    assert plan.seconds is None
    assert plan.memory is not None
    assert plan.memory.disk > 0


def test_seeds_are_spread_over_idle_slots(matrix: Matrix) -> None:
    assert sizes(make_plan(matrix, None, machine(slots=8))) == [2] * 8


def test_seeds_per_job_is_a_users_choice(matrix: Matrix) -> None:
    assert sizes(make_plan(matrix, None, machine(slots=16), seeds_per_job=3)) == [2] * 8
    assert sizes(make_plan(matrix, None, machine(slots=1), seeds_per_job=1)) == [1] * 16


def test_no_more_seeds_than_one_environment_has_rows_for(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MatrixGame, "maximum_rows", 5)
    assert sizes(make_plan(matrix, None, machine(slots=1))) == [2] * 8
    monkeypatch.setattr(MatrixGame, "maximum_rows", 1)
    assert sizes(make_plan(matrix, None, machine(slots=1))) == [1] * 16


def test_more_rows_than_an_environment_should_have_are_told(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = matrix.cells[0].rows
    show_plan(make_plan(matrix, None, machine()), tmp_path)
    assert "  rows  " not in capsys.readouterr().err
    monkeypatch.setattr(MatrixGame, "maximum_rows", rows)
    show_plan(make_plan(matrix, None, machine()), tmp_path)
    assert "  rows  " not in capsys.readouterr().err
    monkeypatch.setattr(MatrixGame, "maximum_rows", rows - 1)
    show_plan(make_plan(matrix, None, machine()), tmp_path)
    told = " ".join(capsys.readouterr().err.split())
    cell = matrix.cells[0]
    assert f"rows {rows} a seed of {cell.label}/{cell.task}" in told
    assert f"should have at most {rows - 1}:" in told


def test_a_claim_makes_the_jobs_of_the_plan(matrix: Matrix, tmp_path: Path, needs: Any) -> None:
    needs(resident=GIB)
    store = Store.open(tmp_path / "results", create=True)
    plan = make_plan(matrix, store, machine(memory=3 * GIB))
    assert sorted(sizes(plan)) == [2, 2, 2, 2, 4, 4]
    jobs = [job for cells, seeds in plan.claims for job in store.claim(cells, plan.machine.slots, seeds)]
    planned = [tuple(cell.id for cell in job.cells) for job in plan.jobs]
    assert sorted(job.cells for job in jobs) == sorted(planned)
    again = make_plan(matrix, store, machine(memory=3 * GIB))
    assert sorted(job.job.id for job in again.jobs if job.job) == sorted(job.id for job in jobs)
    assert again.counts["to_run"] == 16


def test_what_does_not_fit_into_memory_is_split(matrix: Matrix, needs: Any) -> None:
    needs(resident=GIB)
    free = PROCESS_BYTES["cpu"] + 3 * GIB
    plan = make_plan(matrix, None, machine(memory=free))
    assert sorted(sizes(plan)) == [2, 2, 2, 2, 4, 4]
    needs(disk=GIB)
    plan = make_plan(matrix, None, machine(disk=GIB))
    assert sizes(plan).count(1) == 8


@pytest.mark.parametrize(
    ("resident", "disk", "gpus", "code", "words"),
    [
        (9 * GIB, 0, (), USAGE, "of memory; 8.0 GiB are free"),
        (0, 9 * GIB, (), STORE, "9.0 GiB of disk; 8.0 GiB are free"),
        (3 * GIB, 0, (Gpu("0", "a", "X", 2 * GIB),), USAGE, "3.0 GiB of GPU memory; 2.0 GiB are free"),
    ],
)
def test_what_fits_nowhere_is_refused(
    matrix: Matrix, needs: Any, resident: int, disk: int, gpus: tuple[Gpu, ...], code: int, words: str
) -> None:
    needs(resident, disk)
    with pytest.raises(MarlbenchError) as caught:
        make_plan(matrix, None, machine(gpus=gpus))
    assert caught.value.exit_code == code
    assert words in str(caught.value)
    assert "random/stag seed 0" in str(caught.value)
    assert caught.value.hint


def test_a_job_that_was_begun_is_not_split_but_refused(matrix: Matrix, tmp_path: Path, needs: Any) -> None:
    store = Store.open(tmp_path / "results", create=True)
    store.claim(matrix.cells, 1)
    needs(resident=3 * GIB)
    with pytest.raises(MarlbenchError, match="12 GiB of memory") as caught:
        make_plan(matrix, store, machine())
    assert "begun" in caught.value.hint


def test_tensors_on_a_gpu_need_no_main_memory(matrix: Matrix, needs: Any) -> None:
    needs(resident=6 * GIB)
    gpus = (Gpu("0", "a", "X", 80 * GIB),)
    plan = make_plan(matrix, None, machine(slots=1, memory=4 * GIB, gpus=gpus))
    assert sizes(plan) == [4] * 4
    assert plan.machine.demand(plan.memory).memory == PROCESS_BYTES["cuda"]


def test_simulators_of_others_are_not_started_for_an_estimate(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marlbench.environments.matrix_games.game import MatrixGame

    def start(*arguments: Any) -> None:
        raise AssertionError("it was started")

    monkeypatch.setattr(MatrixGame, "backend", "sc2")
    monkeypatch.setattr(MatrixGame, "__init__", start)
    plan = make_plan(matrix, None, machine())
    assert plan.memory is None
    assert len(plan.jobs) == 4


def test_states_are_counted_by_what_follows(matrix: Matrix) -> None:
    states = {cell.id: CellState(State.PLANNED, "not started yet") for cell in matrix.cells}
    ids = list(states)
    states[ids[0]] = CellState(State.DONE, "done", "completed")
    states[ids[1]] = CellState(State.DAMAGED, "it was changed by hand")
    states[ids[2]] = CellState(State.RUNNING, "running")
    states[ids[3]] = CellState(State.FAILED, "no", failure=Failure.EXCEPTION)
    plan = make_plan(matrix, None, machine(), states=states)
    assert plan.counts == {"done": 1, "to_resume": 0, "to_run": 13, "running": 1, "damaged": 1}
    assert plan.failed_before == 1
    assert plan.steps_left == 15 * 40


def test_what_was_begun_is_resumed_from_where_it_is(matrix: Matrix, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "results", create=True)
    job = store.claim(matrix.cells, 1)[0]
    (job.directory / "checkpoint.pt").touch()
    (job.directory / "progress.json").write_text(json.dumps({"steps": 30, "total_steps": 40}))
    plan = make_plan(matrix, store, machine())
    assert plan.counts["to_resume"] == 4
    assert plan.counts["to_run"] == 12
    assert plan.steps_left == 12 * 40 + 4 * 10


def test_the_makespan_is_that_of_a_queue() -> None:
    assert makespan([], 2) == 0
    assert makespan([3.0, 3.0, 3.0], 1) == 9
    assert makespan([1.0, 5.0, 1.0, 1.0], 2) == 5
    assert makespan([4.0, 1.0, 2.0], 2) == 4


class Paced:
    """A store that has seen some tasks."""

    def __init__(self, store: Store, speeds: dict[str, float]) -> None:
        self._store, self._speeds = store, speeds
        self.states, self.jobs, self.progress = store.states, store.jobs, store.progress

    def speed(self, suite: str, task: str, backend: str, algorithm: str, device: str) -> float | None:
        assert (suite, backend, device) == ("small", "builtin", "cpu")
        return self._speeds.get(f"{task}/{algorithm}")


def test_time_is_estimated_from_earlier_runs(
    matrix: Matrix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store: Any = Paced(Store.open(tmp_path / "results", create=True), {"stag/random": 4.0, "stag/iql": 1.0})
    some = make_plan(matrix, store, machine())
    assert some.seconds is None
    assert some.known_seconds == 40
    show_plan(some, tmp_path)
    assert "about 40 s, by earlier runs, for 2 of 4 jobs; the others' is unknown" in capsys.readouterr().err
    store = Paced(
        store._store, dict.fromkeys(("stag/random", "stag/iql", "chicken/random", "chicken/iql"), 1.0)
    )
    assert make_plan(matrix, store, machine()).seconds == 80


def test_the_plan_in_words(matrix: Matrix, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [cell.id for cell in matrix.cells]
    states = {cell: CellState(State.PLANNED, "not started yet") for cell in ids}
    states[ids[1]] = CellState(State.DAMAGED, "the outcome was [changed]")
    show_plan(make_plan(matrix, None, machine(), states=states), tmp_path / "results")
    out, said = capsys.readouterr()
    assert not out
    suite = matrix.suites[0]
    assert f"small: {suite.found.path} (given path), sha256 {suite.sha256[:12]}" in said
    assert "16: 0 done, 0 to resume, 15 to run, 1 damaged" in said
    assert "random/stag/s1: the outcome was [changed]" in said
    assert "640 of 640 to go" in said
    assert "4 jobs of 4 seeds each, 2 at once on the CPU" in said
    assert "time    unknown" in said
    assert str(tmp_path / "results") in said


def test_a_plan_with_nothing_to_do_says_so(
    matrix: Matrix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = {cell.id: CellState(State.DONE, "done", "completed") for cell in matrix.cells}
    plan = make_plan(matrix, None, machine(), states=states)
    assert not plan.jobs
    show_plan(plan, tmp_path)
    assert "Nothing to do: every cell is done." in capsys.readouterr().err


def test_the_plan_as_json(matrix: Matrix, tmp_path: Path) -> None:
    document = to_json(make_plan(matrix, None, machine()), tmp_path)
    assert json.loads(json.dumps(document)) == document
    assert document["schema"] == 1
    assert document["matrix_id"] == matrix.id
    assert (document["cells"], document["to_run"], document["jobs"]) == (16, 16, 4)
    assert document["seconds"] is None
    assert document["memory_bytes"] >= PROCESS_BYTES["cpu"]


def test_a_plan_over_a_read_only_store_writes_nothing(matrix: Matrix, tmp_path: Path) -> None:
    root = tmp_path / "results"
    job = Store.open(root, create=True).claim(matrix.cells, 1)[0]
    # A result that cannot be read is found damaged, which a store that may be written remembers.
    result = root / "cells" / job.cells[0] / "result.json"
    result.write_text("{}")
    os.utime(result, (1, 1))
    files = sorted(root.rglob("*"))
    plan = make_plan(matrix, Store.open(root, read_only=True), machine())
    assert plan.counts["damaged"] == 1
    assert sorted(root.rglob("*")) == files
    make_plan(matrix, Store.open(root), machine())
    assert (root / "index.sqlite").exists()
    with pytest.raises(MarlbenchError):
        Store.open(root, read_only=True).claim(matrix.cells, 1)
