"""`marlbench report` as a user types it, and what `marlbench run` leaves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from marlbench.catalog.matrix import resolve
from marlbench.cli.report import keep_finished
from marlbench.errors import USAGE
from marlbench.store.store import Store
from marlbench.tracking import sync
from marlbench.tracking.target import TrackingError

PUBLISHED = """\
schema: 1
published: paper
title: A paper
tables:
  - suites: [small]
    backend: library
    metric: words
    label: unverified
    source: a dream
    protocol: nobody knows
    results: {read: {theirs: 40.0}}
"""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The stores that were to be sent to MLflow; nothing is sent."""
    found: list[Path] = []
    monkeypatch.setattr(sync, "once", lambda root, say, **options: found.append(root))
    return found


@pytest.fixture
def one(store: Store, record: Any) -> tuple[str, ...]:
    """Options that select cells which are done."""
    record(resolve(["small"], tasks=["read"], algorithms=["first"]).cells, [10.0, 20.0, 30.0])
    return ("--task", "read", "--algorithm", "first")


def test_the_report_lies_in_the_store_and_goes_to_mlflow(
    typed: Any, store: Store, one: tuple[str, ...], sent: list[Path]
) -> None:
    code, out, err = typed("report", "small", *one)
    path = Path(out.strip())
    assert (code, err, sent) == (0, "", [store.root])
    assert re.fullmatch(r"small-[0-9a-f]{16}", path.parent.name)
    assert path == store.root / "reports" / path.parent.name / "report.html"
    assert sorted(file.name for file in path.parent.iterdir()) == ["figures", "report.html", "report.json"]
    assert "marlbench run small --task read --algorithm first" in path.read_text(encoding="utf-8")


def test_mlflow_that_is_away_does_not_matter(
    typed: Any, one: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise TrackingError("MLflow does not answer.")

    monkeypatch.setattr(sync, "once", refuse)
    code, out, err = typed("report", "small", *one)
    assert code == 0
    assert Path(out.strip()).is_file()
    assert "MLflow does not answer" in err
    assert "sync` catches up" in err


def test_the_report_goes_where_it_is_wanted(typed: Any, one: tuple[str, ...], sent: list[Path]) -> None:
    code, out, _ = typed("report", "small", *one, "--output", "deep/page.html")
    assert (code, out) == (0, "deep/page.html\n")
    assert [path.name for path in Path("deep").iterdir()] == ["page.html"]
    code, out, _ = typed("report", "small", *one, "--output", "folder")
    assert (code, out) == (0, "folder/report.html\n")
    assert (Path("folder") / "figures" / "curves-read.pdf").is_file()
    assert sent == []
    assert not Path("results/reports").exists()


def test_a_file_is_not_taken_for_a_directory(typed: Any, one: tuple[str, ...]) -> None:
    Path("notes.txt").write_text("mine")
    code, _, err = typed("report", "small", *one, "--output", "notes.txt")
    assert code == USAGE
    assert "a file that ends in .html" in err
    assert Path("notes.txt").read_text() == "mine"


def test_without_a_result_there_is_no_report(typed: Any, store: Store) -> None:
    code, out, err = typed("report", "small", "--preset", "short", "--results", "results")
    assert (code, out) == (USAGE, "")
    assert "marlbench run small --preset short --results results" in err.replace("\n", " ")
    assert not (store.root / "reports").exists()


def test_published_numbers_stand_beside_ours(typed: Any, one: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "paper.yaml").write_text(PUBLISHED)
    code, _, err = typed("report", "small", *one, "--against", "./paper.yaml", "--output", "page.html")
    assert code == 0, err
    page = Path("page.html").read_text(encoding="utf-8")
    assert re.search(r'<tr class="faint">\s*<th scope="row">theirs \[unverified\]</th><td[^>]*>40\.00', page)
    assert "marlbench report small --task read --algorithm first --against ./paper.yaml" in page


def test_a_complete_run_leaves_the_page(
    store: Store, record: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    part = {"tasks": ["read"], "algorithms": ["first"]}
    matrix = resolve(["small"], **part)
    options = ["--task", "read", "--algorithm", "first"]

    def pages() -> list[Path]:
        return sorted(store.root.glob("reports/*/report.html"))

    record(matrix.cells[:2], [10.0, 20.0])
    keep_finished(store, matrix, ["small"], options, fresh=True)
    assert pages() == [], "a cell is missing"
    record(matrix.cells[2:], [30.0])
    keep_finished(store, matrix, ["small"], options, fresh=True)
    (page,) = pages()
    assert str(page) in capsys.readouterr().err
    assert not (page.parent / "figures").exists()
    before = page.stat().st_mtime_ns
    keep_finished(store, matrix, ["small"], options, fresh=False)
    assert page.stat().st_mtime_ns == before, "there was nothing new"

    smoke = resolve(["small"], preset="smoke", **part)
    record(smoke.cells, [10.0])
    keep_finished(store, smoke, ["small"], [*options, "--preset", "smoke"], fresh=True)
    assert pages() == [page], "the preset is not a comparison"
