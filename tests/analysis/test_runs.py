"""What is read of finished cells, from their files and from the index."""

from __future__ import annotations

import math
import os
import sqlite3
from typing import Any

import pytest

from marlbench.analysis.runs import Cost, read_runs, together
from marlbench.catalog.matrix import resolve
from marlbench.store import validity
from marlbench.store.index import Index
from marlbench.store.store import Store

pytestmark = pytest.mark.usefixtures("suite")


def age(store: Store) -> None:
    """The index keeps no verdict on files that were written just now."""
    for path in (store.root / "cells").glob("*/*.json*"):
        os.utime(path, (1e9, 1e9))


def test_the_index_says_what_the_files_say(
    store: Store, finish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = resolve(["small"], tasks=["walk"]).cells
    values = [-1.0, None, math.nan, math.inf, -2.5, 1e-300, 0.1, -7.0, -8.0]
    finish(
        cells,
        values,
        device="cuda:1",
        device_name="a GPU",
        seconds=7200.0,
        cpu_seconds=3600.0,
        members=["a", "b"],
    )
    age(store)
    first, states = read_runs(store, cells)
    monkeypatch.setattr(validity, "verify", lambda directory: pytest.fail("the index is not used"))
    again, states_again = read_runs(store, cells)
    assert first == again
    assert states == states_again
    assert [first[cell.id].value for cell in cells[:5]] == [-1.0, -10.0, None, None, -2.5]
    assert first[cells[0].id].cost == Cost(None, 0.5, 1.0, None)
    # One object for thousands of runs.
    assert again[cells[0].id].versions is again[cells[1].id].versions


def test_states_alone_do_not_lose_the_summaries(store: Store, finish: Any) -> None:
    cells = resolve(["small"], tasks=["walk"]).cells[:2]
    finish(cells, [-1.0, -2.0])
    age(store)
    store.states(cell.id for cell in cells)
    verdicts = Index(store.root / "index.sqlite").verdicts([cell.id for cell in cells], summaries=True)
    assert [verdicts[cell.id].summary.absolute["return_mean"] for cell in cells] == [-1, -2]


def test_an_index_of_another_version_or_with_other_text_is_of_no_harm(
    store: Store, finish: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = resolve(["small"], tasks=["walk"]).cells[:3]
    finish(cells, [-1.0, -2.0, -3.0])
    age(store)
    wanted, _ = read_runs(store, cells)
    for damage in (
        "PRAGMA user_version = 1",
        "UPDATE verdicts SET summary = 'no json'",
        "UPDATE verdicts SET summary = '[]'",
        "UPDATE conditions SET content = '[]'",
        "DELETE FROM conditions",
        "UPDATE verdicts SET summary = NULL",
    ):
        with sqlite3.connect(store.root / "index.sqlite") as connection:
            connection.execute(damage)
        connection.close()
        assert read_runs(store, cells)[0] == wanted, damage


def test_the_cost_of_several_runs() -> None:
    costs = [Cost(100.0, 1.0, None, 5.0), Cost(300.0, 2.0, 4.0, 9.0), Cost(None, None, None, None)]
    assert together(costs) == Cost(200.0, 1.5, 4.0, 9.0)
    assert together([]) == Cost()
