"""Grids: one entry of a suite file that stands for an entry at every combination of levels.

    grid: {dilemma_strength: [0.1, 0.2], B: {low: {temperature: 0.1}, high: {temperature: 0.7}}}

An axis is a list of values of the parameter that it is called after, or names its levels and says what each sets. The
entry `lattice` becomes `lattice-dilemma_strength-0.1-B-low` and so on. What results is what somebody would have
written by hand, so a grid is no part of any identity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

from marlbench.catalog.document import Document, Location
from marlbench.catalog.fields import NAME_PATTERN, LevelValue
from marlbench.catalog.identity import canonical
from marlbench.errors import did_you_mean

# More than anyone runs, few enough that a slip of the finger does not fill the memory.
MAXIMUM_POINTS = 10_000

# Section of a suite file -> what a grid varies in it.
VARIED = {"tasks": "parameters", "algorithms": "hyperparameters"}
# What names a group of cells beside the axes.
RESERVED = ("task", "algorithm", "backend")


@dataclass(frozen=True)
class Point:
    """Where a task or an algorithm entry comes from: the entry of the file, and its level on each axis of its grid."""

    entry: str
    levels: Mapping[str, str] = field(default_factory=dict)


Points = dict[str, dict[str, Point]]


def level_name(value: LevelValue) -> str:
    """The name of a level: numbers as short as possible, so that 1 and 1.0 are one name."""
    return value if isinstance(value, str) else canonical(value)


def expand(document: Document) -> tuple[Document, Points]:
    """The document with its grids written out, and section -> name -> point of every entry.

    The document has the form of a suite. Places of the new entries are those of the grid they come from.

    Raises:
        ConfigurationError: a grid that cannot be written out.
    """
    root, lines = dict(document.value), dict(document.lines)
    points: Points = {}
    for section, varied in VARIED.items():
        entries: dict[str, Any] = {}
        points[section] = {}
        told = _lines_of_grids(document, section)
        for name, entry in document.value[section].items():
            for point, values in _points(document, section, name, entry, varied):
                full = "-".join([name, *(f"{axis}-{level}" for axis, level in point.levels.items())])
                if full in points[section]:
                    raise document.error(
                        (section, name), f"the grid gives '{full}', which exists.", "Rename the entry."
                    )
                points[section][full] = point
                entries[full] = values
                if point.levels:
                    _check_name(full, document, (section, name, "grid"))
                    lines |= {(section, full, *below): line for below, line in told[name]}
                    lines |= _lines_of_levels(document, (section, name), (section, full, varied), point)
        root[section] = entries
    _check_axes(document, points)
    return Document(document.path, root, lines), points


def _points(
    document: Document, section: str, name: str, entry: Any, varied: str
) -> Iterator[tuple[Point, Any]]:
    grid = (entry or {}).get("grid")
    if not grid:
        yield Point(name), entry
        return
    place: Location = (section, name, "grid")
    rest = {key: value for key, value in entry.items() if key != "grid"}
    if section == "algorithms":
        # An entry that names no plug-in is called after it.
        rest.setdefault("algorithm", name)
    axes = {axis: _levels(document, (*place, axis), axis, levels) for axis, levels in grid.items()}
    _check_sets(document, place, axes, rest.get(varied) or {})
    count = 1
    for levels in axes.values():
        count *= len(levels)
    if count > MAXIMUM_POINTS:
        raise document.error(
            place, f"{count:,} points are more than {MAXIMUM_POINTS:,}.", "Give fewer levels."
        )
    for combination in product(*(levels.items() for levels in axes.values())):
        values = dict(rest.get(varied) or {})
        for _, sets in combination:
            values |= sets
        at = {axis: level for axis, (level, _) in zip(axes, combination, strict=True)}
        yield Point(name, at), {**rest, varied: values}


def _levels(
    document: Document, place: Location, axis: str, levels: list[LevelValue] | dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Name of the level -> what it sets."""
    if isinstance(levels, dict):
        return levels
    found: dict[str, dict[str, Any]] = {}
    for index, value in enumerate(levels):
        name = level_name(value)
        if name in found:
            raise document.error((*place, index), f"the level {name} is given twice.", "Remove one.")
        found[name] = {axis: value}
    return found


def _check_sets(
    document: Document, place: Location, axes: Mapping[str, dict[str, dict[str, Any]]], fixed: dict[str, Any]
) -> None:
    by_parameter: dict[str, str] = {}
    for axis, levels in axes.items():
        if axis in RESERVED:
            raise document.error((*place, axis), f"'{axis}' is no name for an axis.", "Call it otherwise.")
        for name in {name for sets in levels.values() for name in sets}:
            other = by_parameter.setdefault(name, axis)
            if other != axis or name in fixed:
                also = f"the axis '{other}'" if other != axis else "the entry itself"
                raise document.error((*place, axis), f"{also} sets '{name}' too.", "Set it in one place.")


def _check_name(name: str, document: Document, place: Location) -> None:
    if not re.fullmatch(NAME_PATTERN.strip("^$"), name):
        hint = "Names have 1 to 64 letters, digits, '.', '_' or '-': give the axis a short name and its levels names."
        raise document.error(place, f"'{name}' is not a name.", hint)


def _lines_of_grids(document: Document, section: str) -> dict[str, list[tuple[Location, int]]]:
    """Of every entry with a grid the places within it, and their lines."""
    found: dict[str, list[tuple[Location, int]]] = {
        name: [] for name, entry in document.value[section].items() if (entry or {}).get("grid")
    }
    for location, line in document.lines.items():
        if len(location) > 1 and location[0] == section and location[1] in found:
            found[str(location[1])].append((location[2:], line))
    return found


def _lines_of_levels(
    document: Document, source: Location, target: Location, point: Point
) -> dict[Location, int]:
    """The lines of the values that a point's levels set."""
    section, name = source
    grid = document.value[section][name]["grid"]
    lines: dict[Location, int] = {}
    for axis, level in point.levels.items():
        levels, place = grid[axis], (*source, "grid", axis)
        if isinstance(levels, dict):
            lines |= {(*target, key): document.line((*place, level, key)) for key in levels[level]}
        else:
            index = [level_name(value) for value in levels].index(level)
            lines[(*target, axis)] = document.line((*place, index))
    return lines


def _check_axes(document: Document, points: Points) -> None:
    of_tasks, of_algorithms = (
        {axis: point.entry for point in points[section].values() for axis in point.levels}
        for section in VARIED
    )
    for axis in of_tasks.keys() & of_algorithms.keys():
        raise document.error(
            ("algorithms", of_algorithms[axis], "grid", axis),
            f"the task '{of_tasks[axis]}' has an axis of this name too.",
            "Give the axes different names.",
        )


def levels_of(points: Points) -> dict[str, list[str]]:
    """Axis -> its levels, over all entries, in their order."""
    found: dict[str, dict[str, None]] = {}
    for section in points.values():
        for point in section.values():
            for axis, level in point.levels.items():
                found.setdefault(axis, {})[level] = None
    return {axis: list(levels) for axis, levels in found.items()}


def check_levels(
    document: Document, place: Location, wanted: Mapping[str, list[LevelValue]], points: Points
) -> None:
    """Raise ConfigurationError where an axis does not exist, or has no such level."""
    known = levels_of(points)
    for axis, values in wanted.items():
        if axis not in known:
            raise document.error((*place, axis), f"no grid has the axis '{axis}'.", did_you_mean(axis, known))
        for index, value in enumerate(values):
            if level_name(value) not in known[axis]:
                raise document.error(
                    (*place, axis, index),
                    f"the axis '{axis}' has no level {level_name(value)}.",
                    did_you_mean(level_name(value), known[axis]),
                )


def kept(point: Point, wanted: Mapping[str, list[LevelValue]]) -> bool:
    """Whether a point lies at one of the wanted levels of every axis that it has."""
    return all(
        level in map(level_name, wanted[axis]) for axis, level in point.levels.items() if axis in wanted
    )


def matches(glob: str, name: str, point: Point) -> bool:
    """Whether a glob means an entry: by its name, or by that of the entry whose grid it is a point of."""
    return fnmatchcase(name, glob) or fnmatchcase(point.entry, glob)


def matching(glob: str, section: Mapping[str, Point]) -> list[str]:
    """The names that a glob means, in their order."""
    return [name for name, point in section.items() if matches(glob, name, point)]
