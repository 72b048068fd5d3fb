"""The probability of improvement: against rliable, and by its symmetries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from marlbench.analysis.improvement import improvement_matrix, probability_of_improvement

# See rliable_reference.py for the command that made it.
REFERENCE = json.loads(Path(__file__).with_name("rliable_reference.json").read_text())["pairs"]


@pytest.mark.parametrize("case", REFERENCE, ids=lambda c: f"{len(c['x'])}-{len(c['y'])}x{len(c['x'][0])}")
def test_agrees_with_rliable(case: dict) -> None:
    found = probability_of_improvement(case["x"], case["y"], resamples=50_000)
    point, low, high = case["improvement"]
    assert found.point == pytest.approx(point, abs=1e-12)
    assert found.low == pytest.approx(low, abs=0.003)
    assert found.high == pytest.approx(high, abs=0.003)


def test_the_example_of_rliables_own_tests() -> None:
    found = probability_of_improvement([[1, 2], [2, 2], [1, 1], [2, 1]], [[1, 1], [2, 2], [3, 3]])
    assert found.point == pytest.approx(1 / 3)


def test_ties_count_one_half_and_both_ways_add_to_one() -> None:
    scores = {"a": [[1.0], [2.0]], "b": [[1.0], [1.0], [3.0]], "c": [[1.0], [2.0]]}
    found = improvement_matrix(scores)
    assert found["a", "c"].point == 0.5
    # 1 against 1, 1, 3: two ties; 2 against them: two wins.
    assert found["a", "b"].point == pytest.approx(3 / 6)
    assert len(found) == 6
    for (x, y), one in found.items():
        other = found[y, x]
        assert one.point + other.point == pytest.approx(1)
        assert one.low + other.high == pytest.approx(1)
        assert one.low <= one.point <= one.high


def test_every_task_weighs_the_same() -> None:
    nan = np.nan
    x, y = [[1.0, 0.0], [nan, 0.0], [nan, 0.0]], [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    found = probability_of_improvement(x, y)
    assert found.point == 0.5
    assert found.low is None


def test_x_and_y_are_drawn_apart() -> None:
    # Drawn together, equal runs would be resampled equally and the interval would be a point.
    runs = np.random.default_rng(0).normal(size=(10, 2))
    found = probability_of_improvement(runs, runs)
    assert found.point == 0.5
    assert found.high - found.low > 0.2


def test_different_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="same tasks"):
        probability_of_improvement([[1.0]], [[1.0, 2.0]])
