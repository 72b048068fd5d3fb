"""`marlbench study --no-run` on results that nobody trained: table, files, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from marlbench.analysis.studies.writing import write

from .test_verdicts import values


def test_the_table_and_the_files(judge_by: Any, typed: Any, tmp_path: Path) -> None:
    judge_by(values())
    code, out, err = typed("study", "asked", "--no-run", "--out", "here")
    assert code == 0
    assert "asked (preset full): 80 of 80 cells done" in out
    assert "Of 3 claims 3 hold." in out
    assert "by a lot" in out
    assert [line for line in err.splitlines() if line.startswith("Wrote")] == [
        f"Wrote here/asked.{suffix}." for suffix in ("md", "json", "png")
    ]
    page = (tmp_path / "here" / "asked.md").read_text()
    for told in (
        "command: `marlbench study asked`",
        "seeds: 0-7",
        "torch 2.13.0 (80 runs)",
        "Nobody trained these.",
        "![Is a high rate better?](asked.png)",
        "| walk-agents-3 | second | 8/8 |",
    ):
        assert told in page, told
    assert (tmp_path / "here" / "asked.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = typed("study", "asked", "--no-run", "--out", "here", "--json")
    document = json.loads(out)
    assert document == json.loads((tmp_path / "here" / "asked.json").read_text())
    assert [claim["verdict"] for claim in document["claims"]] == ["holds"] * 3
    first = next(group for group in document["groups"] if group["algorithm"] == "first-rate-4")
    assert list(first["measures"]["score"]) == [str(seed) for seed in range(8)]


def test_without_a_place_the_files_go_to_the_reports(judge_by: Any, typed: Any, store: Any) -> None:
    judge_by(values(n=4), preset="short")
    code, _, _ = typed("study", "asked", "--preset", "short", "--no-run")
    assert code == 0
    (page,) = store.root.glob("reports/asked-*/study/asked.md")
    assert "command: `marlbench study asked --preset short`" in page.read_text()


@pytest.mark.parametrize(
    "figure",
    [
        "{kind: lines, x: rate}",
        "{kind: bars, metric: score, of: {algorithm: first}}",
        "{kind: curves}",
        "",
    ],
)
def test_every_figure_is_drawn_and_the_same_findings_give_the_same_bytes(
    judge_by: Any, study: Path, tmp_path: Path, figure: str
) -> None:
    text = study.read_text().replace(
        "  figure: {kind: heat_map, x: rate, y: agents}\n", f"  figure: {figure}\n"
    )
    study.write_text(text if figure else text.replace("  figure: \n", ""))
    findings = judge_by(values(n=3))
    first, second = (
        [path.read_bytes() for path in write(findings, tmp_path / name)] for name in ("one", "two")
    )
    assert first == second
    assert len(first) == 3


def test_without_results_there_is_no_figure(judge_by: Any, tmp_path: Path) -> None:
    written = write(judge_by({}), tmp_path / "out")
    assert [path.suffix for path in written] == [".md", ".json"]


def test_a_suite_without_claims_is_no_study(study: Path, typed: Any) -> None:
    code, _, err = typed("study", "small", "--no-run")
    assert code == 2
    assert "the suite 'small' has no block `study`" in err
    assert "marlbench list studies" in err


def test_a_study_is_listed(study: Path, typed: Any) -> None:
    code, out, _ = typed("list", "studies", "--json")
    assert code == 0
    assert {"asked"} == {row["name"] for row in json.loads(out)["studies"] if row["where"] == "./suites"}
