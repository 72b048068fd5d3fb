"""What a claim reads of one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marlbench.analysis.studies.readings import Finished, reading
from marlbench.catalog.cell import Cell
from marlbench.catalog.study_types import Measure
from marlbench.errors import ConfigurationError

STEPS, VALUES = [100, 200, 400, 1000], [1.0, 4.0, 2.0, 3.0]


def cell(low: float = 0.0, high: float = 10.0) -> Cell:
    return Cell(
        suite="s",
        task="t",
        task_revision=1,
        environment="e",
        parameters={},
        backend="builtin",
        simulator="",
        data={},
        algorithm="a",
        algorithm_revision=1,
        hyperparameters={},
        label="a",
        rows=1,
        dtype="float32",
        protocol={"kind": "episodic", "evaluations": 4, "diverged_score": 0.1},
        steps=1000,
        seed=0,
        score={"metric": "return_mean", "low": low, "high": high, "source": "x"},
    )


def finished(tmp_path: Path, at: Cell | None = None, **outcome: Any) -> Finished:
    evaluations = [
        {"step": step, "values": {"return_mean": value, "length": -value}}
        for step, value in zip(STEPS, VALUES, strict=True)
    ]
    values = {
        "status": "completed",
        "steps": 1000,
        "evaluations": evaluations,
        "final": evaluations[-1]["values"],
        "absolute": {"return_mean": 3.5, "length": -3.5},
        **outcome,
    }
    return Finished(at or cell(), values, {}, tmp_path / "journal.jsonl")


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ({}, 3.5),
        ({"metric": "length"}, -3.5),
        ({"metric": "score"}, 0.35),
        ({"factor": 6, "offset": -75}, 6 * 3.5 - 75),
        ({"reading": "last"}, 3.0),
        ({"reading": "maximum"}, 4.0),
        ({"reading": "area"}, float(np.trapezoid(VALUES, STEPS)) / 900),
        ({"reading": "steps_to", "reach": 2.5}, 200),
        ({"reading": "steps_to", "reach": 5}, 1000),
        ({"reading": "steps_to", "reach": -3.5, "metric": "length", "better": "lower"}, 200),
        ({"reading": "steps_to", "reach": 0.3, "metric": "score"}, 200),
    ],
)
def test_readings(tmp_path: Path, measure: dict[str, Any], expected: float) -> None:
    assert reading(Measure(**measure), finished(tmp_path)) == pytest.approx(expected)


def test_where_less_is_better_it_is_reached_from_above(tmp_path: Path) -> None:
    minimised = finished(tmp_path, cell(low=10.0, high=0.0))
    assert reading(Measure(reading="steps_to", reach=1.0), minimised) == 100


def test_without_an_absolute_evaluation_the_last_counts(tmp_path: Path) -> None:
    assert reading(Measure(), finished(tmp_path, absolute={})) == 3.0


def test_what_diverged_goes_on_by_the_rule(tmp_path: Path) -> None:
    first = [{"step": 100, "values": {"return_mean": 4.0, "length": 1.0}}]
    broken = finished(tmp_path, status="diverged", steps=500, evaluations=first, final={}, absolute={})
    assert reading(Measure(), broken) == pytest.approx(1.0)
    assert reading(Measure(metric="score", reading="last"), broken) == pytest.approx(0.1)
    assert reading(Measure(reading="area"), broken) == pytest.approx((400 * 2.5 + 500 * 1.0) / 900)
    assert reading(Measure(metric="length"), broken) is None
    assert reading(Measure(metric="length", reading="maximum"), broken) is None
    assert reading(Measure(reading="steps_to", reach=4.0), broken) == 100


def test_values_that_are_not_finite_do_not_count(tmp_path: Path) -> None:
    assert reading(Measure(), finished(tmp_path, absolute={"return_mean": float("nan")})) is None


def test_training_measures_stand_in_the_journal(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"kind": "header", "schema": 1, "cell": tmp_path.name, "attempt": 1, "time_ms": 1, "generation": 1},
        {"seq": 1, "attempt": 1, "time_ms": 1, "kind": "train", "step": 10, "values": {"loss": 2.0}},
        {"seq": 2, "attempt": 1, "time_ms": 1, "kind": "train", "step": 20, "values": {"loss": 1.0}},
    ]
    (tmp_path / "journal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert reading(Measure(metric="loss", reading="train"), finished(tmp_path)) == 1.0
    with pytest.raises(ConfigurationError, match="no training measure 'los'"):
        reading(Measure(metric="los", reading="train"), finished(tmp_path))
