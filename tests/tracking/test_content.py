from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlbench.catalog.cell import Cell
from marlbench.store.states import CellEntry, CellState, State
from marlbench.tracking import content
from marlbench.tracking.content import Point


def record(kind: str, step: int, **values: float) -> dict[str, Any]:
    return {"kind": kind, "step": step, "time_ms": 5, "values": values}


def test_points_have_the_prefix_of_their_kind_and_no_number_that_is_not_finite() -> None:
    records = [
        record("evaluation", 1, score=0.5, lost=math.nan),
        record("train", 2, **{"loss/policy": 1, "bad": -math.inf}),
        record("performance", 3, steps_per_second=7.0),
        record("absolute", 4, score=0.25),
        record("diverged", 5, member=1.0),
    ]
    assert list(content.points(records)) == [
        Point("eval/score", 5, 1, 0.5),
        Point("train/loss_policy", 5, 2, 1.0),
        Point("perf/steps_per_second", 5, 3, 7.0),
        Point("final/absolute_score", 5, 4, 0.25),
    ]


@given(st.sampled_from(["eval/", "final/absolute_"]), st.text(max_size=400))
def test_any_name_becomes_one_that_mlflow_takes(prefix: str, name: str) -> None:
    import posixpath
    import re

    found = content.metric_name(prefix, name)
    assert found.count("/") == 1
    assert len(found) <= 250
    assert re.fullmatch(r"[/\w.\- :]+", found)
    assert posixpath.normpath(found) == found


def entry_of(cell: Cell) -> CellEntry:
    return CellEntry(cell.id, cell, "0" * 16, 1, Path("nowhere"))


def test_params_are_flat_bounded_and_named_as_on_the_command_line(cell: Callable[..., Cell]) -> None:
    many = {f"h{index}": index for index in range(500)}
    params = content.make_params(entry_of(cell(seed=3, note="x" * 9000, flag=True, **many)))
    assert params["algorithm"] == "ippo"
    assert (params["task"], params["seed"], params["steps"]) == ("spread", "3", "4000")
    assert params["algorithm.learning_rate"] == "0.0003"
    assert params["algorithm.nested.layers"] == "[64, 64]"
    assert params["algorithm.flag"] == "true"
    assert len(params["algorithm.note"]) == 500
    assert len(params) == content.PARAMS


@pytest.mark.parametrize(
    ("state", "status", "ended"),
    [
        (State.RUNNING, "RUNNING", None),
        (State.FAILED, "FAILED", 99),
        (State.INTERRUPTED, "KILLED", 99),
        (State.DAMAGED, "FAILED", 99),
    ],
)
def test_the_status_is_what_the_store_says(
    cell: Callable[..., Cell], state: State, status: str, ended: int | None
) -> None:
    header = {"generation": 2, "time_ms": 7}
    attempts = [{"engine": "local", "device": "cpu", "ended_ms": 99}]
    page = content.make_page(
        entry_of(cell(seed=1)), CellState(state, "made up"), header, [], None, attempts, "m1 m2", "here"
    )
    assert (page.status, page.ended_ms, page.started_ms, page.journal) == (status, ended, 7, "2-7")
    assert page.name == "ippo/spread/s1"
    assert page.tags["marlbench.outcome"] == state
    assert page.tags["marlbench.matrix_id"] == "m1 m2"
    assert page.tags["marlbench.engine"] == "local"
    assert "marlbench.git_sha" not in page.tags


def test_uris_in_tags_lose_their_secrets() -> None:
    assert content._text("git+https://ann:hush@host/x?y") == "git+https://host/x"
