"""From a store to verdicts: what counts, what is missing, what diverged, what a part of the study says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from marlbench.errors import ConfigurationError

TASKS = ("walk-agents-2", "walk-agents-3")


def values(task_offset: float = 0.0, n: int = 8) -> dict[tuple[str, str], list[float]]:
    """first rises with its rate to about -0.5, second and third are at -3."""
    generator = np.random.default_rng(1)
    levels = {"first-rate-1": -4.0, "first-rate-2": -2.0, "first-rate-4": -0.5, "second": -3.0, "third": -3.1}
    return {
        (task, label): (level + place * task_offset + 0.1 * generator.normal(size=n)).tolist()
        for place, task in enumerate(TASKS)
        for label, level in levels.items()
    }


def by_name(findings: Any) -> dict[str, Any]:
    return {verdict.name: verdict for verdict in findings.verdicts}


def test_claims_that_hold(judge_by: Any) -> None:
    of = values()
    findings = judge_by(of)
    verdicts = by_name(findings)
    assert {name: verdict.verdict for name, verdict in verdicts.items()} == {
        "rises": "holds",
        "beats_the_best": "holds",
        "reaches": "holds",
    }
    assert (findings.done, findings.expected) == (80, 80)
    rises = verdicts["rises"]
    assert (rises.n, rises.expected, rises.places) == (48, 48, (2, 2))
    slopes = [
        np.polyfit([1, 2, 4], [np.mean(of[task, f"first-rate-{rate}"]) for rate in (1, 2, 4)], 1)[0]
        for task in TASKS
    ]
    assert rises.estimate.point == pytest.approx(3 * np.mean(slopes))
    assert verdicts["beats_the_best"].best[0] == "second"
    assert verdicts["beats_the_best"].sides["b"] == pytest.approx(
        np.mean([np.mean(of[task, "second"]) for task in TASKS])
    )
    reaches = verdicts["reaches"]
    worst = min(TASKS, key=lambda task: float(np.mean(of[task, "first-rate-4"])))
    scores = (np.array(of[worst, "first-rate-4"]) + 10) / 10
    assert reaches.worst == f"task walk algorithm first agents {worst[-1]} rate 4"
    assert reaches.estimate.point == pytest.approx(scores.mean())
    # The near end is that of a single interval at the study's error by the number of claims.
    low = min(
        stats.ttest_1samp((np.array(of[task, "first-rate-4"]) + 10) / 10, 0).confidence_interval(
            1 - 0.05 / 3
        )[0]
        for task in TASKS
    )
    assert reaches.estimate.low == pytest.approx(low)


def test_a_claim_that_does_not_hold(judge_by: Any) -> None:
    of = values()
    for task in TASKS:
        of[task, "first-rate-1"], of[task, "first-rate-4"] = (
            of[task, "first-rate-4"],
            of[task, "first-rate-1"],
        )
    assert {name: one.verdict for name, one in by_name(judge_by(of)).items()} == dict.fromkeys(
        ("rises", "beats_the_best", "reaches"), "does not hold"
    )


def test_what_is_missing_is_told(judge_by: Any) -> None:
    of: dict[tuple[str, str], list[float]] = values()
    del of["walk-agents-3", "first-rate-2"]
    of["walk-agents-2", "second"] = of["walk-agents-2", "second"][:2]
    verdicts = by_name(judge_by(of))
    rises = verdicts["rises"]
    assert (rises.verdict, rises.n, rises.expected, rises.places) == ("undecided", 40, 48, (1, 2))
    assert rises.reason == "1 of 6 groups of cells have fewer than 3 runs"
    assert rises.notes == ("1 of 2 places lack runs",)
    assert rises.estimate is not None
    assert verdicts["beats_the_best"].reason == "1 of 6 groups of cells have fewer than 3 runs"
    assert verdicts["reaches"].verdict == "holds"


def test_nothing_is_done_yet(judge_by: Any) -> None:
    findings = judge_by({})
    assert {verdict.verdict for verdict in findings.verdicts} == {"undecided"}
    assert {verdict.reason for verdict in findings.verdicts} == {"no place has runs on all sides"}
    assert findings.done == 0


def test_a_part_of_the_study_says_what_it_has(judge_by: Any) -> None:
    findings = judge_by(values(n=4), preset="short")
    assert {name: one.places for name, one in by_name(findings).items()} == {
        "rises": (1, 2),
        "beats_the_best": (1, 2),
        "reaches": (1, 2),
    }
    assert findings.expected == 20
    # 2 / 2^4 is more than 0.05 / 3: four runs of which nothing is known cannot decide about a level.
    assert "too few runs" in by_name(findings)["reaches"].reason
    assert by_name(findings)["rises"].verdict == "holds"


def test_runs_known_to_be_normal_need_fewer(judge_by: Any, study: Path) -> None:
    study.write_text(
        study.read_text().replace("      places: every\n", "      places: every\n      normal: true\n")
    )
    assert by_name(judge_by(values(n=4), preset="short"))["reaches"].verdict == "holds"


def test_what_diverged_counts_by_the_rule(judge_by: Any, study: Path) -> None:
    of: dict[tuple[str, str], Any] = values()
    of[TASKS[0], "first-rate-4"] = [None] * 8
    verdicts = by_name(judge_by(of))
    # diverged_score 0 is return_mean -10.
    assert verdicts["reaches"].estimate.point == pytest.approx(0.0)
    assert verdicts["reaches"].n == 16


def test_of_another_metric_what_diverged_has_no_value(judge_by: Any, study: Path) -> None:
    study.write_text(study.read_text().replace("metric: score", "metric: delay"))
    of: dict[tuple[str, str], Any] = {(task, "first-rate-4"): [None] * 8 for task in TASKS}
    reaches = by_name(judge_by(of))["reaches"]
    assert (reaches.n, reaches.expected, reaches.verdict) == (0, 16, "undecided")


def test_a_metric_that_nobody_measured_is_one_clear_error(judge_by: Any, study: Path) -> None:
    study.write_text(study.read_text().replace("metric: score", "metric: return_men"))
    with pytest.raises(ConfigurationError, match="have no metric 'return_men'") as error:
        judge_by(values())
    assert error.value.hint == "Did you mean 'return_mean'?"
