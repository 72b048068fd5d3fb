from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from marlbench.analysis.explanation import Run, explain, name
from marlbench.catalog.matrix import resolve
from marlbench.catalog.selection import parse_overrides
from marlbench.cli import main
from marlbench.errors import OK, USAGE, ConfigurationError, UsageError
from marlbench.store.states import State
from marlbench.store.store import Store


def test_without_a_store_a_cell_is_planned(suite: Path, tmp_path: Path) -> None:
    found = explain("small/walk/first/s2", tmp_path / "nowhere", Run())
    assert found.state is None
    assert found.nearest is None
    assert found.verdict == "It will run: it has no result yet."
    assert found.cell.id == resolve(["small"], tasks=["walk"], algorithms=["first"], seeds=(2,)).cells[0].id
    assert not (tmp_path / "nowhere").exists()


def test_the_difference_to_the_nearest_done_cell(suite: Path, store: Store, finish: Any) -> None:
    done = resolve(["small"], tasks=["walk"], algorithms=["first", "third"])
    finish(done.cells, [-1.0] * 6)
    run = Run(steps=2000, overrides=parse_overrides(["first.rate=0.5"]))
    found = explain("small/walk/first/s1", store.root, run)
    assert found.state is not None
    assert found.state.state is State.PLANNED
    assert found.nearest is not None
    assert name(found.nearest) == "small/walk/first/s1"
    assert [(one.field, one.here, one.there) for one in found.differences] == [
        ("hyperparameters.rate", 0.5, 1.0),
        ("steps", 2000, 1000),
    ]


def test_only_done_cells_count_as_near(suite: Path, store: Store, finish: Any) -> None:
    matrix = resolve(["small"], tasks=["walk"])
    store.claim(matrix.cells, slots=1)
    finish([cell for cell in matrix.cells if (cell.label, cell.seed) == ("third", 0)], [-1.0])
    found = explain("small/walk/first/s0", store.root, Run())
    assert found.nearest is not None
    assert name(found.nearest) == "small/walk/third/s0"
    assert [one.field for one in found.differences] == ["algorithm", "hyperparameters.rate"]


def test_a_done_cell_does_not_run(suite: Path, store: Store, finish: Any) -> None:
    cells = resolve(["small"], tasks=["walk"], algorithms=["first"]).cells
    finish(cells, [-1.0] * 3)
    found = explain(cells[0].id[:20], store.root, Run())
    assert found.cell == cells[0]
    assert found.verdict == "It will not run: it is done."
    assert found.nearest is not None
    assert [one.field for one in found.differences] == ["seed"]


def test_ids_of_planned_cells_of_every_preset(suite: Path, tmp_path: Path) -> None:
    for preset in ("full", "smoke", "short"):
        cell = resolve(["small"], preset=preset).cells[-1]
        assert explain(cell.id[:16], tmp_path, Run()).cell == cell


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("xyz", "neither the id of a cell nor the name of one"),
        ("", "neither the id"),
        ("0" * 64, "no cell of the store or of a suite"),
        ("small/walk/first", "is not the name of a cell"),
        ("small/walk/first/sx", "is not the name of a cell"),
        ("small/wlak/first/s0", "--task wlak: no task matches"),
        ("small/walk/frist/s0", "--algorithm frist: there is no such algorithm"),
        ("small/read/third/s0", "nothing is selected"),
        ("small/*/first/s0", "names 3 cells"),
        ("small/walk/first/s99999999999", "cannot be read"),
        ("small/walk/first/s2147483648", "not below"),
    ],
)
def test_what_is_no_cell(suite: Path, tmp_path: Path, wanted: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        explain(wanted, tmp_path, Run())
    assert message in str(caught.value)


def test_an_unknown_suite(suite: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no suite is called 'smal'"):
        explain("smal/walk/first/s0", tmp_path, Run())


def test_a_prefix_of_several_cells_names_some(suite: Path, tmp_path: Path) -> None:
    ids = [
        cell.id for preset in ("full", "smoke", "short") for cell in resolve(["small"], preset=preset).cells
    ]
    # With over sixteen ids, two begin with the same digit.
    shared = next(digit for digit in "0123456789abcdef" if sum(one.startswith(digit) for one in ids) > 1)
    with pytest.raises(
        UsageError, match=rf"cells have an id that begins with '{shared}': {shared}\w+ \(small/"
    ):
        explain(shared, tmp_path, Run())


def test_the_command(suite: Path, store: Store, finish: Any, capsys: pytest.CaptureFixture[str]) -> None:
    finish(resolve(["small"], tasks=["walk"], algorithms=["first"]).cells, [-1.0] * 3)
    with pytest.raises(SystemExit) as end:
        main(["explain", "small/walk/second/s0"])
    text = capsys.readouterr().out
    assert end.value.code in (None, OK)
    assert "It will run: it has no result yet." in text
    assert "The nearest that is done is small/walk/first/s0" in text
    assert "hyperparameters.rate" in text
    with pytest.raises(SystemExit):
        main(["explain", "small/walk/second/s0", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["state"] == "planned"
    assert document["nearest"]["name"] == "small/walk/first/s0"
    assert {one["field"]: (one["here"], one["there"]) for one in document["differences"]} == {
        "algorithm": ("second", "first"),
        "hyperparameters.rate": (2.0, 1.0),
    }
    with pytest.raises(SystemExit) as end:
        main(["explain", "small/walk/nobody/s0"])
    assert end.value.code == USAGE
