"""The same comparison as Markdown, LaTeX, CSV, JSON and in marl-eval's layout: nothing is lost in any of them."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from marlbench.analysis.comparison import Comparison, compare_matrix
from marlbench.analysis.foreign import Scale, gather
from marlbench.analysis.marl_eval import marl_eval_text
from marlbench.analysis.published import load
from marlbench.analysis.records import COLUMNS, csv_text
from marlbench.analysis.statistics import AGGREGATES
from marlbench.analysis.tables import render
from marlbench.analysis.texts import latex, markdown
from marlbench.analysis.traces import curves_csv
from marlbench.catalog.matrix import Matrix, resolve
from marlbench.store import journal
from marlbench.store.store import Store

pytestmark = pytest.mark.usefixtures("suite")

PUBLISHED = """\
schema: 1
published: numbers
title: Numbers of nobody
tables:
  - {suites: [small], backend: builtin, metric: delay, label: paper, source: A & B_2020, protocol: 5 % of it,
     results: {sail: {theirs: 15}}}
"""


@pytest.fixture
def matrix(finish: Any) -> Matrix:
    found = resolve(["small"], tasks=["walk", "sail"], algorithms=["first", "second"])
    cost = {"steps_per_second": 1500.0, "cpu_seconds": 1800.0, "peak_memory_bytes": 2**31}
    values = {
        ("walk", "first"): [-1.25, -2.0, -6.0],
        ("walk", "second"): [-1.5, None, -6.0],
        ("sail", "first"): [20.0, 30.0, 40.0],
        ("sail", "second"): [25.0, 20.0],
    }
    for group in found.groups:
        of = values[group.cell.task, group.cell.label]
        finish(group.cells[: len(of)], of, **cost)
    return found


@pytest.fixture
def comparison(store: Store, matrix: Matrix, tmp_path: Path) -> Comparison:
    (tmp_path / "numbers.yaml").write_text(PUBLISHED)
    numbers = load(str(tmp_path / "numbers.yaml"))
    return compare_matrix(store, matrix, shown=AGGREGATES, published=[numbers])[0]


WANTED = (
    "walk",
    "sail",
    "r2",
    "first",
    "second",
    "3/3",
    "2/3",
    "1.50k",
    ".50",
    "2.0G",
    "CPU-h",
    "greedy",
    "builtin",
)


def test_markdown_is_one_table_with_everything(comparison: Comparison) -> None:
    text = markdown([comparison])
    for part in WANTED:
        assert part in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert widths == {10}
    assert "**-3.08**\\*" in text
    assert "↓" in text
    assert "theirs \\[paper\\]" in text
    for name in ("IQM", "median", "mean", "optimality gap"):
        assert f"{name} of scores" in text
    assert text.rstrip().splitlines()[-1].startswith("- published")


def test_latex_escapes_what_it_must(comparison: Comparison) -> None:
    text = latex([comparison])
    for part in (
        r"return\_mean",
        r"A \& B\_2020",
        r"95 \%",
        r"\textbf{$-$3.08}",
        r"$\downarrow$",
        r"\toprule",
    ):
        assert part in text
    for part in WANTED:
        assert part in text
    lines = [line for line in text.splitlines() if line.endswith(r" \\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {7}
    assert text.count("{") == text.count("}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no LaTeX here")
def test_latex_compiles(comparison: Comparison, tmp_path: Path) -> None:
    document = (
        r"\documentclass{article}\usepackage{booktabs}\begin{document}"
        + latex([comparison])
        + r"\end{document}"
    )
    (tmp_path / "table.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    if b"booktabs.sty' not found" in done.stdout:
        pytest.skip("this LaTeX has no booktabs")
    assert done.returncode == 0, done.stdout.decode(errors="replace")


def test_csv_has_a_line_for_everything_and_the_numbers_of_the_json(comparison: Comparison) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_text([comparison]))))
    told = comparison.to_json()
    assert tuple(lines[0]) == COLUMNS
    assert [line["kind"] for line in lines] == ["row"] * 4 + ["aggregate"] * 2 + ["published"]
    for line, row in zip(lines[:4], told["rows"], strict=True):
        assert float(line["iqm"]) == row["iqm"]
        assert float(line["score_optimality_gap"]) == row["score"]["estimates"]["optimality_gap"]["point"]
        assert (line["best"] == "true") == row["best"]
        assert float(line["steps_per_second"]) == 1500.0
    assert lines[2]["task_revision"] == "2"
    assert lines[2]["direction"] == "min"
    assert (lines[3]["n"], lines[3]["expected"]) == ("2", "3")
    assert lines[4]["task"] == "walk sail"
    assert float(lines[4]["score_median"]) == told["aggregate"][0]["estimates"]["median"]["point"]
    assert (lines[6]["mean"], lines[6]["label"], lines[6]["source"]) == ("15.0", "paper", "A & B_2020")


def test_json_says_which_tests_marked_what(comparison: Comparison) -> None:
    told = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert told["aggregates"] == list(AGGREGATES)
    pairs = {(one["task"], one["x"], one["y"]): one for one in told["tests"]["pairs"]}
    assert set(pairs) == {(task, "first", "second") for task in ("walk", "sail", None)}
    first, second = told["rows"][:2]
    assert (first["best"], first["p"], second["not_told_apart"]) == (True, None, True)
    assert second["p"] == pairs["walk", "first", "second"]["adjusted_p"]


def evaluated(store: Store, matrix: Matrix) -> None:
    """Give every journal two evaluations and, where it did not diverge, the absolute one."""
    from marlbench.store import durable, validity

    for cell in matrix.cells:
        directory = store.cell_directory(cell.id)
        result = durable.read(directory / validity.NAME)
        if result is None:
            continue
        metric = cell.score["metric"]
        evaluations = [{"step": step, "values": {metric: -float(step)}} for step in (500, 1000)]
        lines = [
            {
                "kind": "evaluation",
                "step": one["step"],
                "values": one["values"],
                "episodes": {metric: [-one["step"], -one["step"]]},
            }
            for one in evaluations
        ]
        outcome = result["outcome"]
        if outcome["status"] == "diverged":
            evaluations, lines = evaluations[:1], lines[:1]
        else:
            lines.append({"kind": "absolute", "step": 1000, "values": outcome["absolute"]})
        with (directory / journal.NAME).open("a") as stream:
            for number, line in enumerate(lines, start=1):
                stream.write(json.dumps({"seq": number, "attempt": 1, "time_ms": 1, **line}) + "\n")
        outcome = outcome | {"evaluations": evaluations}
        extent = journal.measure(directory / journal.NAME)
        made = validity.make(cell.id, cell.identity(), outcome, extent, result["execution"])
        durable.write_json(directory / validity.NAME, made)


def test_curves_of_every_run_and_their_aggregate(store: Store, matrix: Matrix) -> None:
    evaluated(store, matrix)
    lines = list(csv.DictReader(io.StringIO(curves_csv("small", "iqm", store, matrix, None))))
    walk = [line for line in lines if line["task"] == "walk" and line["algorithm"] == "second"]
    runs = [(line["seed"], line["step"], line["value"]) for line in walk if line["kind"] == "run"]
    assert runs == [
        ("0", "500", "-500.0"),
        ("0", "1000", "-1000.0"),
        ("1", "500", "-500.0"),
        ("2", "500", "-500.0"),
        ("2", "1000", "-1000.0"),
    ]
    at_500, at_1000 = (line for line in walk if line["kind"] == "aggregate")
    assert float(at_500["value"]) == pytest.approx(-500.0)
    # The second seed diverged: from then on it has the score 0, which is -10.
    assert float(at_1000["value"]) == pytest.approx((-1000 - 1000 - 10) / 3)
    assert at_1000["runs"] == "3"
    assert float(at_1000["ci_low"]) <= float(at_1000["score"]) <= float(at_1000["ci_high"])
    over_tasks = [line for line in lines if line["kind"] == "aggregate" and not line["task"]]
    assert {line["algorithm"] for line in over_tasks} == {"first", "second"}
    assert {line["runs"] for line in over_tasks if line["algorithm"] == "second"} == {"5"}


def test_marl_evals_layout_comes_back_as_foreign_results(
    store: Store, matrix: Matrix, comparison: Comparison, tmp_path: Path
) -> None:
    evaluated(store, matrix)
    file = tmp_path / "raw.json"
    file.write_text(marl_eval_text(comparison, store, matrix, None))
    raw = json.loads(file.read_text())["small"]
    run = raw["walk"]["first"]["seed_0"]
    assert list(run) == ["step_1", "step_2", "absolute_metrics"]
    assert run["step_1"]["step_count"] == 500
    assert run["step_1"]["score"] == [-49.0, -49.0]
    assert run["absolute_metrics"]["score"] == pytest.approx([0.875])
    # Tasks with metrics of their own have but the score in common.
    assert all(
        set(of["absolute_metrics"]) == {"score"}
        for t in raw.values()
        for a in t.values()
        for of in a.values()
    )
    assert raw["walk"]["second"]["seed_1"]["absolute_metrics"]["score"] == [0.0]
    again = gather([str(file)], bounds={"*": Scale(0, 1)})
    ours = {(row.cell.task, row.cell.label): sorted(row.scores) for row in comparison.rows}
    for group in again.groups:
        values = sorted(again.runs[cell.id].value or 0.0 for cell in group.cells)
        assert values == pytest.approx(ours[group.cell.task, group.cell.label])


def test_one_task_keeps_its_raw_metric(store: Store, finish: Any) -> None:
    matrix = resolve(["small"], tasks=["walk"], algorithms=["first"])
    finish(matrix.cells, [-1.0, -2.0, -3.0])
    evaluated(store, matrix)
    raw = json.loads(marl_eval_text(compare_matrix(store, matrix)[0], store, matrix, None))
    assert raw["small"]["walk"]["first"]["seed_1"]["absolute_metrics"] == {
        "return_mean": [-2.0],
        "score": [0.8],
    }


@pytest.mark.parametrize("width", [60, 80, 160])
def test_a_terminal_shows_published_numbers_and_cost_at_any_width(comparison: Comparison, width: int) -> None:
    stream = io.StringIO()
    render([comparison], Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    text = " ".join(line.strip() for line in lines)
    for part in (
        "15.00",
        "theirs [paper]",
        "1.50k",
        ".50",
        "2.0G",
        "steps/s",
        "CPU-h",
        "memory",
        "2/3",
        "Protocol:",
    ):
        assert part in text
    if width == 60:
        # What a run costs stands below, under the same names.
        assert len([line for line in lines if line.startswith("walk  ")]) == 2
