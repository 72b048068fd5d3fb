"""Stores shown in the database inside them."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from marlbench.catalog.cell import Cell
from marlbench.store import pictures
from marlbench.store.states import Failure
from marlbench.tracking import matrices, sync
from marlbench.tracking.projector import Report
from marlbench.tracking.target import Target

from .showing import Make, Shown, client_of, show


def test_a_complete_cell(lab: Any, cell: Make, shown: Shown, points_of: Callable[..., Any]) -> None:
    one = cell(seed=2)
    lab.complete(one, extra=300)
    matrices.record(lab.root, "0123456789abcdef", [one.id])
    matrices.record(lab.root, "00000000aaaaaaaa", [one.id, "other"])
    assert show(lab) == Report(shown=1, complete=1)
    (name,), (run,) = shown(lab), shown(lab).values()
    assert name == "ippo/spread/s2"
    assert run["experiment"] == "marlbench/tests"
    assert (run["status"], run["start"], run["end"]) == ("FINISHED", 1_700_000_000_000, 1_700_000_010_000)

    at_the_end = (1_700_000_010_000, 4000)
    expected = [
        *points_of(lab, one.id),
        ("final/return_mean", *at_the_end, -2.6),
        ("perf/seconds_overall", *at_the_end, 10.0),
        ("perf/cpu_seconds_overall", *at_the_end, 9.0),
        ("perf/peak_memory_bytes_overall", *at_the_end, 1e6),
        ("perf/steps_per_second_overall", *at_the_end, 400.0),
    ]
    assert len(expected) > 1000
    assert run["metrics"] == sorted(expected)
    assert all(key.count("/") == 1 for key, *_ in run["metrics"])

    tags = dict(run["tags"])
    assert tags["marlbench.cell_id"] == one.id
    assert tags["marlbench.matrix_id"] == "00000000aaaaaaaa 0123456789abcdef"
    ours = {key.removeprefix("marlbench."): value for key, value in tags.items()}
    protocol = ours.pop("protocol")
    assert json.loads(protocol)["evaluations"] == 4
    assert {
        "suite": "tests",
        "task": "spread",
        "backend": "builtin",
        "algorithm": "ippo",
        "seed": "2",
        "git_sha": "abcdef",
        "engine": "local",
        "device": "cpu",
        "outcome": "completed",
        "resume": "exact",
    }.items() <= ours.items()
    params = dict(run["params"])
    assert (params["algorithm"], params["task"], params["seed"]) == ("ippo", "spread", "2")
    assert params["algorithm.nested.layers"] == "[64, 64]"

    files = run["files"]
    assert sorted(files) == ["configuration.json", "episodes.parquet", "learning_curve.png", "versions.json"]
    assert json.loads(files["versions.json"])["versions"]["torch"] == "2.13.0"
    configuration = json.loads(files["configuration.json"])
    assert Cell.from_json(configuration) == one
    assert files["learning_curve.png"].startswith(b"\x89PNG")
    import pyarrow.parquet as parquet

    rows = parquet.read_table(io.BytesIO(files["episodes.parquet"])).to_pylist()
    assert len(rows) == 4 * 3 + 2
    assert rows[-1] == {"kind": "absolute", "step": 4000, "metric": "return", "episode": 1, "value": -3.0}


def test_only_what_is_covered_and_nothing_twice(
    lab: Any, cell: Make, shown: Shown, points_of: Callable[..., Any]
) -> None:
    one = cell()
    lab.train(one, range(1), covered=False)
    assert show(lab) == Report()
    assert shown(lab) == {}

    lab.train(one, range(1, 2))
    lab.train(one, range(2, 3), covered=False)
    show(lab)
    before = points_of(lab, one.id)
    run = shown(lab)["ippo/spread/s0"]
    assert run["metrics"] == [point for point in before if point[2] <= 2000]
    assert (run["status"], run["end"]) == ("RUNNING", None)
    lab.kill(one)
    show(lab)
    assert shown(lab)["ippo/spread/s0"]["status"] == "FAILED"

    lab.train(one, range(3, 4))
    lab.finish(one)
    show(lab)
    run = shown(lab)["ippo/spread/s0"]
    assert [point for point in run["metrics"] if point[2] < 4000] == [
        point for point in points_of(lab, one.id) if point[2] < 4000
    ]
    assert run["status"] == "FINISHED"
    assert show(lab) == Report()


def test_a_lost_database_or_ledger_is_rebuilt_identically(lab: Any, cell: Make, shown: Shown) -> None:
    cells = [cell(seed=seed, label=label, name=label) for label in ("ippo", "iql") for seed in range(2)]
    for one in cells[:-1]:
        lab.complete(one, "diverged" if one.seed else "completed")
    lab.train(cells[-1], range(2))
    lab.end(cells[-1], "failed", Failure.EXCEPTION)
    show(lab)
    before = shown(lab)
    assert [before[name]["status"] for name in sorted(before)] == [
        "FINISHED",
        "FINISHED",
        "FINISHED",
        "FAILED",
    ]
    assert dict(before["ippo/spread/s1"]["tags"])["marlbench.outcome"] == "diverged"

    (lab.root / "mlflow.db").unlink()
    shutil.rmtree(lab.root / "artifacts")
    show(lab)
    assert shown(lab) == before

    (lab.root / "tracking.sqlite").unlink()
    (lab.root / "tracking.json").unlink()
    show(lab)
    changed = shown(lab)
    for name, run in changed.items():
        run["tags"] = [tag for tag in run["tags"] if tag[0] != "marlbench.store"]
        before[name]["tags"] = [tag for tag in before[name]["tags"] if tag[0] != "marlbench.store"]
    assert changed == before
    assert shown(lab, deleted=True) == {}

    assert show(lab, verify=True) == Report(shown=4, complete=3)
    # What is not done is looked at every time.
    assert show(lab) == Report(shown=1)


def test_a_journal_that_began_anew_supersedes_its_run(
    lab: Any, cell: Make, shown: Shown, points_of: Callable[..., Any]
) -> None:
    one = cell()
    lab.train(one, range(3))
    show(lab)
    lab.begin(one, started_ms=1_700_000_100_000)
    show(lab)
    assert shown(lab)["ippo/spread/s0"]["start"] == 1_700_000_000_000, "there is nothing in its place yet"
    lab.complete(one)
    show(lab)
    (run,) = shown(lab).values()
    assert run["start"] == 1_700_000_100_000
    assert set(points_of(lab, one.id)) <= set(run["metrics"])
    (old,) = shown(lab, deleted=True).values()
    assert old["start"] == 1_700_000_000_000
    assert old["status"] == "KILLED"
    assert dict(old["tags"])["marlbench.superseded"] == "true"


def test_a_second_run_of_a_cell_is_superseded(lab: Any, cell: Make, shown: Shown) -> None:
    one = cell()
    lab.train(one, range(2))
    show(lab)
    first = shown(lab)
    client = client_of(lab)
    (run,) = client.search_runs(["1"])
    tags = {key: value for key, value in run.data.tags.items() if key.startswith("marlbench.")}
    client.create_run("1", run.info.start_time + 1, tags=tags, run_name="again")
    (lab.root / "tracking.sqlite").unlink()
    show(lab)
    assert shown(lab) == first
    assert list(shown(lab, deleted=True)) == ["again"]


def test_runs_of_another_store_are_left_alone(
    lab: Any, make_lab: Callable[..., Any], cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database = tmp_path / "shared.db"
    shutil.copyfile(lab.root / "mlflow.db", database)
    target = Target(f"sqlite:///{database}", own=False)
    other = make_lab("other", bare=True)
    lab.complete(cell())
    other.begin(cell(), started_ms=1_600_000_000_000)
    other.complete(cell())
    other.complete(cell(seed=1))
    for one in (lab, other, lab, other):
        sync.once(one.root, one.root.name.count, target)
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT name, start_time, lifecycle_stage FROM runs ORDER BY 2, 1"
        ).fetchall()
    assert rows == [
        ("ippo/spread/s0", 1_600_000_000_000, "active"),
        ("ippo/spread/s0", 1_700_000_000_000, "active"),
        ("ippo/spread/s1", 1_700_000_000_000, "active"),
    ]
    assert not (other.root / "mlflow.db").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([lab.root.name, "other", "shared.db"])
    assert len(list((lab.root / "artifacts").rglob("learning_curve.png"))) == 3


def test_a_cell_of_a_moment_has_no_curve(lab: Any, cell: Make) -> None:
    one = cell()
    lab.begin(one)
    lab.complete(one, cpu_seconds=1.0)
    show(lab)
    kept = (lab.root / "artifacts").rglob("*.*")
    assert sorted(path.name for path in kept) == ["configuration.json", "episodes.parquet", "versions.json"]


def test_pictures_come_after_the_result(lab: Any, cell: Make) -> None:
    one = cell()
    lab.begin(one)
    lab.complete(one)
    show(lab)
    assert not list((lab.root / "artifacts").rglob("episode.gif"))
    folder = lab.store.cell(one.id).directory
    pictures._keep(folder, lab.store.result(one.id)["outcome_sha256"], {"episode.gif": b"GIF89a"})
    show(lab)
    (film,) = (lab.root / "artifacts").rglob("pictures/episode.gif")
    assert film.read_bytes() == b"GIF89a"


def test_states_that_are_no_results(lab: Any, cell: Make, shown: Shown) -> None:
    early, late, gone = cell(seed=0), cell(seed=1), cell(seed=2)
    lab.begin(early)
    lab.end(early, "failed", Failure.MEMORY)
    lab.train(late, range(2))
    lab.end(late, "interrupted")
    lab.begin(gone)
    lab.end(gone, "interrupted")
    show(lab)
    runs = shown(lab)
    assert {name: run["status"] for name, run in runs.items()} == {
        "ippo/spread/s0": "FAILED",
        "ippo/spread/s1": "KILLED",
    }
    assert runs["ippo/spread/s0"]["metrics"] == []
    assert runs["ippo/spread/s0"]["end"] > 1_700_000_000_000
    assert dict(runs["ippo/spread/s1"]["tags"])["marlbench.outcome"] == "interrupted"


def test_a_result_edited_by_hand(lab: Any, cell: Make, shown: Shown) -> None:
    one = cell()
    lab.complete(one)
    show(lab)
    before = shown(lab)["ippo/spread/s0"]
    path = lab.store.cell_directory(one.id) / "result.json"
    original = path.read_text()
    path.write_text(original.replace("-2.6", "-1.6"))
    show(lab)
    run = shown(lab)["ippo/spread/s0"]
    assert run["status"] == "FAILED"
    assert dict(run["tags"])["marlbench.outcome"] == "damaged"
    path.write_text(original)
    show(lab)
    assert shown(lab)["ippo/spread/s0"] == before


def test_a_cell_under_another_label_has_another_run(lab: Any, cell: Make, shown: Shown) -> None:
    lab.complete(cell(label="ippo"))
    show(lab)
    lab.store.claim([cell(label="mine")], slots=1)
    show(lab)
    assert list(shown(lab)) == ["mine/spread/s0"]
    assert list(shown(lab, deleted=True)) == ["ippo/spread/s0"]


def test_views_group_by_algorithm_and_pool_nothing_that_must_not_be(lab: Any, cell: Make) -> None:
    from marlbench.tracking.views import experiments, views_of

    lab.complete(cell())
    lab.complete(cell(task="tag"))
    lab.train(cell(task="tag", episodes=64), range(1))
    show(lab)
    ((suite, found),) = experiments(Target.locate(lab.root)).items()
    assert suite == "tests"
    views = views_of(found.tags)
    assert [view.describe() for view in views] == [
        "4 evaluations of 3 episodes",
        "4 evaluations of 64 episodes",
        "spread, builtin, 4000 steps, 4 evaluations of 3 episodes",
        "tag, builtin, 4000 steps, 4 evaluations of 3 episodes",
        "tag, builtin, 4000 steps, 4 evaluations of 64 episodes",
    ]
    client = client_of(lab)
    names = []
    for view in views:
        state = json.loads(found.tags[f"mlflow.sharedViewState.{view.key}"])
        assert state["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": "algorithm"}]
        names.append(len(client.search_runs([found.experiment_id], state["searchFilter"])))
        assert f"viewStateShareKey={view.key}&" in view.url("http://127.0.0.1:5000/", found.experiment_id)
    assert names == [2, 1, 1, 1, 1]
    tags = {**found.tags, "mlflow.sharedViewState.marlbench.x": "scribble"}
    assert views_of(tags) == views
