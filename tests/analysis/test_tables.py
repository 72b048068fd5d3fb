"""What a person sees of a comparison."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from marlbench.analysis.comparison import compare_matrix
from marlbench.analysis.tables import render
from marlbench.catalog.matrix import Matrix, resolve
from marlbench.store.store import Store

pytestmark = pytest.mark.usefixtures("suite")

VALUES = {
    ("walk", "first"): [-1.25, -2.0, -6.0],
    ("walk", "second"): [-1.5, None, -6.0],
    ("walk", "third"): [-9.0, -8.0, -7.0],
    ("sail", "first"): [20.0, 30.0, 40.0],
    ("sail", "second"): [25.0, 20.0, 10.0],
    ("read", "first"): [5.0, 10.0],
}


COST = ["1.50k", ".50", "2.0G"]


@pytest.fixture
def matrix(finish: Any) -> Matrix:
    found = resolve(["small"])
    for group in found.groups:
        values = VALUES.get((group.cell.task, group.cell.label), [])
        cost = {"steps_per_second": 1500.0, "cpu_seconds": 1800.0, "peak_memory_bytes": 2**31}
        finish(group.cells[: len(values)], values, **cost)
    return found


def shown(store: Store, matrix: Matrix, width: int) -> list[str]:
    stream = io.StringIO()
    render(compare_matrix(store, matrix), Console(file=stream, width=width))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def words(line: str) -> list[str]:
    return line.replace(", ", ",").split()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_nothing_is_cut_off(store: Store, matrix: Matrix, width: int) -> None:
    lines = shown(store, matrix, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for part in (
        "[-6.00, -1.25]",
        "[10.00, 25.00]",
        "3/3",
        "2/3",
        "0/3",
        "first",
        "second",
        "third",
        "sail r2",
    ):
        assert part in text


def test_a_narrow_table_has_a_line_for_each_task_and_algorithm(store: Store, matrix: Matrix) -> None:
    lines = [words(line) for line in shown(store, matrix, 80)]
    assert words("small: 17 of 21 cells done (4 planned)") == lines[0]
    start = lines.index(["walk", "return_mean", "↑,builtin"])
    assert lines[start + 1 : start + 4] == [
        ["first", "-3.08*", "[-6.00,-1.25]", "0.692", "3/3", *COST],
        ["second", "-5.83~", "[-10.00,-1.50]", "0.417", "3/3", *COST],
        ["third", "-8.00~", "[-9.00,-7.00]", "0.200", "3/3", *COST],
    ]
    start = lines.index(["sail", "r2", "delay", "↓,builtin"])
    # Lower is better here, so the star is at the smaller number.
    assert lines[start + 2][:2] == ["second", "18.33*"]
    assert "*" not in "".join(lines[start + 1])
    start = lines.index(["read", "words", "↑,library"])
    assert lines[start + 1] == ["first", "7.50", "[5.00,10.00]", "0.150", "2/3", *COST]
    assert lines[start + 2] == ["second", "-", "-", "-", "0/3", "-", "-", "-"]


def test_a_wide_table_has_a_column_for_each_algorithm(store: Store, matrix: Matrix) -> None:
    lines = [words(line) for line in shown(store, matrix, 200)]
    assert words("steps/s, CPU-h, memory first second third") in lines
    start = lines.index(["walk", "-3.08*", "-5.83~", "-8.00~"])
    assert lines[start + 1] == words(
        "return_mean ↑, builtin [-6.00, -1.25] 3/3 [-10.00, -1.50] 3/3 [-9.00, -7.00] 3/3"
    )
    assert lines[start + 2] == words(3 * "1.50k, .50, 2.0G ")
    assert ["sail", "r2", "30.00~", "18.33*", "-"] in lines


def test_the_aggregate_says_over_how_many_tasks(store: Store, matrix: Matrix) -> None:
    lines = [words(line) for line in shown(store, matrix, 80)]
    start = lines.index(words("1 of 2 tasks IQM of scores ↑, builtin"))
    assert lines[start + 1][:2] == ["first", "0.692*"]
    text = " ".join(shown(store, matrix, 200))
    assert "note: left out of the aggregate (builtin), for every algorithm: sail (no run of third)" in text
    # One task is all that the other backend has: its aggregate would repeat it.
    assert "scores ↑, library" not in text


def test_what_the_numbers_are_is_said(store: Store, matrix: Matrix) -> None:
    text = " ".join(shown(store, matrix, 200))
    assert "Interquartile mean over seeds and its 95 % stratified bootstrap interval" in text
    assert "best policy, greedy, 320 fresh episodes" in text
    assert "note: second on walk: 1 of 3 runs diverged, counted with score 0" in text


def test_a_preset_is_labelled_in_the_first_line(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], preset="smoke")
    finish(matrix.cells[:1], [-5.0])
    assert shown(store, matrix, 80)[0] == (
        "small, preset smoke (not a comparison): 1 of 7 cells done (6 planned)"
    )


def test_nothing_done_is_one_line(store: Store) -> None:
    assert shown(store, resolve(["small"]), 80) == ["small: 0 of 21 cells done (21 planned)"]


def test_names_that_look_like_markup_are_printed_as_they_are(store: Store, finish: Any, suite: Any) -> None:
    suite.write_text(suite.read_text().replace("metric: words", "metric: words.b"))
    matrix = resolve(["small"], tasks=["read"], algorithms=["first"])
    finish(matrix.cells, [1.0, 2.0, 3.0])
    assert "words.b" in "\n".join(shown(store, matrix, 80))


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([123456.0, 123460.0, 123470.0], "123462"),
        ([0.00012, 0.00013, 0.00014], "0.000130"),
        ([0.0, 0.0, 0.0], "0.000"),
        ([-0.0001, 50.0, -50.0], "0.00"),
        ([2e12, 2e12, 2e12], "2.000e+12"),
    ],
)
def test_numbers_keep_the_digits_that_matter(
    store: Store, finish: Any, values: list[float], wanted: str
) -> None:
    matrix = resolve(["small"], tasks=["read"], algorithms=["first"])
    finish(matrix.cells, values)
    line, *_ = [line for line in shown(store, matrix, 80) if line.startswith("  first")]
    assert line.split()[1] == wanted
