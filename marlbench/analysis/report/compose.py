"""From the store and a matrix of one suite to the page of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import marlbench
from marlbench.analysis.comparison import Comparison, by_backend, common_tasks
from marlbench.analysis.report import findings, provenance, task_tables
from marlbench.analysis.report.gallery import Gallery, scores_over_tasks
from marlbench.analysis.report.page import Page, Part
from marlbench.analysis.report.style import drawing, styles
from marlbench.analysis.significance import Test, pairwise_tests
from marlbench.analysis.tables import heading, legend
from marlbench.catalog.document import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from marlbench.analysis.comparison import Row
    from marlbench.analysis.report.material import Material
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.states import CellState


def compose(
    comparison: Comparison,
    matrix: Matrix,
    material: Mapping[str, Material],
    states: Mapping[str, CellState],
    asked: tuple[str, Sequence[str]],
    folder: Path | None,
) -> Page:
    """The page.

    Args:
        matrix: of one suite, the one that was compared.
        material, states: of its cells.
        asked: name or path of the suite, and the options that select cells, as a person types them.
        folder: where the figures also go as files; None: nowhere.
    """
    loaded = matrix.suites[0]
    looks = styles([*loaded.suite.algorithms, *(group.cell.label for group in matrix.groups)])
    colours = {label: look.colour for label, look in looks.items()}
    tests = _tests_of_tasks(comparison.rows)
    overall: list[Part] = []
    tasks: list[Part] = []
    told: list[str] = []
    with drawing():
        gallery = Gallery(looks, folder)
        for backend, rows in by_backend(comparison.rows).items():
            part, sentence = _overall(backend, rows, comparison, matrix, material, gallery, colours)
            if part is not None:
                overall.append(part)
            if sentence:
                told.append(sentence)
        for task in dict.fromkeys(row.cell.task for row in comparison.rows):
            groups = [group for group in matrix.groups if group.cell.task == task]
            of_task = [row for row in comparison.rows if row.cell.task == task]
            tasks.append(
                Part(
                    task,
                    task_tables.about(loaded.suite.tasks[task].title, of_task),
                    (task_tables.of_task(of_task, tests.get(task, ()), colours),),
                    gallery.of_task(groups, material),
                )
            )
    shown = comparison.rows if comparison.done else ()
    return Page(
        suite=comparison.suite,
        title=loaded.suite.title,
        description=loaded.suite.description.strip(),
        heading=heading(comparison),
        warning=_warning(comparison),
        findings=tuple(
            filter(
                None,
                (
                    findings.compared(comparison),
                    *told,
                    *findings.leaders(shown, tests),
                    findings.power(shown),
                    findings.diverged(shown),
                ),
            )
        ),
        notes=comparison.notes,
        overall=tuple(overall),
        tasks=tuple(tasks),
        method=(legend(comparison),),
        settings=provenance.settings(matrix),
        commands=provenance.commands(*asked, material.values()),
        provenance=tuple(
            filter(
                lambda found: found.rows,
                (provenance.hardware(material.values()), provenance.versions(material.values())),
            )
        ),
        suite_digest=loaded.sha256,
        suite_text=read_bytes(loaded.found.path).decode("utf-8", "replace"),
        cells=provenance.cells(matrix, material, states),
        version=marlbench.__version__,
        files=folder is not None,
    )


def _warning(comparison: Comparison) -> str:
    if comparison.label:
        return f"Preset {comparison.preset}: {comparison.label}."
    if not comparison.done:
        return "No cell has a result yet."
    return ""


def _overall(
    backend: str,
    rows: Sequence[Row],
    comparison: Comparison,
    matrix: Matrix,
    material: Mapping[str, Material],
    gallery: Gallery,
    colours: Mapping[str, str],
) -> tuple[Part | None, str]:
    """The part of a backend's aggregates, and the sentence that sums it up."""
    tasks = common_tasks(rows)
    groups = [group for group in matrix.groups if group.cell.backend == backend]
    # Over a single task an aggregate says nothing that the task's own scores do not.
    if len({row.cell.task for row in rows}) < 2 or not tasks:
        return None, ""
    scores = scores_over_tasks(groups, tasks, material)
    if not scores:
        return None, ""
    aggregates = [one for one in comparison.aggregate if one.backend == backend]
    tests = pairwise_tests(scores) if len(scores) > 1 else ()
    table = task_tables.over_tasks(aggregates, scores, tests, colours)
    part = Part(f"{len(tasks)} tasks ({backend})", "", (table,), gallery.over_tasks(scores, backend, tasks))
    if len(scores) < 2:
        return part, ""
    points = {one.algorithm: one.score for one in aggregates if one.score is not None}
    return part, findings.over_tasks(points, tests, f"{len(tasks)} tasks ({backend})")


def _tests_of_tasks(rows: Sequence[Row]) -> dict[str, tuple[Test, ...]]:
    """The pairwise tests of each task with two algorithms or more that have runs there."""
    found = {}
    for task in dict.fromkeys(row.cell.task for row in rows):
        scores = {
            row.cell.label: [[score] for score in row.scores]
            for row in rows
            if row.cell.task == task and row.scores
        }
        if len(scores) > 1:
            found[task] = pairwise_tests(scores)
    return found
