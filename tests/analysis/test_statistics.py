"""The interquartile mean and its intervals, against rliable, against brute force, and by their properties."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import trim_mean

from marlbench.analysis.statistics import (
    AGGREGATES,
    Estimate,
    aggregates,
    estimate,
    estimate_each,
    interquartile_mean,
    mean,
    median,
    optimality_gap,
)

# See rliable_reference.py for the command that made it.
REFERENCE = json.loads(Path(__file__).with_name("rliable_reference.json").read_text())["cases"]

numbers = st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: round(value, 3))


@st.composite
def tables(draw: st.DrawFn, equal: bool = False, least: int = 1) -> np.ndarray:
    """Scores [run, task], NaN where a task has fewer runs."""
    tasks = draw(st.integers(1, 5))
    count = st.integers(least, 9)
    counts = [draw(count)] * tasks if equal else [draw(count) for _ in range(tasks)]
    table = np.full((max(counts), tasks), np.nan)
    for task, runs in enumerate(counts):
        table[:runs, task] = draw(st.lists(numbers, min_size=runs, max_size=runs))
    return table


def exact(table: np.ndarray) -> Fraction:
    """The definition in rational numbers: repeat runs until all weigh the same, then trim whole copies."""
    columns = [[Fraction(float(v)) for v in column if not np.isnan(v)] for column in table.T]
    total = sum(len(column) for column in columns)
    copies = [np.lcm.reduce([len(c) for c in columns]) // len(column) for column in columns]
    # A run stands for as many equal pieces as its weight demands; `total` more so that the cut is whole.
    pieces = sorted(
        v for column, n in zip(columns, copies, strict=True) for v in column for _ in range(n * total)
    )
    cut = len(pieces) * (total // 4) // total
    kept = pieces[cut : len(pieces) - cut]
    return sum(kept, Fraction(0)) / len(kept)


@pytest.mark.parametrize("case", REFERENCE, ids=lambda c: f"{len(c['scores'])}x{len(c['scores'][0])}")
def test_agrees_with_rliable(case: dict) -> None:
    found = aggregates({"method": case["scores"]}, target=0.5, resamples=200_000)["method"]
    assert tuple(found) == AGGREGATES
    for name, one in found.items():
        point, low, high = case[name]
        assert one.point == pytest.approx(point, abs=1e-12)
        assert one.low == pytest.approx(low, abs=0.003)
        assert one.high == pytest.approx(high, abs=0.003)


def test_the_examples_of_rliables_own_tests() -> None:
    x, y = [[1, 2], [2, 2], [1, 1], [2, 1]], [[1, 1], [2, 2], [3, 3]]
    assert [of(x) for of in (median, mean, interquartile_mean)] == [1.5, 1.5, 1.5]
    assert [of(y) for of in (median, mean, interquartile_mean)] == [2.0, 2.0, 2.0]


def test_every_aggregate_weighs_tasks_the_same() -> None:
    nan = np.nan
    scores = [[0.0, 1.0, 0.25], [nan, 1.0, 0.75], [nan, 1.5, nan]]
    assert mean(scores) == pytest.approx((0 + 3.5 / 3 + 0.5) / 3)
    assert median(scores) == 0.5
    assert optimality_gap(scores) == pytest.approx(1 - (0 + 1 + 0.5) / 3)
    assert optimality_gap(scores, target=2.0) == pytest.approx(2 - mean(scores))


@settings(deadline=None)
@given(tables(least=2), tables(least=2))
def test_an_algorithm_is_estimated_as_if_alone(first: np.ndarray, second: np.ndarray) -> None:
    tasks = min(first.shape[1], second.shape[1])
    scores = {"first": first[:, :tasks], "second": second[:, :tasks]}
    together = aggregates(scores, resamples=50)
    for name, of in scores.items():
        for aggregate in AGGREGATES:
            alone = estimate(of, aggregate=aggregate, resamples=50)
            found = together[name][aggregate]
            assert (found.point, found.low, found.high) == pytest.approx(
                (alone.point, alone.low, alone.high), rel=1e-9, abs=1e-9
            )


def test_algorithms_with_the_same_counts_have_the_same_resamples() -> None:
    scores = np.random.default_rng(0).normal(size=(6, 3))
    found = aggregates({"one": scores, "other": scores + 1}, resamples=100)
    for aggregate in ("iqm", "median", "mean"):
        one, other = found["one"][aggregate], found["other"][aggregate]
        assert other.low - one.low == pytest.approx(1)
        assert other.high - one.high == pytest.approx(1)


def test_algorithms_are_compared_on_the_same_tasks() -> None:
    with pytest.raises(ValueError, match="one 2, other 1"):
        aggregates({"one": [[1.0, 2.0]], "other": [[1.0]]})


def test_of_one_task_the_aggregates_are_over_its_runs() -> None:
    column = [[0.0], [0.1], [0.2], [0.9], [2.0]]
    found = {name: estimate_each(column, aggregate=name)[0] for name in AGGREGATES}
    assert found["median"].point == 0.2
    assert found["mean"].point == pytest.approx(0.64)
    assert found["iqm"].point == pytest.approx(0.4)
    assert found["optimality_gap"].point == pytest.approx(1 - 2.2 / 5)
    gap = estimate(column, aggregate="optimality_gap")
    assert (found["optimality_gap"].low, found["optimality_gap"].high) == pytest.approx((gap.low, gap.high))
    assert 0 <= gap.low < gap.high <= 1
    resampled = estimate_each(column, aggregate="median", resamples=20_000)[0]
    # P(median of five draws = the least) = P(at least 3 of 5 draws are it) = .058
    assert (resampled.low, resampled.high) == (0.0, 2.0)


@given(tables(equal=True))
def test_equal_counts_are_the_trimmed_mean_of_all_runs(table: np.ndarray) -> None:
    assert interquartile_mean(table) == pytest.approx(trim_mean(table, 0.25, axis=None), rel=1e-12, abs=1e-9)


@settings(deadline=None)
@given(tables())
def test_unequal_counts_are_the_definition_in_rational_numbers(table: np.ndarray) -> None:
    assert interquartile_mean(table) == pytest.approx(float(exact(table)), rel=1e-9, abs=1e-9)


def test_every_task_weighs_the_same() -> None:
    # One task with a run of 0, one with a thousand of 1: pooled runs would say 1.
    table = np.full((1000, 2), np.nan)
    table[0, 0], table[:, 1] = 0.0, 1.0
    assert interquartile_mean(table) == pytest.approx(0.5, abs=1e-9)


def test_three_runs_are_their_mean_and_four_lose_both_ends() -> None:
    assert interquartile_mean([[0.0], [1.0], [8.0]]) == pytest.approx(3.0)
    assert interquartile_mean([[-100.0], [1.0], [3.0], [50.0]]) == pytest.approx(2.0)


def test_one_outlier_of_ten_changes_nothing() -> None:
    runs = np.arange(10.0)[:, None]
    spoilt = runs.copy()
    spoilt[9] = 1e6
    assert interquartile_mean(runs) == interquartile_mean(spoilt) == 4.5


@settings(deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_order_of_runs_and_tasks_does_not_matter(table: np.ndarray, random) -> None:
    shuffled = table[:, random.sample(range(table.shape[1]), table.shape[1])]
    for task in range(table.shape[1]):
        shuffled[:, task] = random.sample(list(shuffled[:, task]), len(shuffled))
    assert interquartile_mean(shuffled) == pytest.approx(interquartile_mean(table), rel=1e-12, abs=1e-9)


@settings(deadline=None)
@given(tables(least=2), st.randoms(use_true_random=False))
def test_order_of_runs_does_not_change_the_interval(table: np.ndarray, random) -> None:
    shuffled = table[random.sample(range(len(table)), len(table))]
    assert estimate(shuffled, resamples=50) == estimate(table, resamples=50)


@settings(deadline=None)
@given(tables(), st.floats(0.1, 10), st.floats(-100, 100))
def test_translation_and_scale(table: np.ndarray, scale: float, shift: float) -> None:
    before, after = estimate(table, resamples=50), estimate(table * scale + shift, resamples=50)
    for left, right in ((before.point, after.point), (before.low, after.low), (before.high, after.high)):
        assert (left is None) == (right is None)
        if left is not None:
            assert right == pytest.approx(left * scale + shift, rel=1e-6, abs=1e-6)
    assert interquartile_mean(-table) == pytest.approx(-before.point, rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(tables())
def test_everything_lies_inside_the_data(table: np.ndarray) -> None:
    found = estimate(table, resamples=50)
    low, high = np.nanmin(table) - 1e-9, np.nanmax(table) + 1e-9
    assert low <= found.point <= high
    if found.low is not None and found.high is not None:
        assert low <= found.low <= found.high <= high


@settings(deadline=None)
@given(tables())
def test_each_task_is_estimated_as_if_alone(table: np.ndarray) -> None:
    together = estimate_each(table, resamples=50)
    for task, found in enumerate(together):
        alone = estimate(table[:, [task]], resamples=50)
        assert found.point == pytest.approx(alone.point, rel=1e-9, abs=1e-9)
        assert (found.low is None) == (alone.low is None)
        if found.low is not None:
            assert (found.low, found.high) == pytest.approx((alone.low, alone.high), rel=1e-9, abs=1e-9)


def test_the_interval_is_that_of_every_possible_resample() -> None:
    runs = [[0.1, 3.0], [0.7, 1.0], [1.9, 2.0], [5.0, 0.3]]
    columns = np.array(runs).T
    choices = [list(itertools.product(column, repeat=4)) for column in columns]
    every = np.array([[*a, *b] for a in choices[0] for b in choices[1]])
    middle = np.sort(every, axis=1)[:, 2:6].mean(1)
    found = estimate(runs, resamples=400_000, confidence=0.9)
    for end, share in ((found.low, 0.05), (found.high, 0.95)):
        assert end is not None
        # The distribution has atoms: an end is right when the share lies between those of < and of <=.
        assert np.mean(middle < end - 1e-9) <= share + 0.002
        assert np.mean(middle <= end + 1e-9) >= share - 0.002


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    # The mean of the middle half of a normal distribution is its mean; ten runs on each of five tasks.
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(300):
        found = estimate(generator.normal(size=(10, 5)), resamples=500)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
    # 95 % promised; the percentile bootstrap of ten runs is known to fall a little short of it.
    assert 0.88 <= covered / 300 <= 0.98


def test_one_run_of_a_task_has_no_interval() -> None:
    assert estimate([[3.0]]) == Estimate(3.0, None, None)
    assert estimate([[3.0, 1.0], [np.nan, 2.0]]).low is None
    alone, pair = estimate_each([[3.0, 1.0], [np.nan, 2.0]])
    assert alone == Estimate(3.0, None, None)
    assert (pair.low, pair.high) == (1.0, 2.0)


def test_equal_runs_have_an_interval_of_no_width() -> None:
    found = estimate([[0.25]] * 8)
    assert (found.point, found.low, found.high) == (0.25, 0.25, 0.25)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    runs = np.random.default_rng(0).normal(size=(10, 3))
    assert estimate(runs, seed=1, resamples=100) == estimate(runs, seed=1, resamples=100)
    assert estimate(runs, seed=1, resamples=100) != estimate(runs, seed=2, resamples=100)


def test_blocks_of_resamples_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = np.random.default_rng(0).normal(size=(10, 3))
    whole, whole_each = estimate(runs, resamples=100), estimate_each(runs, resamples=100)
    monkeypatch.setattr("marlbench.analysis.resampling.BLOCK", 70)
    monkeypatch.setattr("marlbench.analysis.statistics.BLOCK", 70)
    blocked = estimate(runs, resamples=100)
    assert (blocked.low, blocked.high) == pytest.approx((whole.low, whole.high), abs=1e-12)
    for mine, theirs in zip(estimate_each(runs, resamples=100), whole_each, strict=True):
        assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_scores_of_a_metric_to_minimise_swap_the_ends() -> None:
    assert Estimate(2.0, 1.0, 4.0).map(low=10.0, high=0.0) == Estimate(0.8, 0.6, 0.9)
    assert Estimate(2.0, None, None).map(low=0.0, high=4.0) == Estimate(0.5, None, None)


@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        ([1.0, 2.0], "run, task"),
        (np.empty((3, 0)), "run, task"),
        (np.empty((0, 3)), "no run"),
        ([[1.0, np.nan]], "no run"),
        ([[np.inf]], "infinite"),
    ],
)
def test_what_is_no_table_is_refused(scores, problem: str) -> None:
    for function in (interquartile_mean, estimate, estimate_each):
        with pytest.raises(ValueError, match=problem):
            function(scores)
