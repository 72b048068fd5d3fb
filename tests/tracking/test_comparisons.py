"""Reports of the store as runs of MLflow."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from marlbench.store import kept_reports
from marlbench.store.kept_reports import KeptReport
from marlbench.store.store import Store
from marlbench.tracking import comparisons, sync
from marlbench.tracking.projector import Projector
from marlbench.tracking.target import DATABASE, Target
from marlbench.tracking.views import experiments

MATRIX = "0123456789abcdef"
FINISHED = 1_700_000_009_000


@pytest.fixture
def put() -> Callable[..., Path]:
    """Writes a report into a store as `marlbench report` does."""

    def write(root: Path, text: str, figures: tuple[str, ...] = (), **changed: Any) -> Path:
        known = {"title": "tests: 3 of 3 cells done", "summary": ("ippo is ahead.",), "finished_ms": FINISHED}
        report = KeptReport(suite="tests", matrix=MATRIX, **{**known, **changed})
        folder = kept_reports.folder(root, report.suite, report.matrix)
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text(text)
        for name in figures:
            (folder / "figures" / name).write_text(name)
        kept_reports.record(folder, report)
        return folder

    return write


def files_of(root: Path, run: str) -> dict[str, str]:
    with closing(sqlite3.connect(root / DATABASE)) as connection:
        query = "SELECT artifact_uri FROM runs WHERE name = ? AND lifecycle_stage = 'active'"
        ((uri,),) = connection.execute(query, (run,)).fetchall()
    return {str(f.relative_to(uri)): f.read_text() for f in sorted(Path(uri).rglob("*")) if f.is_file()}


def test_a_report_is_a_run_beside_those_of_cells(lab: Any, cell: Any, put: Any, content_of: Any) -> None:
    done = cell()
    lab.complete(done)
    put(lab.root, "the page", figures=("curves.png",))
    sync.once(lab.root, print)
    found = content_of(lab.root / DATABASE)
    assert sorted(found) == ["ippo/spread/s0", f"report/{MATRIX}"]
    report = found[f"report/{MATRIX}"]
    assert (report["status"], report["start"], report["end"]) == ("FINISHED", FINISHED, FINISHED)
    # Charts group by a param, and the views filter by the protocol of cells.
    assert (report["params"], report["metrics"]) == ([], [])
    tags = dict(report["tags"])
    assert tags["marlbench.kind"] == "comparison"
    assert tags["marlbench.matrix_id"] == MATRIX
    assert "marlbench.protocol" not in tags
    assert "ippo is ahead." in tags["mlflow.note.content"]
    shown = files_of(lab.root, f"report/{MATRIX}")
    assert shown == {"report.html": "the page", "figures/curves.png": "curves.png"}


def test_a_second_report_replaces_the_first(lab: Any, put: Any, content_of: Any) -> None:
    put(lab.root, "first")
    sync.once(lab.root, print)
    put(lab.root, "second, longer", title="tests: 6 of 6 cells done")
    sync.once(lab.root, print)
    (found,) = content_of(lab.root / DATABASE).values()
    assert dict(found["tags"])["marlbench.title"] == "tests: 6 of 6 cells done"
    assert files_of(lab.root, f"report/{MATRIX}")["report.html"] == "second, longer"


def test_what_is_shown_is_no_work(lab: Any, put: Any) -> None:
    put(lab.root, "the page")
    projector = Projector(Store.open(lab.root), Target.locate(lab.root), print)
    try:
        assert projector.has_work()
        projector.sweep()
        assert not projector.has_work()
        # One that cannot be read is looked at once.
        folder = kept_reports.folder(lab.root, "tests", MATRIX)
        (folder / "report.json").write_text("{")
        assert projector.has_work()
        projector.sweep()
        assert not projector.has_work()
    finally:
        projector.close()


@pytest.mark.parametrize("lost", ["tracking.sqlite", DATABASE])
def test_it_is_shown_once_whatever_is_lost(lab: Any, put: Any, content_of: Any, lost: str) -> None:
    put(lab.root, "the page")
    sync.once(lab.root, print)
    (lab.root / lost).unlink()
    sync.once(lab.root, print)
    assert list(content_of(lab.root / DATABASE)) == [f"report/{MATRIX}"]
    assert files_of(lab.root, f"report/{MATRIX}") == {"report.html": "the page"}


def test_a_run_that_a_person_deleted_stays_deleted(lab: Any, put: Any, content_of: Any) -> None:
    put(lab.root, "the page")
    sync.once(lab.root, print)
    with closing(sqlite3.connect(lab.root / DATABASE)) as connection, connection:
        connection.execute("UPDATE runs SET lifecycle_stage = 'deleted'")
    put(lab.root, "another page")
    report = sync.once(lab.root, print)
    assert report is not None
    assert len(report.withdrawn) == 1
    assert content_of(lab.root / DATABASE) == {}
    again = sync.once(lab.root, print)
    assert again is not None
    assert again.withdrawn == []


def test_stores_on_one_server_have_their_own(make_lab: Any, put: Any, served: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.url)
    for name in ("one", "two"):
        lab = make_lab(name, bare=True)
        put(lab.root, f"of {name}")
        sync.once(lab.root, print)
        sync.once(lab.root, print)
    target = Target.locate(lab.root)
    found = list(comparisons.shown(target, {"tests": experiments(target)["tests"]}))
    assert len({report.run for report in found}) == 2
    for report in found:
        assert report.title == "tests: 3 of 3 cells done"
        assert report.url(served.url) == (
            f"{served.url}/#/experiments/{report.experiment}/runs/{report.run}/artifacts/report.html"
            "?workflowType=machine_learning"
        )


def test_a_record_of_another_form_is_none(tmp_path: Path, put: Any) -> None:
    folder = put(tmp_path, "the page")
    assert kept_reports.read(folder) is not None
    document = json.loads((folder / "report.json").read_text())
    for changed in ({**document, "schema": 2}, {**document, "finished_ms": "soon"}, {"schema": 1}):
        (folder / "report.json").write_text(json.dumps(changed))
        assert kept_reports.read(folder) is None
    (folder / "report.html").unlink()
    assert comparisons.pending(tmp_path, type("Ledger", (), {"rows": {}})()) == {}
