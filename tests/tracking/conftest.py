"""Stores with made-up results, written through the store's own parts, and MLflows to show them in."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from marlbench.catalog.cell import Cell
from marlbench.store import attempts, durable, validity
from marlbench.store.journal import Journal
from marlbench.store.locks import Lock
from marlbench.store.states import Failure
from marlbench.store.store import Store
from marlbench.tracking import database
from marlbench.tracking.target import DATABASE, VARIABLE

START = 1_700_000_000_000
EVALUATIONS = 4
STEPS = 4000


def make_cell(
    seed: int = 0,
    label: str = "ippo",
    task: str = "spread",
    suite: str = "tests",
    episodes: int = 3,
    **hyperparameters: Any,
) -> Cell:
    return Cell(
        suite=suite,
        task=task,
        task_revision=1,
        environment="fake",
        parameters={},
        backend="builtin",
        simulator="",
        data={},
        algorithm="ippo",
        algorithm_revision=1,
        hyperparameters={"learning_rate": 3e-4, "nested": {"layers": [64, 64]}, **hyperparameters},
        label=label,
        rows=16,
        dtype="float32",
        protocol={"kind": "episodic", "policy": "greedy", "evaluations": EVALUATIONS, "episodes": episodes},
        steps=STEPS,
        seed=seed,
        score={"metric": "return_mean", "low": -10.0, "high": 0.0, "source": "made up"},
    )


class Lab:
    """A store whose jobs are played by hand: `begin`, `train` to some evaluation, then `finish`, `end` or `kill`."""

    def __init__(self, root: Path) -> None:
        self.store = Store.open(root, create=True)
        self.root = self.store.root
        self.journals: dict[str, Journal] = {}
        self.jobs: dict[str, str] = {}
        self.locks: dict[str, Lock] = {}

    def begin(self, cell: Cell, started_ms: int = START) -> str:
        """A new attempt that holds the job's lock, and a new journal."""
        self.kill(cell)
        (job,) = self.store.claim([cell], slots=1, seeds_per_job=1)
        directory = self.store.cell_directory(cell.id)
        number = attempts.next_number([directory])
        attempts.begin([directory], number, job.id, "local", "cpu")
        self.journals[cell.id] = Journal.begin(directory / "journal.jsonl", cell.id, number, started_ms)
        self.jobs[cell.id] = job.id
        lock = Lock.take(self.store.job_directory(job.id) / "lock", patience=0.0)
        assert lock is not None
        self.locks[cell.id] = lock
        return cell.id

    def kill(self, cell: Cell) -> None:
        """The process is gone, without a word."""
        if cell.id in self.locks:
            self.locks.pop(cell.id).release()

    def train(self, cell: Cell, evaluations: range, covered: bool = True, extra: int = 0) -> None:
        """Write the records of some evaluations, and `extra` records of training; cover them by a checkpoint."""
        if cell.id not in self.journals:
            self.begin(cell)
        journal = self.journals[cell.id]
        for number in evaluations:
            step = STEPS * (number + 1) // EVALUATIONS
            line = {"attempt": journal.generation, "time_ms": START + 1000 * (number + 1), "step": step}
            value = -10 / (number + 1) - cell.seed / 7
            journal.append(
                **line,
                kind="evaluation",
                values={"return_mean": value, "score": 1 + value / 10},
                episodes={"return": [value - 1, value, value + 1]},
            )
            values = {"loss/policy": value / 3, "ratio": math.nan, "entropy": math.inf}
            journal.append(**line, kind="train", values=values)
            journal.append(**line, kind="performance", values={"steps_per_second": 1234.5})
            for index in range(extra):
                journal.append(
                    **{**line, "step": step + index}, kind="train", values={f"m{index % 7}": index / 3}
                )
        extent = journal.sync()
        if covered:
            self.cover(cell, extent.bytes)

    def cover(self, cell: Cell, size: int) -> None:
        document = {
            "covered": {cell.id: size},
            "generations": {cell.id: self.journals[cell.id].generation},
        }
        path = self.store.job_directory(self.jobs[cell.id]) / "progress.json"
        durable.write_json(path, document)

    def finish(self, cell: Cell, status: str = "completed", cpu_seconds: float = 9.0) -> None:
        """The absolute evaluation and result.json."""
        journal = self.journals[cell.id]
        line = {"attempt": journal.generation, "time_ms": START + 9000, "step": STEPS}
        journal.append(
            **line,
            kind="absolute",
            values={"return_mean": -2.5, "score": 0.75},
            episodes={"return": [-2, -3]},
        )
        extent = journal.sync()
        outcome = {
            "status": status,
            "steps": STEPS,
            "evaluations": [{"step": 1000 * (i + 1), "values": {}} for i in range(EVALUATIONS)],
            "final": {"return_mean": -2.6},
            "absolute": {"return_mean": -2.5},
            "parameters_sha256": "0" * 64,
            "resume": "exact",
        }
        execution = {
            "started_ms": START,
            "finished_ms": START + 10_000,
            "seconds": 10.0,
            "attempts": 1,
            "host": "here",
            "device": "cpu",
            "device_name": "a processor",
            "threads": 1,
            "versions": {"torch": "2.13.0", "python": "3.11"},
            "git_sha": "abcdef",
            "steps_per_second": 400.0,
            "cpu_seconds": cpu_seconds,
            "peak_memory_bytes": 1_000_000,
            "job": self.jobs[cell.id],
            "members": [cell.id],
            "engine": "local",
        }
        directory = self.store.cell_directory(cell.id)
        result = validity.make(cell.id, cell.identity(), outcome, extent, execution)
        durable.write_json(directory / validity.NAME, result)
        self.end(cell, status)

    def end(self, cell: Cell, outcome: str, failure: Failure | None = None) -> None:
        attempts.end(
            [self.store.cell_directory(cell.id)],
            self.journals[cell.id].generation,
            outcome,
            failure,
            "made up",
        )
        self.kill(cell)

    def complete(
        self, cell: Cell, status: str = "completed", extra: int = 0, cpu_seconds: float = 9.0
    ) -> None:
        """A cell from nothing to its result."""
        self.train(cell, range(EVALUATIONS), extra=extra)
        self.finish(cell, status, cpu_seconds)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, made once: making one takes seconds."""
    root = tmp_path_factory.mktemp("template")
    database.ensure(root, lambda line: None)
    return root / DATABASE


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def make_lab(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Lab]:
    """Makes labs, with a database or, for `bare`, without; the path has what paths may have."""
    monkeypatch.setattr(database, "_make", lambda path, root: shutil.copyfile(template, path))

    def make(name: str = "my résults", bare: bool = False) -> Lab:
        lab = Lab(tmp_path / name)
        if not bare:
            shutil.copyfile(template, lab.root / DATABASE)
        return lab

    return make


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab()


@pytest.fixture
def cell() -> Callable[..., Cell]:
    return make_cell


@pytest.fixture
def content_of() -> Callable[..., dict[str, Any]]:
    return read_content


def read_content(path: Path, suite: str = "tests", deleted: bool = False) -> dict[str, Any]:
    """Everything that an MLflow database shows of a suite, by name of the run, without MLflow's random ids."""
    stage = "deleted" if deleted else "active"
    with closing(sqlite3.connect(path)) as connection:
        runs = connection.execute(
            "SELECT run_uuid, runs.name, status, start_time, end_time, experiments.name FROM runs "
            "JOIN experiments USING (experiment_id) "
            "WHERE runs.lifecycle_stage = ? AND experiments.name = ? ORDER BY runs.name",
            (stage, f"marlbench/{suite}"),
        ).fetchall()
        shown: dict[str, Any] = {}
        for run, name, status, start, end, experiment in runs:
            assert name not in shown, f"{name} is there twice"
            columns = {
                "metrics": "key, timestamp, step, value",
                "params": "key, value",
                "tags": "key, value",
            }
            shown[name] = {
                table: sorted(
                    connection.execute(f"SELECT {names} FROM {table} WHERE run_uuid = ?", (run,)).fetchall()
                )
                for table, names in columns.items()
            }
            shown[name] |= {"status": status, "start": start, "end": end, "experiment": experiment}
            artifact = connection.execute(
                "SELECT artifact_uri FROM runs WHERE run_uuid = ?", (run,)
            ).fetchone()[0]
            shown[name]["files"] = {
                file.name: file.read_bytes() for file in sorted(Path(artifact).glob("*")) if file.is_file()
            }
    return shown


def journal_points(lab: Lab, cell_id: str) -> list[tuple[str, int, int, float]]:
    """What the journal on disk says, read without the code under test."""
    prefixes = {
        "evaluation": "eval/",
        "train": "train/",
        "performance": "perf/",
        "absolute": "final/absolute_",
    }
    found = []
    for line in (lab.root / "cells" / cell_id / "journal.jsonl").read_text().splitlines()[1:]:
        record = json.loads(line)
        for name, value in record["values"].items():
            if value is not None:
                key = prefixes[record["kind"]] + name.replace("/", "_")
                found.append((key, record["time_ms"], record["step"], value))
    return sorted(found)


@pytest.fixture
def points_of() -> Callable[[Lab, str], list[tuple[str, int, int, float]]]:
    return journal_points


@dataclass(frozen=True)
class Served:
    """A `marlbench ui` and the real MLflow server that it started on 127.0.0.1."""

    root: Path
    url: str
    database: Path
    process: subprocess.Popen[str]
    printed: str


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Served]:
    root = Store.open(tmp_path_factory.mktemp("served") / "a store", create=True).root
    shutil.copyfile(template, root / DATABASE)
    environment = {key: value for key, value in os.environ.items() if key not in (VARIABLE, "SSH_CONNECTION")}
    process = subprocess.Popen(
        [sys.executable, "-m", "marlbench", "ui", "--results", str(root)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        printed = process.stdout.readline()
        record = json.loads((root / "ui.json").read_text())
        yield Served(root, f"http://127.0.0.1:{record['port']}", root / DATABASE, process, printed)
        server = psutil.Process(record["pid"])
        workers = [server, *server.children(recursive=True)]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert "Ctrl-C ends the server" in process.stderr.read()
        assert not [worker for worker in workers if worker.is_running() and worker.status() != "zombie"]
        assert not (root / "ui.json").exists()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def shown(content_of: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    return lambda lab, **options: content_of(lab.root / "mlflow.db", **options)
