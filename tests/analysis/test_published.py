"""Published numbers: the files that come with marlbench, what a file may not say, and where they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from marlbench.analysis.comparison import compare_matrix
from marlbench.analysis.layout import blocks
from marlbench.analysis.published import load, names
from marlbench.catalog.matrix import resolve
from marlbench.errors import ConfigurationError, UsageError
from marlbench.store.store import Store

TEXT = """\
schema: 1
published: numbers
title: Numbers of nobody
tables:
  - suites: [small]
    backend: builtin
    metric: return_mean
    label: paper
    source: Nobody 2020
    protocol: ten seeds
    steps: 1000
    results:
      walk: {theirs: -2.5, first: -9}
  - suites: [small]
    backend: library
    metric: delay
    label: figure
    source: Somebody 2021
    protocol: in minutes
    factor: 60
    steps: 5000
    results:
      sail: {theirs: 0.5}
      fly: {theirs: 1}
"""


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.yaml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("name", names())
def test_the_files_that_come_with_marlbench(name: str) -> None:
    published = load(name)
    assert published.name == name
    for table in published.tables:
        assert table.source
        assert table.protocol
        assert "percent" not in table.protocol or table.factor == 0.01
        if table.metric == "win_rate":
            values = [value * table.factor for of in table.results.values() for value in of.values()]
            assert all(0 <= value <= 1 for value in values)


def test_there_are_some() -> None:
    assert {"smacv2", "smac", "epymarl", "resco"} <= set(names())


def test_they_stand_beside_our_rows_and_are_never_pooled(
    suite: Path, store: Store, finish: Any, numbers: Path
) -> None:
    matrix = resolve(["small"])
    finish(matrix.cells[:3], [-1.0, -2.0, -3.0])
    alone = compare_matrix(store, matrix)[0]
    found = compare_matrix(store, matrix, published=[load(str(numbers))])[0]
    assert (found.rows, found.aggregate, found.tests) == (alone.rows, alone.aggregate, alone.tests)
    walk, ours, sail = found.published
    assert (walk.algorithm, walk.value, walk.score, walk.label) == ("theirs", -2.5, 0.75, "paper")
    assert ours.algorithm == "first"
    # In minutes there, in seconds here; another backend and budget, which is said.
    assert (sail.value, sail.as_published, sail.score) == (30.0, 0.5, 0.7)
    assert sail.differences == ("measured with library", "5,000 steps of training")
    assert found.notes[len(alone.notes) :] == (
        "published [paper], shown and not pooled: Nobody 2020: ten seeds",
        "published [figure], shown and not pooled: Somebody 2021: in minutes; measured with library; "
        "5,000 steps of training",
    )
    entries = blocks(found)[0].entries
    assert [(entry.label, entry.value, entry.interval) for entry in entries[-2:]] == [
        ("theirs [paper]", "-2.500", "published"),
        ("first [paper]", "-9.000", "published"),
    ]
    assert found.to_json()["published"][0]["source"] == "Nobody 2020"


def test_another_metric_or_task_has_no_score(suite: Path, store: Store, finish: Any, numbers: Path) -> None:
    numbers.write_text(TEXT.replace("metric: return_mean", "metric: return_sum"))
    found = compare_matrix(store, resolve(["small"]), published=[load(str(numbers))])[0].published
    assert found[0].score is None
    assert "its metric is return_sum, ours return_mean" in found[0].differences
    numbers.write_text(TEXT.replace("    steps: 1000\n", "    differences: [a shorter walk]\n"))
    found = compare_matrix(store, resolve(["small"]), published=[load(str(numbers))])[0].published
    assert (found[0].score, found[0].differences) == (None, ("a shorter walk",))


def test_numbers_of_other_tasks_are_refused(suite: Path, store: Store, numbers: Path) -> None:
    with pytest.raises(UsageError, match="no number of a task of small") as caught:
        compare_matrix(store, resolve(["small"], tasks=["read"]), published=[load(str(numbers))])
    assert "small/walk" in caught.value.hint


@pytest.mark.parametrize(
    ("before", "after", "line", "problem"),
    [
        ("label: paper", "label: papers", 8, "label"),
        ("metric: return_mean", "measure: return_mean", 7, "unknown key"),
        ("source: Nobody 2020", "source: ''", 9, "source"),
        ("theirs: -2.5", "theirs: much", 13, "theirs"),
        ("published: numbers", "published: others", 2, "not the name of the file"),
        ("schema: 1", "schema: 2", 1, "schema"),
        ("    backend: builtin\n", "", 5, "'backend' is missing"),
        ("source: Somebody 2021", "source: Nobody 2020", 0, None),
        ("sail: {theirs: 0.5}", "walk: {theirs: 0.5}", 0, None),
    ],
)
def test_what_a_file_may_not_say(
    numbers: Path, before: str, after: str, line: int, problem: str | None
) -> None:
    numbers.write_text(TEXT.replace(before, after, 1))
    if problem is None:
        load(str(numbers))
        return
    with pytest.raises(ConfigurationError) as caught:
        load(str(numbers))
    assert f"numbers.yaml:{line}: " in str(caught.value)
    assert problem in str(caught.value)


def test_the_same_number_twice_is_refused(numbers: Path) -> None:
    text = TEXT.replace("Somebody 2021", "Nobody 2020").replace("sail:", "walk:")
    numbers.write_text(text)
    with pytest.raises(ConfigurationError, match=r"results.walk.theirs: tables\[0\] has it"):
        load(str(numbers))


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="there are no published numbers 'smacv3'") as caught:
        load("smacv3")
    assert "smac" in caught.value.hint
