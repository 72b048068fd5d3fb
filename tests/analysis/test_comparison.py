"""From a store to a comparison: which runs count, how, and what is said about them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from marlbench.analysis import notes
from marlbench.analysis.comparison import Comparison, Row, compare_matrix
from marlbench.analysis.notes import other_revisions
from marlbench.analysis.runs import run_of
from marlbench.analysis.significance import pairwise_tests
from marlbench.analysis.statistics import AGGREGATES, estimate, interquartile_mean, mean, median, table
from marlbench.catalog.matrix import CellGroup, Matrix, resolve
from marlbench.store.store import Store

pytestmark = pytest.mark.usefixtures("suite")


def group(matrix: Matrix, task: str, label: str) -> CellGroup:
    return next(g for g in matrix.groups if (g.cell.task, g.cell.label) == (task, label))


def row(comparison: Comparison, task: str, label: str) -> Row:
    return next(r for r in comparison.rows if (r.cell.task, r.cell.label) == (task, label))


def test_a_row_is_the_interquartile_mean_of_its_runs(store: Store, finish: Any) -> None:
    matrix = resolve(["small"])
    finish(group(matrix, "walk", "first").cells, [-1.0, -2.0, -6.0])
    found = row(compare_matrix(store, matrix)[0], "walk", "first")
    assert (found.n, found.expected, found.diverged) == (3, 3, 0)
    assert found.raw == estimate([[-1.0], [-2.0], [-6.0]])
    assert found.raw is not None
    assert found.score is not None
    assert found.score.point == pytest.approx(0.7)
    assert (found.raw.low, found.raw.high) == (-6.0, -1.0)
    assert (found.score.low, found.score.high) == pytest.approx((0.4, 0.9))


def test_a_metric_to_minimise_scores_the_other_way_round(store: Store, finish: Any) -> None:
    matrix = resolve(["small"])
    finish(group(matrix, "sail", "first").cells, [20.0, 30.0, 40.0])
    found = row(compare_matrix(store, matrix)[0], "sail", "first")
    assert found.raw is not None
    assert found.score is not None
    assert found.raw.point == pytest.approx(30.0)
    assert (found.score.low, found.score.point, found.score.high) == pytest.approx((0.6, 0.7, 0.8))


def test_scores_follow_the_bounds_of_today(store: Store, finish: Any, suite: Path) -> None:
    finish(group(resolve(["small"]), "walk", "first").cells, [-1.0, -2.0, -6.0])
    suite.write_text(suite.read_text().replace("low: -10, high: 0", "low: -6, high: 0"))
    found = row(compare_matrix(store, resolve(["small"]))[0], "walk", "first")
    assert found.n == 3
    assert found.score is not None
    assert found.score.point == pytest.approx(0.5)


def test_missing_cells_are_counted_and_never_filled_in(store: Store, finish: Any) -> None:
    matrix = resolve(["small"])
    finish(group(matrix, "walk", "first").cells[:1], [-1.0])
    comparison = compare_matrix(store, matrix)[0]
    found = row(comparison, "walk", "first")
    assert (found.n, found.expected) == (1, 3)
    assert found.raw is not None
    assert (found.raw.point, found.raw.low, found.raw.high) == (-1.0, None, None)
    assert row(comparison, "walk", "second").raw is None
    assert (comparison.done, comparison.expected, comparison.unfinished) == (1, 21, {"planned": 20})


def test_a_result_changed_by_hand_is_missing(store: Store, finish: Any) -> None:
    matrix = resolve(["small"])
    cells = group(matrix, "walk", "first").cells
    finish(cells, [-1.0, -2.0, -6.0])
    path = store.cell_directory(cells[0].id) / "result.json"
    path.write_text(path.read_text().replace("-1.0", "-0.5"))
    comparison = compare_matrix(store, matrix)[0]
    assert row(comparison, "walk", "first").n == 2
    assert comparison.unfinished["damaged"] == 1


def test_a_diverged_run_counts_with_the_score_of_the_suite(store: Store, finish: Any, suite: Path) -> None:
    suite.write_text(suite.read_text().replace("evaluations: 2}", "evaluations: 2, diverged_score: -0.5}"))
    matrix = resolve(["small"])
    finish(group(matrix, "walk", "first").cells, [-2.0, None, -4.0])
    comparison = compare_matrix(store, matrix)[0]
    found = row(comparison, "walk", "first")
    assert (found.n, found.diverged) == (3, 1)
    assert found.scores == pytest.approx((0.8, -0.5, 0.6))
    assert found.raw is not None
    assert found.raw.low == pytest.approx(-15.0)
    assert "first on walk: 1 of 3 runs diverged, counted with score -0.5" in comparison.notes


def test_a_metric_that_is_no_number_is_no_run(store: Store, finish: Any) -> None:
    matrix = resolve(["small"])
    finish(group(matrix, "walk", "first").cells, [-2.0, math.nan, -math.inf])
    comparison = compare_matrix(store, matrix)[0]
    assert row(comparison, "walk", "first").n == 1
    assert "first on walk: 2 of 3 runs have no finite return_mean, not counted" in comparison.notes


def test_without_an_absolute_evaluation_the_last_one_counts() -> None:
    cell = resolve(["small"]).cells[0]
    outcome = {"status": "completed", "absolute": {}, "final": {"return_mean": -3.0}}
    assert run_of(cell, outcome, {}).value == -3.0
    assert run_of(cell, outcome | {"absolute": {"return_mean": -2.0}}, {}).value == -2.0
    assert run_of(cell, outcome | {"final": {}}, {}).value is None


def test_aggregates_keep_backends_apart(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], algorithms=["first", "second"])
    values = {"walk": [-1.0, -2.0, -6.0], "sail": [20.0, 30.0, 40.0], "read": [5.0, 10.0, 15.0]}
    for found in matrix.groups:
        finish(found.cells, values[found.cell.task])
    comparison = compare_matrix(store, matrix)[0]
    ours = [a for a in comparison.aggregate if a.algorithm == "first"]
    assert [(a.backend, a.tasks, a.n) for a in ours] == [
        ("builtin", ("walk", "sail"), 6),
        ("library", ("read",), 3),
    ]
    scores = [[0.9, 0.8], [0.8, 0.7], [0.4, 0.6]]
    assert ours[0].score is not None
    assert ours[0].score.point == pytest.approx(interquartile_mean(scores))
    assert ours[1].score is not None
    assert ours[1].score.point == pytest.approx(0.2)
    (note,) = comparison.notes
    assert (
        note
        == "too few runs to tell any two apart on walk, sail, read: of 3 and 3 runs no p-value is below 0.1"
    )


def test_unequal_counts_weigh_every_task_the_same(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], tasks=["walk", "sail"], algorithms=["first"])
    finish(group(matrix, "walk", "first").cells[:1], [-2.0])
    finish(group(matrix, "sail", "first").cells, [20.0, 30.0, 40.0])
    found = compare_matrix(store, matrix)[0].aggregate[0]
    assert found.score is not None
    nan = math.nan
    assert found.score.point == pytest.approx(interquartile_mean([[0.8, 0.8], [nan, 0.7], [nan, 0.6]]))
    # A single run shows no spread, so an interval over it would be too narrow.
    assert found.score.low is None


def test_a_task_that_one_method_lacks_is_left_out_for_all(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], tasks=["walk", "sail"])
    for task, label in (("walk", "first"), ("walk", "second"), ("sail", "first")):
        finish(group(matrix, task, label).cells, [-1.0, -2.0, -6.0])
    comparison = compare_matrix(store, matrix)[0]
    assert {a.tasks for a in comparison.aggregate} == {("walk",)}
    # `third` has no run at all: it does not take the tasks away from the others.
    assert [a.score is None for a in comparison.aggregate] == [False, False, True]
    assert "left out of the aggregate, for every algorithm: sail (no run of second)" in comparison.notes


def test_no_common_task_withholds_the_aggregate(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], tasks=["walk", "sail"])
    finish(group(matrix, "walk", "first").cells, [-1.0, -2.0, -6.0])
    finish(group(matrix, "sail", "second").cells, [20.0, 30.0, 40.0])
    comparison = compare_matrix(store, matrix)[0]
    assert all(a.score is None and a.tasks == () for a in comparison.aggregate)
    (note,) = [note for note in comparison.notes if note.startswith("no aggregate")]
    assert "walk (no run of second), sail (no run of first)" in note


def test_mixed_circumstances_are_told(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], tasks=["walk"])
    finish(group(matrix, "walk", "first").cells, [-1.0, -2.0, -6.0], git_sha="a" * 40 + "-dirty")
    finish(
        group(matrix, "walk", "second").cells,
        [-1.0, -2.0, -6.0],
        device="cuda:1",
        device_name="a GPU",
        engine="slurm",
        git_sha="b" * 40,
        versions={"marlbench": "1", "torch": "2.6.0", "yaml": "6"},
    )
    assert compare_matrix(store, matrix)[0].notes[1:] == (
        "mixed device: cpu (3), cuda (a GPU) (3)",
        "mixed engine: local (3), slurm (3)",
        "mixed commit: aaaaaaaaaa-dirty (3), bbbbbbbbbb (3)",
        "mixed versions: torch 2.13.0 (3), 2.6.0 (3)",
    )


def test_what_differs_by_design_is_told_too(store: Store, suite: Path) -> None:
    text = suite.read_text().replace("second: {", "second: {steps: 2000, ")
    suite.write_text(text.replace("    revision: 2\n", "    revision: 2\n    protocol: {episodes: 8}\n"))
    comparison = compare_matrix(store, resolve(["small"]))[0]
    assert "the protocol differs: episodes 32 (walk, read); episodes 8 (sail)" in comparison.notes
    assert "episodes" not in comparison.protocol
    assert comparison.protocol["policy"] == "greedy"
    assert "steps differ on walk: 1,000 (first, third); 2,000 (second)" in comparison.notes


def test_results_of_other_revisions_are_told_and_not_counted(store: Store, finish: Any, suite: Path) -> None:
    old = resolve(["small"])
    finish(group(old, "sail", "first").cells, [20.0, 30.0, 40.0])
    finish(group(old, "walk", "first").cells[:2], [-1.0, -2.0])
    suite.write_text(suite.read_text().replace("revision: 2", "revision: 3"))
    matrix = resolve(["small"])
    comparison = compare_matrix(store, matrix)[0]
    assert row(comparison, "sail", "first").n == 0
    assert row(comparison, "walk", "first").n == 2
    assert other_revisions(store, matrix.groups) == [
        "results not counted: 3 of revision 2 of the task sail (now 3)"
    ]


def test_each_suite_of_a_matrix_has_a_comparison(store: Store, finish: Any, suite: Path) -> None:
    suite.with_name("other.yaml").write_text(suite.read_text().replace("suite: small", "suite: other"))
    matrix = resolve(["small", "other"], tasks=["walk"], preset="smoke")
    finish(matrix.cells[:1], [-5.0])
    small, other = compare_matrix(store, matrix)
    assert (small.suite, small.done, other.suite, other.done) == ("small", 1, "other", 0)
    assert small.label == other.label == "not a comparison"


def test_json_is_strict_and_complete(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], tasks=["walk"])
    finish(group(matrix, "walk", "first").cells, [-1.0, -2.0, -6.0])
    document = json.loads(json.dumps(compare_matrix(store, matrix)[0].to_json(), allow_nan=False))
    assert {"schema", "suite", "protocol", "rows", "aggregate"} <= document.keys()
    assert document["schema"] == 1
    assert document["protocol"]["preset"] == "full"
    assert document["protocol"]["absolute_episodes"] == 320
    first, second, _ = document["rows"]
    wanted = {
        "task": "walk",
        "algorithm": "first",
        "backend": "builtin",
        "metric": "return_mean",
        "n": 3,
        "expected": 3,
        "iqm": pytest.approx(-3.0),
        "ci_low": -6.0,
        "ci_high": -1.0,
    }
    assert {key: first[key] for key in wanted} == wanted
    assert (second["n"], second["iqm"], second["ci_low"], second["ci_high"]) == (0, None, None, None)
    assert [one["algorithm"] for one in document["aggregate"]] == ["first", "second", "third"]
    assert document["aggregate"][0]["iqm"] == pytest.approx(0.7)


def test_every_aggregate_is_there_of_rows_and_over_tasks(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], tasks=["walk", "sail"], algorithms=["first"])
    finish(group(matrix, "walk", "first").cells, [-1.0, -2.0, -9.0])
    finish(group(matrix, "sail", "first").cells, [20.0, 30.0, 70.0])
    comparison = compare_matrix(store, matrix)[0]
    walk, sail = (row(comparison, task, "first") for task in ("walk", "sail"))
    assert walk.raw_estimates["median"].point == -2.0
    assert walk.raw_estimates["mean"].point == pytest.approx(-4.0)
    assert sail.score_estimates["median"].point == pytest.approx(0.7)
    assert sail.score_estimates["optimality_gap"].point == pytest.approx(0.4)
    assert "optimality_gap" not in walk.raw_estimates
    scores = table([walk.scores, sail.scores])
    estimates = comparison.aggregate[0].estimates
    assert set(estimates) == set(AGGREGATES)
    assert estimates["median"].point == pytest.approx(median(scores))
    assert estimates["mean"].point == pytest.approx(mean(scores))


def test_an_algorithm_that_lacks_three_seeds(store: Store, finish: Any) -> None:
    matrix = resolve(
        ["small"], tasks=["walk", "sail"], algorithms=["first", "second"], seeds=tuple(range(10))
    )
    for task, label in (("walk", "first"), ("walk", "second"), ("sail", "first")):
        finish(group(matrix, task, label).cells, [0.5 * seed - 8 for seed in range(10)])
    finish(group(matrix, "sail", "second").cells[:7], [10.0 * seed for seed in range(7)])
    comparison = compare_matrix(store, matrix)[0]
    found = row(comparison, "sail", "second")
    assert (found.n, found.expected) == (7, 10)
    first, second = comparison.aggregate
    assert (first.n, second.n, second.expected) == (20, 17, 20)
    assert second.score is not None
    walk = row(comparison, "walk", "second")
    assert second.score.point == pytest.approx(interquartile_mean(table([walk.scores, found.scores])))
    assert second.score.low is not None


def test_marks_say_what_cannot_be_told_from_the_best(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], tasks=["walk"], seeds=tuple(range(10)))
    values = [-0.1 * seed for seed in range(10)]
    for label, offset in (("first", 0.0), ("second", -0.05), ("third", -8.0)):
        finish(group(matrix, "walk", label).cells, [value + offset for value in values])
    comparison = compare_matrix(store, matrix)[0]
    marks = [row(comparison, "walk", label).marks["iqm"] for label in ("first", "second", "third")]
    assert [(mark.best, mark.tied, mark.sign) for mark in marks] == [
        (True, False, "*"),
        (False, True, "~"),
        (False, False, ""),
    ]
    assert marks[0].p is None
    tests = pairwise_tests(
        {
            label: [[s] for s in row(comparison, "walk", label).scores]
            for label in ("first", "second", "third")
        }
    )
    assert [one.test for one in comparison.tests if one.task == "walk"] == list(tests)
    assert marks[1].p == tests[0].adjusted
    assert marks[2].p == tests[1].adjusted
    assert [aggregate.marks["iqm"].sign for aggregate in comparison.aggregate] == ["*", "~", ""]


def test_ties_are_all_the_best_and_a_single_seed_tells_nothing_apart(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], tasks=["walk"], seeds=(0,))
    for label, value in (("first", -1.0), ("second", -1.0), ("third", -9.0)):
        finish(group(matrix, "walk", label).cells, [value])
    comparison = compare_matrix(store, matrix)[0]
    marks = [row(comparison, "walk", label).marks["iqm"] for label in ("first", "second", "third")]
    assert [mark.sign for mark in marks] == ["*", "*", "~"]
    assert marks[2].p is None
    told = "too few runs to tell any two apart on walk: a single run has no spread to test with"
    assert told in comparison.notes


def test_what_a_run_costs_is_in_every_row(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], tasks=["walk"], algorithms=["first"])
    cells = group(matrix, "walk", "first").cells
    conditions = {
        "seconds": 100.0,
        "steps_per_second": 50.0,
        "peak_memory_bytes": 2**30,
        "members": ["a", "b"],
    }
    finish(cells, [-1.0, -2.0, -6.0], cpu_seconds=7200.0, **conditions)
    comparison = compare_matrix(store, matrix)[0]
    cost = row(comparison, "walk", "first").cost
    # The job trained two seeds: it made twice the steps, and each of them cost half of it.
    assert (cost.steps_per_second, cost.cpu_hours, cost.gpu_hours) == (100.0, 1.0, None)
    assert comparison.aggregate[0].cost == cost
    assert comparison.to_json()["rows"][0]["cost"]["peak_memory_bytes"] == 2**30
    assert not any(note.startswith("agents of one system") for note in comparison.notes)


def test_what_agents_need_is_told_where_methods_tell_it(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], algorithms=["first", "second"])
    for task, size, time in (("walk", 2048, 3.0), ("sail", 1024, 5.0)):
        cells = group(matrix, task, "first").cells
        finish(cells, [-1.0, -2.0, -6.0], agent_bytes=size, decision_microseconds=time)
    finish(group(matrix, "walk", "second").cells, [-1.0, -2.0, -6.0])
    comparison = compare_matrix(store, matrix)[0]
    assert "agents of one system, at most: first 2.0 KiB, 5 us a decision" in comparison.notes
    cost = comparison.to_json()["rows"][0]["cost"]
    assert cost["agent_bytes"] in (1024, 2048)
    assert cost["decision_microseconds"] in (3.0, 5.0)


def test_what_others_programs_played_is_told_once_for_all_their_tasks() -> None:
    def group(task: str, simulator: str) -> Any:
        return SimpleNamespace(cell=SimpleNamespace(task=task, backend="sc2", simulator=simulator))

    on, off = "smacv2 1.0, fix_obs on, StarCraft II 4.10", "smacv2 1.0, fix_obs off, StarCraft II 4.10"
    groups = [
        group("terran", on),
        group("terran", on),
        group("zerg", on),
        group("epo", off),
        group("own", ""),
    ]
    assert notes.simulators(groups) == [
        f"backend sc2: {on}, on terran, zerg",
        f"backend sc2: {off}, on epo",
    ]
