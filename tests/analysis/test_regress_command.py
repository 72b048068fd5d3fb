"""`marlbench reference` and `marlbench regress` as a user types them, on results that nobody trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marlbench.analysis.reference import Reference, dump, read
from marlbench.analysis.regression_tables import NEW_REFERENCE
from marlbench.catalog.matrix import Matrix, resolve
from marlbench.cli import main
from marlbench.cli.fresh import claim
from marlbench.errors import CELLS_FAILED, CONFIGURATION, REGRESSION, STORE, USAGE
from marlbench.store.store import Store

from .gate import PACE, good, measured

CREATE = ("reference", "create", "small", "--name", "small", "--task", "walk", "--algorithm", "first,second")
REGRESS = ("regress", "small", "--no-run", "--results", "fresh")

# The reference is the same for every test, and takes a second to make.
_MADE: list[bytes] = []


@pytest.fixture
def typed(suite: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Types a command line; gives the exit code, stdout and stderr."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    # Reading all code at every command is `test_fingerprint`'s matter.
    monkeypatch.setattr("marlbench.analysis.fingerprint.fingerprint", lambda matrix: "1" * 64)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["marlbench", *words])
        with pytest.raises(SystemExit) as end:
            main(words)
        captured = capsys.readouterr()
        code = end.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return run


def matrix(seeds: int = 10) -> Matrix:
    return resolve(["small"], tasks=["walk"], algorithms=["first", "second"], seeds=tuple(range(seeds)))


@pytest.fixture
def reference(typed: Any, store: Store, finish: Any) -> Reference:
    """results/reference/small.json of two algorithms on one task."""
    path = Path("results/reference/small.json")
    if not _MADE:
        measured(store, matrix(), finish, good)
        code, _, err = typed(*CREATE, "--results", "results")
        assert code == 0, err
        _MADE.append(path.read_bytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_MADE[0])
    return read(path)


@pytest.fixture
def fresh(reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Store]:
    """Makes the fresh runs in ./fresh, as a change of the code would have left them."""

    def make(value: Any = good, seeds: int = 5, **options: Any) -> Store:
        from .conftest import write_result

        store = Store.open(tmp_path / "fresh", create=True)

        def finish(cells: Any, values: Any, **execution: Any) -> None:
            store.claim(cells, slots=1)
            for cell, one in zip(cells, values, strict=True):
                write_result(store, cell, one, **execution)

        measured(store, matrix(seeds), finish, value, **options)
        return store

    return make


def worse(share: float, label: str = "second") -> Callable[..., float]:
    return lambda cell, factor: good(cell, factor * (1 - share) if cell.label == label else factor)


def test_a_reference_says_what_was_measured_and_by_which_rule(reference: Reference) -> None:
    first, second = reference.entries
    assert (first.name, second.name) == ("walk/first", "walk/second")
    assert first.seeds == list(range(10))
    assert sum(first.scores) / 10 == pytest.approx(0.5)
    assert sum(first.throughput) / 10 == pytest.approx(PACE)
    assert first.score_power >= reference.rule.power
    assert first.identity["steps"] == 1000
    assert "seed" not in first.identity
    assert first.score.model_dump() == {"metric": "return_mean", "low": -10.0, "high": 0.0}
    assert reference.command == (
        "marlbench reference create small --name small --seeds 0-9 --task walk --algorithm first,second"
    )
    text = Path("results/reference/small.json").read_text()
    assert text == dump(reference)
    assert str(Path.cwd()) not in text
    # One line for each list of runs, so that a change of numbers is a line of a diff.
    assert any(line.strip().startswith('"scores": [0.49, 0.5,') for line in text.splitlines())


def test_show(typed: Any, reference: Reference) -> None:
    code, out, _ = typed("reference", "show", "small")
    assert code == 0
    assert "walk" in out
    assert "0-9" in out
    code, out, _ = typed("reference", "show", "small", "--json")
    assert json.loads(out) == json.loads(dump(reference))


def test_a_reference_is_not_replaced_by_accident(
    typed: Any, reference: Reference, store: Store, finish: Any
) -> None:
    if not (store.root / "fresh.json").exists():
        measured(store, matrix(), finish, good)
    code, _, err = typed(*CREATE, "--results", "results")
    assert code == USAGE
    assert "results/reference/small.json" in err
    assert "--replace" in err
    assert typed(*CREATE, "--results", "results", "--replace")[0] == 0


def test_unchanged_code_passes(typed: Any, fresh: Any) -> None:
    fresh()
    code, out, err = typed(*REGRESS)
    assert (code, err) == (0, "")
    assert "small: no regression" in out


def test_a_loss_of_score_is_found_and_nothing_is_said_of_throughput(typed: Any, fresh: Any) -> None:
    fresh(worse(0.2))
    code, out, err = typed(*REGRESS, "--json")
    assert out, err
    document = json.loads(out)
    assert code == REGRESSION
    assert document["schema"] == 1
    assert document["verdict"] == "regression"
    findings = {
        row["algorithm"]: (row["score"]["finding"], row["throughput"]["finding"]) for row in document["rows"]
    }
    assert findings == {"first": ("same", "same"), "second": ("worse", "same")}
    second = document["rows"][1]["score"]
    assert second["ratio"] == pytest.approx(0.8, abs=0.02)
    assert second["p"] <= document["rule"]["score_level"]


def test_half_the_throughput_is_found_and_nothing_is_said_of_scores(typed: Any, fresh: Any) -> None:
    fresh(pace=PACE / 2)
    code, out, err = typed(*REGRESS, "--json")
    assert out, err
    findings = [(row["score"]["finding"], row["throughput"]["finding"]) for row in json.loads(out)["rows"]]
    assert code == REGRESSION
    assert findings == [("same", "worse")] * 2


def test_a_significant_difference_that_does_not_matter_is_none(typed: Any, fresh: Any) -> None:
    fresh(worse(0.07, "first"), pace=0.9 * PACE)
    code, out, err = typed(*REGRESS, "--json")
    assert out, err
    row = json.loads(out)["rows"][0]
    assert code == 0
    # The test alone would have told it.
    assert row["score"]["p"] <= json.loads(out)["rule"]["score_level"]
    assert row["score"]["finding"] == "same"


def test_a_large_difference_that_may_be_chance_is_none(typed: Any, fresh: Any) -> None:
    # One run of five lost everything: the mean fell by a fifth, and such a run is among them by chance.
    fresh(lambda cell, factor: good(cell, 0.0 if cell.seed == 1 and cell.label == "first" else factor))
    code, out, err = typed(*REGRESS, "--json")
    assert out, err
    row = json.loads(out)["rows"][0]["score"]
    assert (code, row["finding"]) == (0, "same")
    assert row["ratio"] < 0.9


def test_an_improvement_is_told_too(typed: Any, fresh: Any) -> None:
    fresh(lambda cell, factor: good(cell, 1.3 * factor))
    code, out, _ = typed(*REGRESS)
    assert code == 0
    assert "score is better" in out
    assert NEW_REFERENCE in out


def test_runs_that_diverged_count_with_the_score_of_the_suite(typed: Any, fresh: Any) -> None:
    fresh(lambda cell, factor: None if cell.label == "first" else good(cell, factor))
    code, out, _ = typed(*REGRESS)
    assert code == REGRESSION
    assert "walk/first: score is worse: 0 after 0.5" in out
    assert "runs diverged" in out


def test_missing_runs_are_no_pass(typed: Any, fresh: Any) -> None:
    fresh(seeds=2)
    code, out, _ = typed(*REGRESS)
    assert code == CELLS_FAILED
    assert "small: incomplete" in out
    assert "score is not judged: 2 of" in out


def test_runs_without_a_calibration_are_no_pass_either(typed: Any, fresh: Any) -> None:
    fresh(calibration=None)
    code, out, _ = typed(*REGRESS)
    assert code == CELLS_FAILED
    assert "throughput is not judged" in out


def test_nothing_measured_is_an_error_of_its_own(typed: Any, reference: Reference) -> None:
    claim(Store.open(Path("fresh"), create=True), matrix())
    code, out, err = typed(*REGRESS)
    assert (code, out) == (USAGE, "")
    assert "nothing measured" in err


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        (
            "second: {hyperparameters: {rate: 2.0}}",
            "second: {hyperparameters: {rate: 3.5}}",
            "hyperparameters.rate",
        ),
        ("steps: 1000", "steps: 1200", "steps"),
        ("evaluations: 2}", "evaluations: 4}", "protocol.evaluations"),
        ("walk:\n    environment", "walk:\n    revision: 2\n    environment", "task_revision"),
        ("low: -10, high: 0", "low: -20, high: 0", "score.low"),
    ],
)
def test_another_protocol_is_named_before_anything_runs(
    typed: Any, fresh: Any, suite: Path, before: str, after: str, field: str
) -> None:
    fresh()
    assert suite.read_text().count(before) == 1
    suite.write_text(suite.read_text().replace(before, after))
    code, out, err = typed(*REGRESS)
    assert (code, out) == (CONFIGURATION, "")
    assert "other protocol" in err
    assert f"{field} is" in err
    assert "marlbench reference create small" in err


def test_an_algorithm_that_is_gone_is_another_protocol(typed: Any, fresh: Any, suite: Path) -> None:
    fresh()
    suite.write_text(
        suite.read_text().replace("  second: {hyperparameters: {rate: 2.0}}\n", "  second: {tasks: [sail]}\n")
    )
    code, _, err = typed(*REGRESS)
    assert code == CONFIGURATION
    assert "no longer has walk/second" in err


def test_another_backend_is_an_error_of_its_own(typed: Any, fresh: Any, suite: Path) -> None:
    fresh()
    path = Path("results/reference/small.json")
    path.write_text(path.read_text().replace('"backend": "builtin"', '"backend": "native"'))
    code, _, err = typed(*REGRESS)
    assert code == CONFIGURATION
    assert "other backend" in err
    assert "backend is builtin here and native in the reference" in err


def test_another_calibration_loop_is_another_protocol(typed: Any, fresh: Any) -> None:
    fresh(version=2)
    code, _, err = typed(*REGRESS)
    assert code == CONFIGURATION
    assert "the calibration loop is version 2 here and 1 in the reference" in err


def test_results_of_other_code_are_refused(typed: Any, fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh()
    monkeypatch.setattr("marlbench.analysis.fingerprint.fingerprint", lambda matrix: "0" * 64)
    code, out, err = typed(*REGRESS)
    assert (code, out) == (STORE, "")
    assert "runs of other code" in err


def test_a_store_that_was_not_made_for_this_is_refused(typed: Any, fresh: Any) -> None:
    store = fresh()
    (store.root / "fresh.json").unlink()
    code, _, err = typed(*REGRESS)
    assert code == STORE
    assert "were not made by this command" in err


def test_the_summary_of_a_job(
    typed: Any, fresh: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh(worse(0.5), git_sha="abc")
    page = tmp_path / "page.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    code, _, _ = typed(*REGRESS, "--summary", "verdict.md")
    assert code == REGRESSION
    text = Path("verdict.md").read_text()
    assert page.read_text() == "before\n" + text
    assert text.startswith("## small: regression\n")
    assert "| walk | second |" in text
    assert "**worse x0.50**" in text
    assert "- walk/second: score is worse: 0.249 after 0.5, times 0.50, p =" in text
    assert "walk/first: score" not in text


def test_other_versions_are_told(typed: Any, fresh: Any) -> None:
    fresh(versions={"marlbench": "1", "torch": "2.14.0"})
    _, out, _ = typed(*REGRESS)
    assert "note: other versions: torch 2.14.0 (reference: 2.13.0)" in out


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda text: text[:200], "cannot be read"),
        (lambda text: text.replace('"fresh": ', '"fresh": 9'), "do not fit together"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "newer than this marlbench"),
        (lambda text: text.replace('"command"', '"comand"'), "unknown key"),
    ],
)
def test_a_reference_that_is_none(typed: Any, reference: Reference, spoil: Any, told: str) -> None:
    path = Path("results/reference/small.json")
    path.write_text(spoil(path.read_text()))
    code, out, err = typed("regress", "small")
    assert (code, out) == (CONFIGURATION, "")
    assert told in err


def test_names_that_nothing_has(typed: Any, reference: Reference) -> None:
    code, _, err = typed("regress", "smal")
    assert code == CONFIGURATION
    assert "Did you mean 'small'?" in err
    code, _, err = typed("regress", "small", "--no-run")
    assert code == USAGE
    assert "--results" in err


def test_noisy_tasks_are_named_and_nothing_is_written(typed: Any, store: Store, finish: Any) -> None:
    def noisy(cell: Any, factor: float) -> float:
        return good(cell, factor if cell.label == "first" else 0.2 + 1.6 * (cell.seed % 2))

    measured(store, matrix(), finish, noisy)
    code, out, err = typed(*CREATE, "--results", "results")
    assert (code, out) == (USAGE, "")
    assert "too noisy" in err
    assert "walk/second (10 runs do not suffice; scores from 0.1 to 0.9)" in err
    assert "walk/first" not in err
    assert not Path("results/reference/small.json").exists()


def test_a_score_of_nothing_cannot_be_lost(typed: Any, store: Store, finish: Any) -> None:
    measured(
        store, matrix(), finish, lambda cell, factor: good(cell, factor if cell.label == "first" else -0.1)
    )
    code, _, err = typed(*CREATE, "--results", "results")
    assert code == USAGE
    assert "walk/second (a mean score of -0.05 leaves nothing to lose" in err


def test_the_time_that_is_allowed(
    typed: Any, store: Store, finish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spread(cell: Any, factor: float) -> float:
        return good(cell, factor if cell.label == "first" else 1 + 3.5 * (factor - 1))

    monkeypatch.setattr("marlbench.engines.machine.usable_cores", lambda: 2)
    measured(store, matrix(), finish, spread)
    options = (*CREATE, "--results", "results", "--jobs", "8")
    code, _, err = typed(*options, "--time-allowed", "1s")
    assert code == USAGE
    assert "1 s are allowed" in err
    code, _, _ = typed(*options, "--time-allowed", "1h")
    assert code == 0
    known = read(Path("results/reference/small.json"))
    least, more = known.entries
    assert least.fresh < more.fresh
    needs = (least.fresh + more.fresh) * 2.0 / 2
    code, _, err = typed(*options, "--replace", "--time-allowed", f"{needs - 1:.0f}s")
    assert code == USAGE
    assert "too noisy for the time allowed: walk/second" in err
    assert "walk/first" not in err


def test_too_few_runs_say_nothing(typed: Any, store: Store, finish: Any) -> None:
    measured(store, matrix(4), finish, good)
    code, _, err = typed(*CREATE, "--results", "results", "--seeds", "4")
    assert code == USAGE
    assert "a reference needs 5 of each" in err


@pytest.mark.parametrize("time", ["10", "0m", "ten minutes"])
def test_times_that_are_none(typed: Any, time: str) -> None:
    code, _, err = typed(*CREATE, "--time-allowed", time)
    assert code == USAGE
    assert "10m" in err


def test_seeds_are_the_first_of_the_reference(typed: Any, fresh: Any, reference: Reference) -> None:
    store = fresh(seeds=10)
    entry = reference.entries[0]
    assert entry.fresh < 10
    # What is not asked for may be worse without anyone looking.
    spoilt = replace(matrix().groups[0], cells=matrix().groups[0].cells[entry.fresh :])
    from .conftest import write_result

    for cell in spoilt.cells:
        calibration = {"version": 1, "loops": 1e9, "cpu_seconds": 1.0}
        write_result(store, cell, -10.0, calibration=calibration, members=["itself"])
    assert typed(*REGRESS)[0] == 0
