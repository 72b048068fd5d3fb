"""Sample-efficiency curves: against rliable, and where runs were evaluated at steps of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from marlbench.analysis.curves import Trace, common_steps, sample_efficiency
from marlbench.analysis.statistics import estimate

# See rliable_reference.py for the command that made it.
REFERENCE = json.loads(Path(__file__).with_name("rliable_reference.json").read_text())["curve"]


def trace(steps: list[int], scores: list[float], after: float | None = None) -> Trace:
    return Trace(np.array(steps, dtype=np.int64), np.array(scores, dtype=np.float64), after)


def test_agrees_with_rliable() -> None:
    scores = np.array(REFERENCE["scores"])  # [run, task, evaluation]
    steps = [100 * (1 + place) for place in range(scores.shape[2])]
    tasks = [[trace(steps, run.tolist()) for run in scores[:, task]] for task in range(scores.shape[1])]
    found = sample_efficiency(tasks, resamples=50_000)
    points, low, high = REFERENCE["iqm"]
    assert found.steps.tolist() == steps
    assert found.points == pytest.approx(points, abs=1e-12)
    assert found.low == pytest.approx(low, abs=0.003)
    assert found.high == pytest.approx(high, abs=0.003)
    assert found.runs == 50


def test_between_two_evaluations_the_earlier_one_counts() -> None:
    one, other = trace([100, 200, 300], [0.1, 0.2, 0.3]), trace([150, 250, 350], [1.1, 1.2, 1.3])
    assert common_steps([[one, other]]).tolist() == [150, 200, 250, 300]
    found = sample_efficiency([[one, other]])
    assert found.points == pytest.approx([0.6, 0.65, 0.7, 0.75])
    assert one.at(np.array([99, 100, 199, 300, 301])) == pytest.approx(
        [np.nan, 0.1, 0.1, 0.3, np.nan], nan_ok=True
    )


def test_what_diverged_has_its_score_from_then_on() -> None:
    whole, cut = trace([100, 200, 300], [1.0, 1.0, 1.0]), trace([100], [0.5], after=0.0)
    found = sample_efficiency([[whole, cut]])
    assert found.steps.tolist() == [100, 200, 300]
    assert found.points == pytest.approx([0.75, 0.5, 0.5])
    never = trace([], [], after=0.0)
    assert sample_efficiency([[whole, never]]).points == pytest.approx([0.5, 0.5, 0.5])


def test_each_step_is_the_estimate_of_its_scores() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 2, 3))
    tasks = [[trace([1, 2, 3], run.tolist()) for run in scores[:, task]] for task in range(2)]
    found = sample_efficiency(tasks, resamples=100)
    for place in range(3):
        wanted = estimate(scores[:, :, place], resamples=100)
        assert (found.points[place], found.low[place], found.high[place]) == pytest.approx(
            (wanted.point, wanted.low, wanted.high)
        )


def test_many_steps_are_thinned_evenly_and_few_are_kept() -> None:
    dense = trace(list(range(1, 5001)), [0.0] * 5000)
    steps = common_steps([[dense]], most=11)
    assert (len(steps), steps[0], steps[-1]) == (11, 1, 5000)
    assert np.abs(np.diff(steps) - 499.9).max() <= 1
    assert common_steps([[trace([1, 7, 9], [0.0] * 3)]], most=11).tolist() == [1, 7, 9]


def test_runs_without_a_step_in_common_have_no_curve() -> None:
    found = sample_efficiency([[trace([1, 2], [0.0, 0.0]), trace([5], [0.0])]])
    assert len(found.steps) == len(found.points) == 0


@pytest.mark.parametrize(
    ("steps", "scores", "problem"),
    [
        ([1, 1], [0.0, 0.0], "ascend"),
        ([1], [np.nan], "finite"),
        ([1], [], "1 steps and 0"),
        ([], [], "0 steps"),
    ],
)
def test_what_is_no_trace_is_refused(steps, scores, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        trace(steps, scores)


def test_a_task_without_runs_is_refused() -> None:
    for tasks in ([], [[trace([1], [0.0])], []]):
        with pytest.raises(ValueError, match="no run"):
            sample_efficiency(tasks)
    with pytest.raises(ValueError, match="no score at one"):
        sample_efficiency([[trace([5], [0.0])]], [1])
