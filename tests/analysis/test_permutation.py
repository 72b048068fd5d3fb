"""The gate's test: exact by count, and equal to SciPy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from marlbench.analysis.permutation import EXACT, p_values, smallest

values = st.floats(-100, 100, allow_nan=False, width=32)


@pytest.mark.parametrize("seed", range(3))
def test_it_equals_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    before, after = generator.normal(0.3, 1.0, 6), generator.normal(0.0, 1.0, 4)

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(x, axis=axis) - np.mean(y, axis=axis)

    found = stats.permutation_test(
        (after, before), difference, alternative="less", n_resamples=np.inf, vectorized=True
    )
    assert p_values(before, after) == pytest.approx(found.pvalue, abs=1e-12)


def test_runs_that_are_all_lower_have_the_smallest_p() -> None:
    before, after = np.arange(10.0), np.arange(5.0) - 100
    assert p_values(before, after) == smallest(10, 5) == 1 / math.comb(15, 5)


def test_without_any_difference_everything_ties() -> None:
    assert p_values(np.full(8, 0.1), np.full(5, 0.1)) == 1.0
    assert p_values(np.full(8, 0.1), np.full(5, 0.1 + 1e-17)) == 1.0


def test_of_many_choices_some_are_drawn_and_the_one_seen_counts() -> None:
    before, after = np.linspace(0, 1, 20), np.linspace(0, 1, 10) - 9
    assert math.comb(30, 10) > EXACT
    assert p_values(before, after) == smallest(20, 10) == 1 / (EXACT + 1)
    # Where nothing is lower, nearly half of the choices are.
    assert 0.1 < p_values(before, np.linspace(0, 1, 10)) < 0.9


@given(arrays(float, 6, elements=values), arrays(float, 4, elements=values))
def test_both_sides_together_count_every_choice(before: np.ndarray, after: np.ndarray) -> None:
    found = float(p_values(before, after))
    assert smallest(6, 4) <= found <= 1
    # The two sides share the choices that tie with what was seen.
    assert found + float(p_values(-before, -after)) >= 1


def test_leading_axes_are_tested_one_by_one() -> None:
    generator = np.random.default_rng(0)
    before, after = generator.normal(size=(3, 2, 6)), generator.normal(size=(3, 2, 4))
    found = p_values(before, after)
    assert found.shape == (3, 2)
    assert found[2, 1] == p_values(before[2, 1], after[2, 1])
