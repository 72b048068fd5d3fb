"""`marlbench compare` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from marlbench.catalog.matrix import resolve
from marlbench.errors import CONFIGURATION, STORE, USAGE
from marlbench.store.store import Store


def test_json_on_stdout_and_nothing_else(typed: Any, store: Store, finish: Any) -> None:
    matrix = resolve(["small"], tasks=["walk"])
    finish(matrix.cells, [-1.0, -2.0, -6.0] * 3)
    code, out, err = typed("compare", "small", "--task", "walk", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["suite"] == "small"
    assert [(r["algorithm"], r["n"], r["expected"]) for r in document["rows"]] == [
        ("first", 3, 3),
        ("second", 3, 3),
        ("third", 3, 3),
    ]


def test_an_unfinished_suite_gets_the_command_that_finishes_it(typed: Any, store: Store, finish: Any) -> None:
    finish(resolve(["small"]).cells[:2], [-1.0, -2.0])
    code, out, err = typed("compare", "small", "--algorithm", "first", "--set", "first.rate=1.0")
    assert code == 0
    assert "small: 2 of 9 cells done" in out
    assert "marlbench run small --algorithm first --set first.rate=1.0" in err


def test_other_presets_that_have_results_are_named(typed: Any, store: Store, finish: Any) -> None:
    finish(resolve(["small"], preset="smoke").cells[:3], [-1.0, -2.0, -3.0])
    code, out, err = typed("compare", "small")
    assert code == 0
    assert "small: 0 of 21 cells done" in out
    assert "To get them: marlbench run small" in err
    assert "3 of 7 cells of the preset smoke are done: marlbench compare small --preset smoke" in err
    assert "short" not in err
    code, out, err = typed("compare", "small", "--preset", "smoke")
    assert code == 0
    assert "not a comparison" in out


def test_results_of_the_full_suite_are_named_too(typed: Any, store: Store, finish: Any) -> None:
    finish(resolve(["small"]).cells[:3], [-1.0, -2.0, -3.0])
    _, _, err = typed("compare", "small", "--preset", "short")
    assert "3 of 21 cells of the preset full are done: marlbench compare small --preset full" in err


def test_results_of_another_revision_are_told(typed: Any, store: Store, finish: Any, suite: Path) -> None:
    finish(resolve(["small"], tasks=["sail"]).cells[:3], [1.0, 2.0, 3.0])
    suite.write_text(suite.read_text().replace("revision: 2", "revision: 3"))
    finish(resolve(["small"], tasks=["walk"]).cells[:3], [-1.0, -2.0, -3.0])
    _, out, _ = typed("compare", "small")
    assert "note: results not counted: 3 of revision 2 of the task sail (now 3)" in out


def test_mistakes_have_their_exit_codes(typed: Any, tmp_path: Path) -> None:
    assert typed("compare", "smal")[0] == CONFIGURATION
    code, out, err = typed("compare", "small")
    assert (code, out) == (STORE, "")
    assert "there is no store" in err
    Store.open(tmp_path / "results", create=True)
    assert typed("compare", "small", "--task", "wlak")[0] == USAGE
    assert typed("compare", "small", "other")[0] == USAGE


def test_results_are_found_where_the_option_says(
    typed: Any, store: Store, finish: Any, tmp_path: Path
) -> None:
    finish(resolve(["small"]).cells[:3], [-1.0, -2.0, -3.0])
    elsewhere = tmp_path / "a place"
    (tmp_path / "results").rename(elsewhere)
    code, out, err = typed("compare", "small", "--results", str(elsewhere))
    assert code == 0
    assert "3 of 21 cells done" in out
    assert f"marlbench run small --results '{elsewhere}'" in err


@pytest.fixture
def finished(store: Store, finish: Any) -> None:
    finish(resolve(["small"], tasks=["walk"]).cells, [-1.0, -2.0, -6.0] * 3)


@pytest.mark.parametrize(
    ("format_", "beginning"),
    [
        ("table", "small: 9 of 9 cells done"),
        ("markdown", "### small: 9 of 9 cells done"),
        ("latex", "% needs"),
        ("csv", "kind,suite,"),
        ("json", "{"),
        ("marl-eval", '{\n "small"'),
    ],
)
def test_every_format_goes_to_stdout_or_to_a_file(
    typed: Any, finished: None, tmp_path: Path, format_: str, beginning: str
) -> None:
    code, out, err = typed("compare", "small", "--task", "walk", "--format", format_)
    assert (code, err) == (0, "")
    assert out.startswith(beginning)
    file = tmp_path / "a table"
    code, printed, err = typed(
        "compare", "small", "--task", "walk", "--format", format_, "--output", str(file)
    )
    assert (code, printed) == (0, "")
    assert f"Wrote {file}." in err
    assert [line.rstrip() for line in file.read_text().splitlines()] == [
        line.rstrip() for line in out.splitlines()
    ]


@pytest.mark.parametrize(
    ("name", "beginning"), [("t.md", "###"), ("t.tex", "% needs"), ("t.csv", "kind,"), ("t.json", "{")]
)
def test_the_suffix_says_the_format(
    typed: Any, finished: None, tmp_path: Path, name: str, beginning: str
) -> None:
    code, _, _ = typed("compare", "small", "--task", "walk", "--output", str(tmp_path / name))
    assert code == 0
    assert (tmp_path / name).read_text().startswith(beginning)


def test_curves_and_an_aggregate_of_choice(typed: Any, finished: None, tmp_path: Path) -> None:
    file = tmp_path / "curves.csv"
    code, out, err = typed(
        "compare", "small", "--task", "walk", "--aggregate", "median", "--curves", str(file)
    )
    assert code == 0
    assert "Median over seeds" in out
    assert f"Wrote {file}." in err
    assert len(file.read_text().splitlines()) == 1 + 9 * 1 + 3


def test_foreign_results_beside_a_suite_and_alone(typed: Any, finished: None, tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text("task,algorithm,seed,value\nwalk,theirs,0,-3\nwalk,theirs,1,-2\n")
    code, out, _ = typed("compare", "small", "--task", "walk", "--foreign", str(file), "--json")
    assert code == 0
    rows = json.loads(out)["rows"]
    assert [(row["algorithm"], row["backend"]) for row in rows][-1] == ("theirs", "foreign")
    code, out, _ = typed("compare", "--foreign", str(file), "--bounds", "-10:0", "--json")
    assert (code, json.loads(out)["suite"]) == (0, "runs")


def test_published_numbers_by_name_or_file(typed: Any, finished: None, tmp_path: Path) -> None:
    code, _, err = typed("compare", "small", "--task", "walk", "--against", "smacv2")
    assert code == USAGE
    assert "no number of a task of small" in err
    assert typed("compare", "small", "--against", "smacv")[0] == CONFIGURATION


@pytest.mark.parametrize(
    "words",
    [
        ["compare"],
        ["compare", "small", "--format", "html"],
        ["compare", "small", "--format", "csv", "--json"],
        ["compare", "small", "--aggregate", "mode"],
        ["compare", "small", "--bounds", "0:1"],
        ["compare", "small", "--task", "walk", "--output", "no/such/folder/table.md"],
        ["compare", "--foreign", "nothing.csv"],
        ["compare", "--foreign", "nothing.csv", "--against", "smac"],
    ],
)
def test_options_that_make_no_sense_are_refused(typed: Any, finished: None, words: list[str]) -> None:
    code, out, err = typed(*words)
    assert (code, out) == (USAGE, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err
