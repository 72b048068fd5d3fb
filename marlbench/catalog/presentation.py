"""A matrix as people read it: values that all tasks share are told once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from marlbench.catalog.matrix import Matrix
from marlbench.catalog.provenance import Origin
from marlbench.catalog.resolution import CellGroup
from marlbench.catalog.selection import format_seeds


@dataclass(frozen=True)
class Line:
    """One value and its origin; `tasks` are those it holds for, empty where it holds for all."""

    name: str
    value: Any
    origin: Origin | None
    tasks: tuple[str, ...] = ()


def present(matrix: Matrix, suite: str) -> dict[str, list[Line]]:
    """Sections of one suite of the matrix: heading -> lines."""
    groups = [group for group in matrix.groups if group.cell.suite == suite]
    sections = {"protocol": _merged(_firsts(groups), ("protocol",))}
    for group in _firsts(groups):
        cell = group.cell
        lines = [
            Line("environment", cell.environment, None),
            Line("backend", " ".join(filter(None, (cell.backend, cell.simulator))), None),
            *_merged([group], ("parameters",)),
            Line(
                "score",
                f"{cell.score['metric']} from {cell.score['low']:g} to {cell.score['high']:g}: {cell.score['source']}",
                None,
            ),
        ]
        sections[f"task {cell.task}, revision {cell.task_revision}"] = lines
    for label in dict.fromkeys(group.cell.label for group in groups):
        of_label = [group for group in groups if group.cell.label == label]
        cell = of_label[0].cell
        name = "" if label == cell.algorithm else f" ({cell.algorithm})"
        sections[f"algorithm {label}{name}, revision {cell.algorithm_revision}"] = _merged(
            of_label, ("hyperparameters", "steps", "rows", "seeds")
        )
    return sections


def as_json(matrix: Matrix) -> dict[str, Any]:
    """Everything that `present` tells, and the ids of the cells."""
    return {
        "schema": 1,
        "matrix_id": matrix.id,
        "preset": matrix.preset,
        "suites": [
            {
                "suite": loaded.name,
                "title": loaded.suite.title,
                "file": str(loaded.found.path),
                "where": loaded.found.where,
                "sha256": loaded.sha256,
                "label": matrix.labels.get(loaded.name),
            }
            for loaded in matrix.suites
        ],
        "groups": [
            {
                **group.cell.identity(),
                "seed": None,
                "label": group.cell.label,
                "score": group.cell.score,
                "cells": {str(cell.seed): cell.id for cell in group.cells},
                "origins": {name: str(origin) for name, origin in group.origins.items()},
            }
            for group in matrix.groups
        ],
    }


def _firsts(groups: Sequence[CellGroup]) -> list[CellGroup]:
    """One group of each task."""
    by_task: dict[str, CellGroup] = {}
    for group in groups:
        by_task.setdefault(group.cell.task, group)
    return list(by_task.values())


def _merged(groups: Sequence[CellGroup], parts: Iterable[str]) -> list[Line]:
    """The values of some parts of a cell; where they differ between tasks, a line for each."""
    found: dict[tuple[str, str, Origin], tuple[Any, list[str]]] = {}
    for group in groups:
        for part in parts:
            for name, value, origin in _values(group, part):
                found.setdefault((name, repr(value), origin), (value, []))[1].append(group.cell.task)
    return [
        Line(name, value, origin, () if len(tasks) == len(groups) else tuple(tasks))
        for (name, _, origin), (value, tasks) in sorted(found.items(), key=_by_name(found))
    ]


def _by_name(found: Iterable[tuple[str, str, Origin]]) -> Any:
    order = {name: index for index, name in reversed(list(enumerate(name for name, _, _ in found)))}
    return lambda item: order[item[0][0]]


def _values(group: CellGroup, part: str) -> list[tuple[str, Any, Origin]]:
    if part == "seeds":
        return [(part, format_seeds([cell.seed for cell in group.cells]), group.origins[part])]
    value = getattr(group.cell, part)
    if isinstance(value, dict):
        return [(name, value[name], group.origins[f"{part}.{name}"]) for name in value]
    return [(part, value, group.origins[part])]
