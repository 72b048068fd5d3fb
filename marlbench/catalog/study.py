"""What the claims of a study are about: which groups of cells stand on each side, and what is set against what.

A *spot* is one task with one algorithm entry. It has coordinates: the entry of its task, the entry of its algorithm,
and its level on each axis of their grids. A *place* is where the sides of a contrast meet: spots of all sides that
agree in the coordinates which the sides have in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marlbench.catalog.fields import globs
from marlbench.catalog.grid import Points, level_name, matching
from marlbench.catalog.study_types import Contrast, Side, Trend

if TYPE_CHECKING:
    from marlbench.catalog.types import Suite

Coordinates = Mapping[str, str]


@dataclass(frozen=True)
class Spot:
    """One task with one algorithm entry; `coordinates` are `task`, `algorithm` and the axes of their grids."""

    task: str
    label: str
    coordinates: Coordinates


@dataclass(frozen=True)
class Place:
    """Where the sides of a contrast meet.

    Attributes:
        coordinates: those in which all sides agree.
        members: role of the side -> its spots here: one, or with `best` one for each candidate (algorithm entry), or
            along a trend one for each level, in its order.
    """

    coordinates: Coordinates
    members: Mapping[str, Mapping[str, Spot]]


@dataclass(frozen=True)
class Layout:
    """The places of a contrast, and how many places a side has that another lacks."""

    places: tuple[Place, ...]
    unmatched: int


class MismatchError(Exception):
    """The sides of a contrast cannot be set against each other; `role` is the side that shows it."""

    def __init__(self, role: str, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.role, self.hint = role, hint


def spot(task: str, label: str, points: Points) -> Spot:
    """The spot of a task and an algorithm entry."""
    of_task, of_entry = points["tasks"][task], points["algorithms"][label]
    names = {"task": of_task.entry, "algorithm": of_entry.entry}
    return Spot(task, label, {**names, **of_task.levels, **of_entry.levels})


def spots(suite: Suite, points: Points) -> list[Spot]:
    """Every task with every algorithm entry that it has, in the order of the file."""
    found = []
    for task in suite.tasks:
        for label, entry in suite.algorithms.items():
            wanted = entry.tasks or ("*",)
            if any(task in matching(glob, {task: points["tasks"][task]}) for glob in wanted):
                found.append(spot(task, label, points))
    return found


def selected(side: Side, among: Iterable[Spot], points: Points) -> list[Spot]:
    """The spots of a side. Backends are not looked at: a task has one."""
    tasks, labels = (
        {name for glob in globs(wanted) for name in matching(glob, points[section])}
        for wanted, section in ((side.task, "tasks"), (side.algorithm, "algorithms"))
    )

    def here(one: Spot) -> bool:
        at = all(
            one.coordinates[axis] in map(level_name, levels)
            for axis, levels in side.where.items()
            if axis in one.coordinates
        )
        return (
            at and one.task in tasks and one.label in labels and side.where.keys() <= one.coordinates.keys()
        )

    return [one for one in among if here(one)]


def lay_out(contrast: Contrast, found: Mapping[str, Sequence[Spot]]) -> Layout:
    """Set the sides of a contrast against each other.

    Sides are matched in a coordinate (the task, an axis, the algorithm) where they have values in common; a side with
    a single value that the others lack stands against all of theirs.

    Args:
        found: role -> spots; no side is empty.

    Raises:
        MismatchError: the sides differ in a coordinate in which several have several values, a side has several spots
            at one place, or two sides are the same cells.
    """
    inner = {role: inner_coordinate(contrast, side) for role, side in contrast.sides.items()}
    names = dict.fromkeys(name for of in found.values() for one in of for name in one.coordinates)
    matched: dict[str, list[str]] = {role: [] for role in found}
    for name in names:
        if name not in inner.values():
            for role in _matched_in(name, found):
                matched[role].append(name)
    joined: list[tuple[dict[str, str], dict[str, Mapping[str, Spot]]]] = [({}, {})]
    keys = 0
    for role, of in found.items():
        at = _by_key(role, of, matched[role], inner[role])
        keys = max(keys, len(at))
        joined = _join(joined, role, at, matched[role])
    places = tuple(Place(coordinates, members) for coordinates, members in joined)
    _refuse_equal_sides(places)
    return Layout(places, max(0, keys - len(places)))


def inner_coordinate(contrast: Contrast, side: Side) -> str:
    """The coordinate that varies within a place of a side: the axis of a trend, algorithms where `best`."""
    return contrast.over if isinstance(contrast, Trend) else "algorithm" if side.best else ""


def _matched_in(name: str, found: Mapping[str, Sequence[Spot]]) -> list[str]:
    """The sides that are matched in a coordinate."""
    values = {role: {one.coordinates.get(name) for one in of} for role, of in found.items()}
    if set.intersection(*values.values()) - {None}:
        return list(found)
    several = [role for role, of in values.items() if len(of) > 1]
    if len(several) > 1 and not set.intersection(*(values[role] for role in several)) - {None}:
        told = [f"{role} has {', '.join(sorted(str(one) for one in values[role]))}" for role in several[:2]]
        raise MismatchError(
            several[1],
            f"the sides have no {name} in common: {', '.join(told)}.",
            "Choose the same for both, or a single one for one of them.",
        )
    return several


Key = tuple[str, ...]


def _by_key(role: str, of: Sequence[Spot], matched: Sequence[str], inner: str) -> dict[Key, dict[str, Spot]]:
    """Values of the matched coordinates -> value of the inner one -> spot."""
    found: dict[Key, dict[str, Spot]] = {}
    for one in of:
        within = found.setdefault(tuple(one.coordinates.get(name, "") for name in matched), {})
        other = within.setdefault(one.coordinates.get(inner, ""), one)
        if other is not one:
            raise MismatchError(
                role,
                f"several entries stand at one place: {other.label} on {other.task}, {one.label} on {one.task}.",
                "Restrict the side with `algorithm`, `task` or `where`; `best: true` takes the best of several.",
            )
    return found


def _join(
    joined: Sequence[tuple[dict[str, str], dict[str, Mapping[str, Spot]]]],
    role: str,
    at: Mapping[Key, Mapping[str, Spot]],
    matched: Sequence[str],
) -> list[tuple[dict[str, str], dict[str, Mapping[str, Spot]]]]:
    """The natural join of the places so far with those of one more side."""
    common = [name for name in matched if joined and name in joined[0][0]]
    index: dict[Key, list[dict[str, str]]] = {}
    for key in at:
        coordinates = dict(zip(matched, key, strict=True))
        index.setdefault(tuple(coordinates[name] for name in common), []).append(coordinates)
    return [
        (here | coordinates, {**members, role: at[tuple(coordinates[name] for name in matched)]})
        for here, members in joined
        for coordinates in index.get(tuple(here[name] for name in common), ())
    ]


def _refuse_equal_sides(places: Sequence[Place]) -> None:
    for place in places:
        seen: dict[tuple[str, str], str] = {}
        for role, members in place.members.items():
            for one in members.values():
                other = seen.setdefault((one.task, one.label), role)
                if other != role:
                    raise MismatchError(
                        role,
                        f"{one.label} on {one.task} stands on the sides {other} and {role}.",
                        "Choose other cells for one of them.",
                    )


def positions(contrast: Trend, levels: Sequence[str]) -> dict[str, float]:
    """Where the levels of a trend stand on its axis; those that its `order` lacks do not count.

    Levels that are all numbers stand at their values, others at 0, 1, 2, ... in the order given.
    """
    if contrast.order is not None:
        order = [level_name(value) for value in contrast.order]
        return {level: float(order.index(level)) for level in levels if level in order}
    try:
        return {level: float(level) for level in levels}
    except ValueError:
        return {level: float(place) for place, level in enumerate(levels)}
