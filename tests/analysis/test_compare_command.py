"""`marlbench compare` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from marlbench.catalog.matrix import resolve
from marlbench.cli import main
from marlbench.errors import CONFIGURATION, STORE, USAGE
from marlbench.store.store import Store


@pytest.fixture
def typed(suite: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Types a command line; gives the exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["marlbench", *words])
        with pytest.raises(SystemExit) as end:
            main(words)
        captured = capsys.readouterr()
        code = end.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return run


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
