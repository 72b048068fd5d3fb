"""One grammar for cells: names with and without suite and seed, ids, and what they mean where several fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from marlbench.catalog.matrix import Matrix, resolve
from marlbench.errors import ConfigurationError, UsageError
from marlbench.store import naming
from marlbench.store.store import Store


@pytest.fixture
def suites(two_suites: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARLBENCH_SUITES", str(two_suites))
    return two_suites


def claim(store: Store, suite: str, steps: int | None = None) -> Matrix:
    matrix = resolve([suite], steps=steps)
    store.claim(matrix.cells, 1)
    return matrix


def test_every_notation_names_the_same_cell(suites: Path, store: Store) -> None:
    (cell, other) = claim(store, "first").cells
    names = ("first/stag/random/s0", "first/stag/random/0", "random/stag/s0", cell.id, cell.id[:12])
    assert {naming.find(store, text).id for text in (*names, f"{suites}/first.yaml/stag/random/s0")} == {
        cell.id
    }
    for text in ("first/stag/random", "random/stag"):
        assert [entry.id for entry in naming.find_all(store, text)] == [cell.id, other.id]
    assert [entry.id for entry in naming.find_all(store, "random/stag/s1")] == [other.id]


def test_of_several_cells_with_one_name_the_planned_one_is_meant(suites: Path, store: Store) -> None:
    longer, planned = claim(store, "first", steps=80), claim(store, "first")
    assert naming.find(store, "random/stag/s0").id == planned.cells[0].id
    assert {entry.id for entry in naming.find_all(store, "first/stag/random")} == {
        c.id for c in planned.cells
    }
    of_80 = naming.find(store, "first/stag/random/s0", naming.Run(steps=80))
    assert of_80.id == longer.cells[0].id
    with pytest.raises(UsageError, match="no cell 'first/stag/random/s0' with these options"):
        naming.find(store, "first/stag/random/s0", naming.Run(steps=60))


def test_without_the_suite_file_what_is_stored_is_told_apart(suites: Path, store: Store) -> None:
    matrices = [claim(store, "first", steps=steps) for steps in (80, 60)]
    (suites / "first.yaml").unlink()
    for matrix in matrices:
        assert naming.find(store, matrix.cells[0].id[:12]).id == matrix.cells[0].id
    with pytest.raises(UsageError, match="2 cells are called") as caught:
        naming.find(store, "first/stag/random/s0")
    assert "(steps 80)" in str(caught.value)
    assert "(steps 60)" in str(caught.value)
    with pytest.raises(UsageError, match="names cells of 2 kinds"):
        naming.find_all(store, "first/stag/random")
    with pytest.raises(ConfigurationError):
        naming.find(store, "first/stag/random/s0", naming.Run(steps=60))


def test_a_name_without_its_suite_may_be_that_of_two(suites: Path, store: Store) -> None:
    claim(store, "first")
    claim(store, "second")
    with pytest.raises(UsageError, match="2 cells are called 'random/stag/s0'") as caught:
        naming.find(store, "random/stag/s0")
    assert "suite first" in str(caught.value)
    assert naming.find(store, "second/stag/random/s1").cell.suite == "second"


@pytest.mark.parametrize("text", ["", "stag", "/", "//s0", "a/s0", "first//random/s0"])
def test_what_is_no_name(store: Store, text: str) -> None:
    with pytest.raises(UsageError, match=r"neither the id|is not the name"):
        naming.find(store, text)
