"""Permutation tests and Holm's correction: against other code, brute force, and the rates they promise."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from scipy import stats

from marlbench.analysis.significance import (
    Test,
    corrected,
    holm,
    not_told_apart,
    pairwise_tests,
    permutation_test,
)

nan = np.nan


def welch(x: np.ndarray, y: np.ndarray) -> float:
    return stats.ttest_ind(x, y, equal_var=False).statistic


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize(("n", "m"), [(4, 4), (3, 6)])
def test_one_task_is_scipys_permutation_test_of_welchs_statistic(n: int, m: int, alternative) -> None:
    generator = np.random.default_rng(n)
    x, y = generator.normal(0.8, 1.0, n), generator.normal(0.0, 3.0, m)
    # scipy doubles the smaller tail; absolute values make its "greater" our two-sided test.
    if alternative == "two-sided":
        wanted = stats.permutation_test(
            (x, y), lambda a, b: abs(welch(a, b)), n_resamples=np.inf, alternative="greater"
        )
    else:
        wanted = stats.permutation_test((x, y), welch, n_resamples=np.inf, alternative=alternative)
    found = permutation_test(x[:, None], y[:, None], alternative=alternative)
    assert found.p == pytest.approx(wanted.pvalue, abs=1e-12)
    assert found.difference == pytest.approx(x.mean() - y.mean())


def brute_force(x: np.ndarray, y: np.ndarray) -> float:
    """Two-sided, by the definition: every deal of every task."""

    def statistic(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
        difference = sum(a.mean() - b.mean() for a, b in pairs)
        return abs(difference) / np.sqrt(
            sum(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b) for a, b in pairs)
        )

    def deals(a: np.ndarray, b: np.ndarray):
        pool = np.concatenate([a, b])
        for chosen in combinations(range(len(pool)), len(a)):
            yield pool[list(chosen)], np.delete(pool, chosen)

    columns = [(x[:, task], y[:, task]) for task in range(x.shape[1])]
    observed = statistic(columns)
    every = [statistic(list(pairs)) for pairs in product(*(deals(a, b) for a, b in columns))]
    return float(np.mean(np.array(every) >= observed - 1e-12))


def test_several_tasks_are_dealt_each_by_itself() -> None:
    generator = np.random.default_rng(3)
    x, y = generator.normal(1.0, 1.0, (3, 2)), generator.normal(0.0, 1.0, (4, 2))
    assert permutation_test(x, y).p == pytest.approx(brute_force(x, y))


def test_drawn_deals_agree_with_all_of_them() -> None:
    generator = np.random.default_rng(4)
    x, y = generator.normal(0.7, 1.0, (5, 1)), generator.normal(0.0, 1.0, (5, 1))
    exact = permutation_test(x, y).p
    drawn = permutation_test(x, y, permutations=comb(10, 5) - 1)
    assert drawn.p == pytest.approx(exact, abs=0.1)
    x, y = generator.normal(0.3, 1.0, (6, 1)), generator.normal(0.0, 1.0, (6, 1))
    assert permutation_test(x, y, permutations=900).p == pytest.approx(permutation_test(x, y).p, abs=0.05)


@pytest.mark.parametrize(("runs", "least"), [(2, 1 / 3), (3, 0.1), (4, 2 / 70), (5, 2 / 252)])
def test_few_seeds_can_show_only_so_much(runs: int, least: float) -> None:
    x, y = np.arange(runs)[:, None] + 1000.0, np.arange(runs)[:, None] * 1.0
    assert permutation_test(x, y).p == pytest.approx(least)
    assert permutation_test(x, y, alternative="greater").p == pytest.approx(least / 2)
    assert permutation_test(x, y, alternative="less").p == 1.0


def test_equal_runs_are_not_told_apart_and_constant_ones_are() -> None:
    same = [[1.0], [1.0], [1.0], [1.0], [1.0]]
    assert permutation_test(same, same).p == 1.0
    # Rounding of sums must not tell them apart either.
    thirds = np.full((5, 1), 1 / 3)
    assert permutation_test(thirds, thirds).p == 1.0
    assert permutation_test(thirds + 0.1, thirds).p == pytest.approx(2 / 252)
    assert permutation_test(thirds + 1e6, thirds + 1e6 + 1e-3).p == pytest.approx(2 / 252)


def test_scale_and_origin_do_not_matter() -> None:
    generator = np.random.default_rng(5)
    x, y = generator.normal(0.5, 1.0, (5, 2)), generator.normal(0.0, 1.0, (5, 2))
    wanted = permutation_test(x, y).p
    assert permutation_test(1e-9 * x, 1e-9 * y).p == wanted
    assert permutation_test(x + 1e5, y + 1e5).p == wanted
    assert permutation_test(y, x).p == pytest.approx(wanted, abs=0.01)


def test_a_single_run_cannot_be_tested() -> None:
    found = permutation_test([[1.0, 2.0]], [[1.0, 2.0], [0.0, 1.0]])
    assert (found.p, found.adjusted, found.difference) == (None, None, 0.5)


def test_missing_runs_weigh_nothing() -> None:
    x, y = [[3.0, 1.0], [4.0, 2.0], [nan, 3.0]], [[1.0, 0.0], [0.0, 1.0], [nan, 0.5]]
    found = permutation_test(x, y)
    assert found.difference == pytest.approx(((3.5 - 0.5) + (2.0 - 0.5)) / 2)
    assert found.p > 0


def test_alike_algorithms_are_told_apart_as_often_as_the_level_says() -> None:
    generator = np.random.default_rng(6)
    p = [
        permutation_test(
            generator.exponential(size=(5, 2)), generator.exponential(size=(5, 2)), permutations=400
        ).p
        for _ in range(600)
    ]
    # Three standard errors around .05 and .2.
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.08
    assert 0.15 <= np.mean(np.array(p) <= 0.2) <= 0.25


def test_unequal_spread_does_not_fool_it() -> None:
    # Means alike, five runs of wide spread against fifteen of narrow: not divided by its error, the test errs often.
    generator = np.random.default_rng(7)
    p = [
        permutation_test(generator.normal(0, 4, (5, 4)), generator.normal(0, 1, (15, 4)), permutations=300).p
        for _ in range(300)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.09


def test_a_difference_that_is_there_is_found() -> None:
    generator = np.random.default_rng(8)
    p = [
        permutation_test(generator.normal(2, 1, (10, 1)), generator.normal(0, 1, (10, 1)), permutations=500).p
        for _ in range(50)
    ]
    assert np.mean(np.array(p) <= 0.05) >= 0.9


def test_holm_is_the_step_down_of_his_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_family_is_corrected_together_and_untested_pairs_stay_out() -> None:
    found = corrected(
        [Test("a", "b", 1.0, 0.02, 0.02), Test("a", "c", 1.0, None, None), Test("b", "c", 0, 0.03, 0.03)]
    )
    assert [test.adjusted for test in found] == pytest.approx([0.04, None, 0.04])


def test_who_cannot_be_told_from_the_best() -> None:
    base = np.linspace(0.0, 0.1, 10)[:, None]
    scores = {
        "best": base + 1.0,
        "near": base + 0.99,
        "far": base,
        "lone": np.r_[base[:1] - 5, np.full((9, 1), nan)],
    }
    tests = pairwise_tests(scores)
    assert len(tests) == 6
    assert not_told_apart("best", tests) == {"near", "lone"}
    assert not_told_apart("far", tests) == {"lone"}
