"""`marlbench tune` on cells that nobody trains: the score is a known function of the hyperparameter."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from marlbench.catalog.matrix import Matrix, resolve
from marlbench.catalog.types import TUNING_SEED
from marlbench.cli import main
from marlbench.cli.engine_options import EngineChoice
from marlbench.engines.jobs import CellFailure, Report
from marlbench.errors import CELLS_FAILED, CONFIGURATION, USAGE
from marlbench.store.states import Failure, State
from marlbench.store.store import Store

from .conftest import write_result

pytest.importorskip("optuna")

TUNE = ("tune", "small", "--algorithm", "first", "--task", "walk", "--space", "rate=0.0..4.0", "--jobs", "1")


class Killed(BaseException):
    """The machine lost power."""


class Trained:
    """What was trained, in order; the score of a run is 1 - (rate - 3)^2 / 10."""

    def __init__(self) -> None:
        self.cells: list[Any] = []
        self.fails: Callable[[float], bool] = lambda rate: False
        self.kill_at: int | None = None
        self.cancel_at: int | None = None
        self.engines: list[EngineChoice] = []


@pytest.fixture
def trained(store: Store, monkeypatch: pytest.MonkeyPatch) -> Trained:
    found = Trained()

    def make_plan(matrix: Matrix, store: Store, machine: Any) -> Any:
        return SimpleNamespace(matrix=matrix, jobs=["all"])

    def run_jobs(plan: Any, store: Store, companion: Any, *, engine: EngineChoice) -> Report:
        report = Report()
        found.engines.append(engine)
        for cell in plan.matrix.cells:
            if store.states([cell.id])[cell.id].state is State.DONE:
                continue
            if found.cancel_at == len(found.cells):
                report.cancelled.append(cell.id)
                continue
            if found.kill_at == len(found.cells):
                raise Killed
            found.cells.append(cell)
            rate = cell.hyperparameters["rate"]
            if found.fails(rate):
                report.failures.append(CellFailure(cell.id, "job", Failure.EXCEPTION, "no such rate"))
            else:
                store.claim([cell], slots=1)
                write_result(store, cell, -10 + 10 * (1 - (rate - 3) ** 2 / 10))
        return report

    monkeypatch.setattr("marlbench.cli.plan.make_plan", make_plan)
    monkeypatch.setattr("marlbench.cli.jobs.run_jobs", run_jobs)
    return found


def test_the_best_settings_as_part_of_a_suite(
    typed: Any, trained: Trained, suite: Path, tmp_path: Path
) -> None:
    code, out, err = typed(*TUNE, "--budget", "12", "--output", "found.yaml")
    assert code == 0, err
    assert Path("found.yaml").read_text() == out
    assert {cell.seed for cell in trained.cells} == {TUNING_SEED, TUNING_SEED + 1}
    assert len(trained.cells) == 24
    # Pasted into the suite, it is an entry that runs, and says what it cost.
    entry = out.partition("algorithms:\n")[2]
    suite.write_text(suite.read_text().replace("algorithms:\n", "algorithms:\n" + entry))
    (group,) = resolve(["small"], tasks=["walk"], algorithms=["first_tuned"]).groups
    assert 2.0 < group.cell.hyperparameters["rate"] < 4.0
    tuning = group.suite.suite.algorithms["first_tuned"].tuning
    assert tuning is not None
    assert (tuning.trials, tuning.seeds, tuning.steps) == (12, "10000-10001", 1000)
    assert tuning.tasks == ["walk"]


def test_its_cost_is_no_part_of_a_cell(suite: Path) -> None:
    before = resolve(["small"], algorithms=["second"]).cells
    text = suite.read_text()
    block = "second: {tuning: {trials: 9, seeds: '10000-10001', steps: 500, metric: score}, "
    suite.write_text(text.replace("second: {", block))
    after = resolve(["small"], algorithms=["second"]).cells
    assert [cell.id for cell in after] == [cell.id for cell in before]


def test_a_comparison_says_what_the_settings_cost(typed: Any, suite: Path, store: Store, finish: Any) -> None:
    block = (
        "second: {tuning: {trials: 40, seeds: [10000, 10001], steps: 50000, metric: score, tasks: [walk]}, "
    )
    suite.write_text(suite.read_text().replace("second: {", block))
    finish(resolve(["small"], tasks=["walk"]).cells, [-1.0, -2.0, -3.0] * 3)
    code, out, _ = typed("compare", "small", "--task", "walk", "--json")
    assert code == 0
    notes = json.loads(out)["notes"]
    assert "tuned: second, 40 trials x 2 seeds x 50,000 steps by score on walk" in notes
    assert not any("first" in note for note in notes)


@pytest.mark.parametrize("seeds", ["10000-10002", "7-7", "12000-12000"])
def test_tuned_settings_are_not_compared_on_their_tuning_seeds(
    typed: Any, suite: Path, store: Store, seeds: str
) -> None:
    block = "second: {tuning: {trials: 9, seeds: '7-7,10000-10001', steps: 500, metric: score}, "
    suite.write_text(suite.read_text().replace("second: {", block))
    code, _, err = typed("compare", "small", "--algorithm", "second", "--seeds", seeds)
    assert code == CONFIGURATION
    assert "the settings of 'second' were chosen on the seeds 7,10000-10001" in " ".join(err.split())
    assert typed("compare", "small", "--algorithm", "first", "--seeds", seeds)[0] == 0


def test_a_larger_budget_goes_on(typed: Any, trained: Trained) -> None:
    typed(*TUNE, "--budget", "4")
    first = [cell.id for cell in trained.cells]
    code, out, _ = typed(*TUNE, "--budget", "6", "--json")
    assert code == 0
    assert [cell.id for cell in trained.cells][: len(first)] == first
    assert len(trained.cells) == 12
    document = json.loads(out)
    assert document["budget"] == {"trials": 6, "seeds": [10000, 10001], "steps": 1000, "runs": 12}
    assert document["best"]["score"] == max(trial["score"] for trial in document["trials"])


@pytest.mark.parametrize("at", [0, 1, 5, 8])
def test_a_search_that_was_killed_goes_on_as_if_it_had_not(typed: Any, trained: Trained, at: int) -> None:
    typed(*TUNE, "--budget", "6", "--json")
    expected = [(cell.hyperparameters["rate"], cell.seed) for cell in trained.cells]
    trained.cells.clear()
    trained.kill_at = at
    elsewhere = ("--results", "elsewhere")
    with pytest.raises(Killed):
        main([*TUNE, "--budget", "6", *elsewhere])
    assert len(trained.cells) == at
    trained.kill_at = None
    typed(*TUNE, "--budget", "6", *elsewhere)
    assert [(cell.hyperparameters["rate"], cell.seed) for cell in trained.cells] == expected


def test_cancelled_trials_are_open_still(typed: Any, trained: Trained) -> None:
    typed(*TUNE, "--budget", "6", "--json")
    expected = [(cell.hyperparameters["rate"], cell.seed) for cell in trained.cells]
    trained.cells.clear()
    trained.cancel_at = 3
    other = ("--results", "cancelled", "--budget", "6", "--json")
    code, _, err = typed(*TUNE, *other)
    assert code == CELLS_FAILED
    assert "1 run cancelled." in err
    assert len(trained.cells) == 3
    trained.cancel_at = None
    code, out, _ = typed(*TUNE, *other)
    assert code == 0
    assert [(cell.hyperparameters["rate"], cell.seed) for cell in trained.cells] == expected
    assert not [trial for trial in json.loads(out)["trials"] if trial["failed"]]


def test_what_starts_its_jobs_is_named_as_for_run(typed: Any, trained: Trained) -> None:
    limits = ("--memory-limit", "4G", "--time-limit", "1h", "--hang-after", "5m")
    assert typed(*TUNE, "--budget", "1", *limits)[0] == 0
    assert trained.engines == [EngineChoice(memory_limit="4G", time_limit="1h", hang_after="5m")]
    assert typed(*TUNE, "--budget", "2", "--engine", "slrum")[0] == CONFIGURATION
    assert typed(*TUNE, "--budget", "2", "--profile", "gpu")[0] == USAGE
    assert len(trained.engines) == 1


def test_trials_that_failed_count_and_are_told(typed: Any, trained: Trained) -> None:
    trained.fails = lambda rate: rate < 2
    code, out, err = typed(*TUNE, "--budget", "8", "--json")
    assert code == 0
    failed = [trial for trial in json.loads(out)["trials"] if trial["failed"]]
    assert failed
    assert all(trial["hyperparameters"]["rate"] < 2 for trial in failed)
    assert "exception: no such rate" in err
    trained.fails = lambda rate: True
    code, out, err = typed(*TUNE, "--budget", "2", "--sampler-seed", "5")
    assert (code, out) == (CELLS_FAILED, "")
    assert "Every trial failed" in err


def test_one_search_at_a_time(typed: Any, trained: Trained, store: Store) -> None:
    from marlbench.store import locks

    typed(*TUNE, "--budget", "1")
    (path,) = (store.root / "tuning").glob("*.json")
    lock = locks.Lock.take(path.with_suffix(".lock"), patience=1.0)
    assert lock is not None
    try:
        code, _, err = typed(*TUNE, "--budget", "2")
    finally:
        lock.release()
    assert code == USAGE
    assert "under way in another process" in err


def test_other_questions_are_other_studies(typed: Any, trained: Trained, store: Store) -> None:
    for options in (
        (),
        ("--steps", "500"),
        ("--seeds-per-trial", "1"),
        ("--sampler", "random"),
        ("--space", "rate=1.0..4.0"),
    ):
        assert typed(*TUNE, "--budget", "1", *options)[0] == 0
    assert len(list((store.root / "tuning").glob("*.json"))) == 5


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ("rat=0.0..1.0", "Did you mean 'rate'?"),
        ("rate=4.0..1.0", "the lower end 4 is not below the upper end 1"),
        ("rate=log:0.0..1.0", "a logarithmic interval begins above 0"),
        ("rate=sometimes", "this cannot be read"),
        ("rate=[1.0, 1.0]", "named twice"),
        ("rate=['fast', 'slow']", "rate"),
        ("missing.yaml", "there is no such file"),
    ],
)
def test_spaces_that_cannot_be_searched(typed: Any, trained: Trained, space: str, told: str) -> None:
    words = [word for word in TUNE if not word.startswith("rate=")]
    words[words.index("--space") + 1 : words.index("--space") + 1] = [space]
    code, out, err = typed(*words, "--budget", "2")
    assert code in (USAGE, CONFIGURATION)
    assert out == ""
    assert told in " ".join(err.split())
    assert not trained.cells
    assert "Traceback" not in err


def test_a_space_in_a_file(typed: Any, trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("rate: {choice: [1.0, 3.0]}\n")
    words = ["space.yaml" if word.startswith("rate=") else word for word in TUNE]
    code, out, _ = typed(*words, "--budget", "6", "--json")
    assert code == 0
    assert json.loads(out)["best"]["hyperparameters"] == {"rate": 3.0}
    # What was tried before is not trained again.
    assert len(trained.cells) == 4
    (tmp_path / "space.yaml").write_text("rate: {choice: [1.0, 3.0], log: [0.1, 1.0]}\n")
    code, _, err = typed(*words, "--budget", "6")
    assert code == CONFIGURATION
    assert "space.yaml:1: rate:" in err


def test_without_optuna_it_says_what_to_install(
    typed: Any, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "optuna":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    code, _, err = typed(*TUNE, "--budget", "2")
    assert code == USAGE
    assert "pip install 'marlbench[tune]'" in err
