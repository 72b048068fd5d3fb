"""A suite on plug-ins that do nothing, and a store with results that nobody trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from marlbench import plugins
from marlbench.catalog.cell import Cell
from marlbench.cli import main
from marlbench.plugins import Plugin
from marlbench.store import durable, journal, validity
from marlbench.store.store import Store

SUITE = """\
schema: 1
suite: small
title: A small suite
rows: 4
seeds: 3
steps: 1000
protocol: {kind: episodic, policy: greedy, evaluations: 2}
presets:
  smoke:
    label: not a comparison
    seeds: 1
    steps: 100
    protocol: {episodes: 2}
  short:
    steps: 500
algorithms:
  first: {}
  second: {hyperparameters: {rate: 2.0}}
  third: {hyperparameters: {rate: 3.0}, tasks: [walk]}
tasks:
  walk:
    environment: walking
    score: {metric: return_mean, low: -10, high: 0, source: a coin}
  sail:
    environment: walking
    revision: 2
    parameters: {agents: 3}
    score: {metric: delay, low: 100, high: 0, source: a coin}
  read:
    environment: reading
    score: {metric: words, low: 0, high: 50, source: a coin}
"""


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rate: float = 1.0


class Learner:
    revision = 1
    Hyperparameters = Settings


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")
    agents: int = 2


class Walking:
    backend = "builtin"
    argument: ClassVar[str | None] = None
    Parameters: ClassVar[type[BaseModel]] = Parameters

    @classmethod
    def simulator_version(cls, parameters: BaseModel) -> str:
        return ""

    @classmethod
    def data_hashes(cls, parameters: BaseModel) -> dict[str, str]:
        return {}


class Reading(Walking):
    backend = "library"


class FakeEntryPoint:
    def __init__(self, target: Any) -> None:
        self.target = target

    def load(self) -> Any:
        return self.target


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the suite above, in the working directory's ./suites."""
    known: dict[str, dict[str, Plugin]] = {group: {} for group in plugins.GROUPS}
    known["engines"] |= plugins.plugins("engines")
    found = [("algorithms", name, Learner) for name in ("first", "second", "third")]
    found += [("environments", "walking", Walking), ("environments", "reading", Reading)]
    for group, name, target in found:
        entry_point: Any = FakeEntryPoint(target)
        known[group][name] = Plugin(group, name, f"tests:{name}", "tests", entry_point)
    monkeypatch.setattr(plugins, "plugins", known.__getitem__)
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "small.yaml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("MARLBENCH_SUITES", "MARLBENCH_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "suites" / "small.yaml"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store in ./results."""
    return Store.open(tmp_path / "results", create=True)


Finish = Callable[..., None]


@pytest.fixture
def finish(store: Store) -> Finish:
    """Gives cells a result as a job would: the values of their metric, in their order."""

    def write(cells: Sequence[Cell], values: Sequence[float | None], **execution: Any) -> None:
        store.claim(cells, slots=1)
        for cell, value in zip(cells, values, strict=True):
            write_result(store, cell, value, **execution)

    return write


def write_result(store: Store, cell: Cell, value: float | None, **execution: Any) -> None:
    """A valid result; None for one that diverged."""
    directory = store.cell_directory(cell.id)
    header = {"kind": "header", "schema": 1, "cell": cell.id, "attempt": 1, "time_ms": 1, "generation": 1}
    (directory / journal.NAME).write_text(json.dumps(header) + "\n")
    evaluations = cell.protocol["evaluations"] if value is not None else 0
    # The last evaluation is not what counts where there is an absolute one.
    last = {cell.score["metric"]: -777.0}
    outcome = {
        "status": "diverged" if value is None else "completed",
        "steps": cell.steps,
        "evaluations": [{"step": cell.steps, "values": last}] * evaluations,
        "final": last if value is not None else {},
        "absolute": {} if value is None else {cell.score["metric"]: value},
        "parameters_sha256": "0" * 64,
        "resume": "exact",
    }
    circumstances = {
        "device": "cpu",
        "engine": "local",
        "threads": 1,
        "git_sha": None,
        "versions": {"marlbench": "1", "torch": "2.13.0"},
        **execution,
    }
    extent = journal.measure(directory / journal.NAME)
    document = validity.make(cell.id, cell.identity(), outcome, extent, circumstances)
    durable.write_json(directory / validity.NAME, document)


@pytest.fixture
def typed(suite: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Types a command line; gives the exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["marlbench", *words])
        with pytest.raises(SystemExit) as end:
            main(words)
        captured = capsys.readouterr()
        code = end.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return run
