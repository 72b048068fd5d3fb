"""Writing a report: the page and its figures, replaced as a whole."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from marlbench.analysis.comparison import compare_matrix
from marlbench.analysis.notes import other_revisions
from marlbench.analysis.published import load
from marlbench.analysis.report.compose import compose
from marlbench.analysis.report.material import read_material
from marlbench.analysis.report.page import Page, render
from marlbench.analysis.report.provenance import Asked
from marlbench.analysis.statistics import AGGREGATES
from marlbench.store import durable, kept_reports, locks
from marlbench.store.kept_reports import FIGURES, PAGE, KeptReport

if TYPE_CHECKING:
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.store import Store


def write_page(path: Path, store: Store, matrix: Matrix, asked: Asked) -> None:
    """The page alone, at `path`; the matrix is of one suite.

    Raises:
        StoreError: the store cannot be read, or the file not be written.
        ConfigurationError: published numbers that cannot be used.
    """
    page, _ = _page(store, matrix, asked, None)
    durable.make_directory(path.parent)
    durable.write(path, render(page).encode(), durable=False)


def write_folder(folder: Path, store: Store, matrix: Matrix, asked: Asked) -> Path:
    """The page and its figures in `folder`; those of an earlier report are replaced, other files stay.

    Returns:
        The path of the page.

    Raises:
        StoreError: as `write_page`.
    """
    _fill(folder, store, matrix, asked, figures=True)
    return folder / PAGE


def keep(store: Store, matrix: Matrix, asked: Asked, *, figures: bool) -> Path:
    """The report in the store, from where it goes to MLflow; an earlier one of the same cells is replaced.

    Args:
        figures: also as files, which takes several times as long.

    Returns:
        The path of the page.

    Raises:
        StoreError: the store cannot be read or written.
    """
    store.require_writable()
    folder = kept_reports.folder(store.root, matrix.suites[0].name, matrix.id)
    durable.make_directory(folder)
    # Runs that shared the work end at the same time.
    with locks.holding(kept_reports.lock(store.root)):
        page, finished = _fill(folder, store, matrix, asked, figures=figures)
        kept_reports.record(
            folder,
            KeptReport(
                suite=page.suite,
                matrix=matrix.id,
                title=page.heading,
                summary=page.findings,
                finished_ms=finished,
            ),
        )
    return folder / PAGE


def _fill(folder: Path, store: Store, matrix: Matrix, asked: Asked, *, figures: bool) -> tuple[Page, int]:
    durable.make_directory(folder)
    with durable.told(folder), tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as scratch:
        drawn = Path(scratch) / FIGURES
        drawn.mkdir()
        page, finished = _page(store, matrix, asked, drawn if figures else None)
        shutil.rmtree(folder / FIGURES, ignore_errors=True)
        if figures:
            drawn.rename(folder / FIGURES)
        durable.write(folder / PAGE, render(page).encode(), durable=False)
    return page, finished


def _page(store: Store, matrix: Matrix, asked: Asked, figures: Path | None) -> tuple[Page, int]:
    """The page, and when the last of its cells was finished."""
    published = [load(name) for name in asked.against]
    comparison = compare_matrix(store, matrix, shown=AGGREGATES, published=published)[0]
    if comparison.done < comparison.expected:
        others = other_revisions(store, matrix.groups)
        comparison = replace(comparison, notes=(*comparison.notes, *others))
    material, states = read_material(store, matrix.cells)
    finished = max((int(one.execution.get("finished_ms") or 0) for one in material.values()), default=0)
    return compose(comparison, matrix, material, states, asked, figures), finished
