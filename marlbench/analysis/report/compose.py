"""From the store and a matrix of one suite to the page of its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import marlbench
from marlbench.analysis import layout
from marlbench.analysis.comparison import Comparison
from marlbench.analysis.layout import Block, heading, legend, protocol_line, unit_of_hours
from marlbench.analysis.report import findings, provenance, tables
from marlbench.analysis.report.gallery import Gallery
from marlbench.analysis.report.page import Page, Part
from marlbench.analysis.report.provenance import Asked
from marlbench.analysis.report.style import drawing, styles
from marlbench.catalog.document import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from marlbench.analysis.report.material import Material
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.states import CellState


def compose(
    comparison: Comparison,
    matrix: Matrix,
    material: Mapping[str, Material],
    states: Mapping[str, CellState],
    asked: Asked,
    folder: Path | None,
) -> Page:
    """The page.

    Args:
        matrix: of one suite, the one that was compared.
        material, states: of its cells.
        folder: where the figures also go as files; None: nowhere.
    """
    loaded = matrix.suites[0]
    looks = styles([*loaded.suite.algorithms, *(group.cell.label for group in matrix.groups)])
    colours = {label: look.colour for label, look in looks.items()}
    hours = unit_of_hours(row.cost for row in comparison.rows)
    tasks, suites = _split(comparison)
    overall: list[Part] = []
    parts: list[Part] = []
    told: list[str] = []
    with drawing():
        gallery = Gallery(looks, folder)
        for backend, blocks in suites.items():
            groups = [group for group in matrix.groups if group.cell.backend == backend]
            aggregates = [one for one in comparison.aggregate if one.backend == backend]
            common = aggregates[0].tasks
            table = tables.over_tasks(blocks, colours, hours)
            plates = gallery.over_tasks(groups, common, material)
            overall.append(Part(f"{blocks[0].name} ({backend})", "", (table,), plates))
            told.append(findings.over_tasks(aggregates, f"{blocks[0].name} ({backend})"))
        for block in tasks:
            groups = [
                group
                for group in matrix.groups
                if (group.cell.task, group.cell.backend) == (block.name, block.backend)
            ]
            parts.append(
                Part(
                    block.name,
                    tables.about(loaded.suite.tasks[block.name].title, groups[0].cell),
                    (tables.of_task(block, colours, hours),),
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
                    *findings.leaders(shown),
                    findings.diverged(shown),
                ),
            )
        ),
        notes=comparison.notes,
        overall=tuple(overall),
        tasks=tuple(parts),
        method=(legend(comparison), protocol_line(comparison)),
        settings=provenance.settings(matrix),
        commands=provenance.commands(asked, material.values()),
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


def _split(comparison: Comparison) -> tuple[list[Block], dict[str, list[Block]]]:
    """The blocks of the tasks, and those of each backend's aggregates."""
    found = layout.blocks(comparison)
    count = len({(row.cell.task, row.cell.backend) for row in comparison.rows})
    over: dict[str, list[Block]] = {}
    for block in found[count:]:
        over.setdefault(block.backend, []).append(block)
    return found[:count], over
