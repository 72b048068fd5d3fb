"""Studies as data: what their claims mean, and what is refused with file, line, key and nearest name."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from marlbench.catalog import inventory
from marlbench.catalog.lookup import find
from marlbench.catalog.study import MismatchError, Spot, lay_out, positions
from marlbench.catalog.study_types import Difference, GapClosed, Side, Trend
from marlbench.catalog.suite import load_suite
from marlbench.errors import ConfigurationError

STUDY = """\
schema: 1
suite: asked
title: A study
rows: 4
seeds: 3
steps: 1000
protocol: {kind: episodic, policy: greedy, evaluations: 5}
algorithms:
  learner: {grid: {learning_rate: [0.1, 0.5]}}
  rival: {algorithm: scripted}
  other: {algorithm: learner, tasks: [stay]}
tasks:
  walk:
    environment: walking
    grid: {wind: [0.0, 0.5]}
    score: {metric: return_mean, low: -10, high: 0, source: a coin}
  stay:
    environment: walking
    score: {metric: return_mean, low: -10, high: 0, source: a coin}
study:
  question: Is it so?
  source: nowhere
  claims:
    better:
      says: The learner is better.
      source: page 1
      metric: steps_of_wind
      better: lower
      contrast:
        kind: difference
        a: {algorithm: learner, task: walk, where: {learning_rate: [0.1]}}
        b: {algorithm: rival, task: walk, best: true}
      holds: {above: 0}
    rising:
      says: It rises.
      source: page 2
      contrast: {kind: trend, of: {algorithm: learner}, over: learning_rate}
      holds: {above: 0}
  figure: {kind: heat_map, x: learning_rate, y: wind}
"""


@pytest.fixture
def write(suites: Path) -> Any:
    (suites / "studies").mkdir()

    def to_file(text: str) -> str:
        (suites / "studies" / "asked.yaml").write_text(text)
        return "asked"

    return to_file


def test_studies_are_found_by_name_and_listed_apart(write: Any, suites: Path) -> None:
    assert find(write(STUDY)).path == suites / "studies" / "asked.yaml"
    (study,) = [row for row in inventory.studies() if row["name"] == "asked"]
    assert (study["question"], study["claims"], study["error"]) == ("Is it so?", ["better", "rising"], None)
    assert "asked" not in [row["name"] for row in inventory.suites()]
    assert "asked" not in {row["suite"] for row in inventory.tasks()}
    assert "small" in [row["name"] for row in inventory.suites()]


@pytest.mark.parametrize(
    ("old", "new", "at", "told", "hint"),
    [
        ("kind: difference", "kind: diference", "", "contrast.kind: 'diference' is none of", "'difference'?"),
        ("kind: difference", "", "contrast:\n", "the key 'kind' is missing", ""),
        (
            "        b: {algorithm: rival, task: walk, best: true}\n",
            "",
            "contrast:\n",
            "the key 'b' is missing",
            "",
        ),
        ("algorithm: rival, task", "algoritm: rival, task", "", "unknown key", "Did you mean 'algorithm'?"),
        (
            "algorithm: rival, task",
            "algorithm: rivall, task",
            "",
            "matches 'rivall'",
            "Did you mean 'rival'?",
        ),
        ("[0.1]}}", "[0.3]}}", "", "the axis 'learning_rate' has no level 0.3", "'0.5'"),
        ("where: {learning_rate", "where: {learning_rat", "", "no grid has the axis", "'learning_rate'"),
        ("algorithm: rival, task", "algorithm: other, task", "", "no cell of the suite is meant", ""),
        ("      better: lower\n", "", "metric:", "which end of 'steps_of_wind' is better?", "better: lower"),
        ("over: learning_rate", "over: learning_rats", "", "no axis 'learning_rats' here", "'learning_rate'"),
        ("over: learning_rate", "over: wind, order: [0.5, 7]", "", "wind has no 7 here", "0.5"),
        ("holds: {above: 0}", "holds: {above: 0, below: 1}", "", "exactly one of", ""),
        ("holds: {above: 0}", "holds: {between: [1, 0]}", "", "two rising numbers", ""),
        (
            "holds: {above: 0}",
            "places: every\n      holds: {between: [0, 1]}",
            "better:\n",
            "needs `holds` with",
            "",
        ),
        ("      says: It rises.\n", "", "rising:", "the key 'says' is missing", ""),
        ("metric: steps_of_wind", "reading: steps_to", "better:\n", "`reach` and `reading: steps_to`", ""),
        ("y: wind", "y: wint", "", "no axis 'wint' here", "'wind'"),
        ("question: Is it so?\n", "qestion: Is it so?\n", "", "unknown key", "Did you mean 'question'?"),
        (
            "kind: heat_map",
            "kind: heatmap",
            "",
            "figure.kind: 'heatmap' is none of",
            "Did you mean 'heat_map'?",
        ),
        ("    better:\n      says", "    be tter:\n      says", "be tter", "is not a name", "Names have"),
    ],
)
def test_a_bad_study_is_one_clear_error(
    write: Any, old: str, new: str, at: str, told: str, hint: str
) -> None:
    """`at` stands on the line that has to be named; where it is empty, `new` does."""
    assert old in STUDY
    text = STUDY.replace(old, new, 1)
    with pytest.raises(ConfigurationError) as error:
        load_suite(write(text))
    message = str(error.value)
    line = text[: text.index("study:\n") + text[text.index("study:\n") :].index(at or new)].count("\n") + 1
    assert message.startswith(f"suites/studies/asked.yaml:{line}: study.")
    assert told in message
    assert hint in error.value.hint


def spot(task: str, label: str, **axes: str) -> Spot:
    name = "-".join([label, *axes.values()])
    return Spot(task, name, {"task": task, "algorithm": label, **axes})


DIFFERENCE = Difference(kind="difference", a=Side(), b=Side())


def pairs(a: list[Spot], b: list[Spot]) -> set[tuple[str, str, str, str]]:
    places = lay_out(DIFFERENCE, {"a": a, "b": b}).places
    return {
        (one.task, one.label, other.task, other.label)
        for place in places
        for one, other in product(place.members["a"].values(), place.members["b"].values())
    }


def test_sides_meet_where_they_agree() -> None:
    a = [spot(task, "new", B=level) for task in ("x", "y", "z") for level in ("1", "2", "3")]
    b = [spot(task, "old", B=level) for task in ("y", "z", "w") for level in ("2", "3")]
    expected = {
        (one.task, one.label, other.task, other.label)
        for one, other in product(a, b)
        if (one.task, one.coordinates["B"]) == (other.task, other.coordinates["B"])
    }
    assert pairs(a, b) == expected
    assert len(expected) == 4
    assert lay_out(DIFFERENCE, {"a": a, "b": b}).unmatched == 5


def test_a_single_value_stands_against_several() -> None:
    a = [spot("x", "new", B=level) for level in ("1", "2")]
    # Without the axis at all, or at a level of its own; on another task.
    for other in (spot("x", "old"), spot("x", "old", B="9"), spot("y", "old")):
        assert pairs(a, [other]) == {("x", f"new-{level}", other.task, other.label) for level in ("1", "2")}
    assert pairs([spot("x", "new")], [spot("y", "old")]) == {("x", "new", "y", "old")}


def test_sides_that_cannot_meet_are_refused() -> None:
    several = [spot(task, "new") for task in ("x", "y")]
    with pytest.raises(MismatchError, match="no task in common: a has x, y, b has v, w"):
        lay_out(DIFFERENCE, {"a": several, "b": [spot(task, "old") for task in ("v", "w")]})
    best = Difference(kind="difference", a=Side(), b=Side(best=True))
    with pytest.raises(MismatchError, match="several entries stand at one place: new on x, newer on x"):
        lay_out(
            best, {"a": [spot("x", "new"), spot("x", "newer")], "b": [spot("x", "old"), spot("x", "older")]}
        )
    with pytest.raises(MismatchError, match="stands on the sides a and b"):
        lay_out(DIFFERENCE, {"a": several, "b": several})


def test_three_sides_and_the_best_of_several() -> None:
    contrast = GapClosed(kind="gap_closed", a=Side(), b=Side(best=True), oracle=Side())
    tasks = ("x", "y")
    layout = lay_out(
        contrast,
        {
            "a": [spot(task, "new") for task in tasks],
            "b": [spot(task, label) for task in tasks for label in ("old", "older")],
            "oracle": [spot(task, "oracle") for task in tasks],
        },
    )
    assert [place.coordinates for place in layout.places] == [{"task": "x"}, {"task": "y"}]
    assert list(layout.places[0].members["b"]) == ["old", "older"]


def test_where_the_levels_of_a_trend_stand() -> None:
    def trend(**more: Any) -> Trend:
        return Trend(kind="trend", of=Side(), over="B", **more)

    assert positions(trend(), ["0.1", "2"]) == {"0.1": 0.1, "2": 2.0}
    assert positions(trend(), ["low", "high"]) == {"low": 0.0, "high": 1.0}
    assert positions(trend(order=["high", 2]), ["2", "low", "high"]) == {"2": 1.0, "high": 0.0}
    layout = lay_out(trend(), {"of": [spot(task, "new", B=b) for task in ("x", "y") for b in ("1", "2")]})
    assert [list(place.members["of"]) for place in layout.places] == [["1", "2"], ["1", "2"]]
