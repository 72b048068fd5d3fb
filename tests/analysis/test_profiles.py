"""Performance profiles: against rliable, and by what they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from marlbench.analysis.profiles import performance_profiles, thresholds_of

# See rliable_reference.py for the command that made it.
REFERENCE = json.loads(Path(__file__).with_name("rliable_reference.json").read_text())["profiles"]


@pytest.mark.parametrize("case", REFERENCE, ids=lambda c: f"{len(c['scores'])}x{len(c['scores'][0])}")
@pytest.mark.parametrize("kind", ["runs", "tasks"])
def test_agrees_with_rliable(case: dict, kind) -> None:
    thresholds = np.array(case["thresholds"])
    found = performance_profiles({"m": case["scores"]}, thresholds, kind=kind, resamples=50_000)["m"]
    points, low, high = case[kind]
    assert found.points == pytest.approx(points, abs=1e-12)
    # An end is one of few values: where the level falls between two, either library may take the one or the other.
    atom = 1 / (len(case["scores"][0]) * (len(case["scores"]) if kind == "runs" else 1))
    for mine, theirs in ((found.low, low), (found.high, high)):
        apart = np.abs(mine - np.array(theirs))
        assert apart.max() <= atom + 1e-9
        assert np.mean(apart > 0.003) <= 0.1


def test_a_profile_is_a_share_that_falls() -> None:
    scores = {"a": [[0.0, 1.0], [0.5, 1.0]], "b": [[0.2, 0.2], [np.nan, 0.4]]}
    found = performance_profiles(scores, [-1.0, 0.0, 0.3, 0.5, 2.0])
    assert found["a"].points.tolist() == [1.0, 0.75, 0.75, 0.5, 0.0]
    # The single run of the first task weighs as much as both of the second.
    assert found["b"].points.tolist() == [1.0, 1.0, 0.25, 0.0, 0.0]
    assert found["b"].low is None
    tasks = performance_profiles(scores, [0.25, 0.35], kind="tasks")
    assert tasks["a"].points.tolist() == [0.5, 0.5]
    assert tasks["b"].points.tolist() == [0.5, 0.0]


def test_a_band_holds_its_points_and_the_same_for_the_same_runs() -> None:
    runs = np.random.default_rng(0).beta(2, 2, size=(8, 3))
    found = performance_profiles({"a": runs, "b": runs[::-1]})
    assert (found["a"].low <= found["a"].points).all()
    assert (found["a"].points <= found["a"].high).all()
    assert (found["a"].low == found["b"].low).all()
    assert (np.diff(found["a"].points) <= 0).all()


def test_thresholds_span_all_scores() -> None:
    levels = thresholds_of({"a": [[0.0, np.nan]], "b": [[3.0, -1.0]]}, 5)
    assert levels.tolist() == [-1.0, 0.0, 1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="no score"):
        thresholds_of({})
