"""A suite file, read and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from marlbench.catalog.document import Document, Location, parse, read_bytes, shown
from marlbench.catalog.grid import Points, check_levels, expand, matching
from marlbench.catalog.lookup import GIVEN, Found, find
from marlbench.catalog.provenance import first_problem, validate
from marlbench.catalog.selection import parse_seeds
from marlbench.catalog.study_check import check_study
from marlbench.catalog.types import FULL, RESERVED, Suite, seeds_text
from marlbench.errors import ConfigurationError, UsageError, did_you_mean


@dataclass(frozen=True)
class LoadedSuite:
    """A suite with the file it stands in, its grids written out.

    Attributes:
        document: as the file would be with its grids written out; places are those of the file.
        sha256: of the file's content.
        points: section -> name -> where the entry comes from.
    """

    suite: Suite
    document: Document
    found: Found
    sha256: str
    points: Points

    @property
    def name(self) -> str:
        return self.suite.name

    def notices(self) -> list[str]:
        """What a user should know about where the suite came from."""
        shadowed = [path for path in self.found.shadows if _sha256(path) != self.sha256]
        return [
            f"{self.name}: {shown(self.found.path)} ({self.found.where}) is used and hides "
            f"another suite of this name, {shown(path)}."
            for path in shadowed
        ]


def load_suite(name: str) -> LoadedSuite:
    """Find, read and check a suite by name or path; plug-ins are not imported yet.

    Raises:
        ConfigurationError: naming file, line, key and what to write instead.
    """
    found = find(name)
    content = read_bytes(found.path)
    suite, document, points = check(parse(content, found.path), found)
    return LoadedSuite(suite, document, found, hashlib.sha256(content).hexdigest(), points)


def check(document: Document, found: Found) -> tuple[Suite, Document, Points]:
    """The typed suite of a document, with everything checked that needs no plug-in; the document with its grids
    written out, and the points of the grids."""
    root = document.value
    if not isinstance(root, dict):
        raise document.error((), "a suite file is a mapping of keys to values.")
    version = root.get("schema")
    if isinstance(version, int) and not isinstance(version, bool) and version > 1:
        raise document.error(
            ("schema",),
            f"version {version} is newer than this marlbench, which reads 1.",
            "Update marlbench.",
        )
    suite = _typed(document)
    document, points = expand(document)
    if any(point.levels for section in points.values() for point in section.values()):
        suite = _typed(document)
    if found.where != GIVEN and suite.name != found.path.stem:
        raise document.error(
            ("suite",),
            f"the suite calls itself '{suite.name}', but the file's name is '{found.path.stem}'.",
            "Make them equal.",
        )
    _check_references(suite, document, points)
    _check_presets(suite, document, points)
    _check_seeds(suite, document)
    if suite.study is not None:
        check_study(suite.study, document, points, suite)
    return suite, document, points


def _typed(document: Document) -> Suite:
    try:
        return validate(Suite, document.value)
    except ValidationError as error:
        location, problem, hint = first_problem(error, Suite, document.value)
        raise document.error(location, problem, hint) from None


def seeds_of(value: int | str | list[int], document: Document, location: Location) -> tuple[int, ...]:
    """The seeds that a suite file gives as a count, as text or as a list."""
    try:
        return parse_seeds(seeds_text(value))
    except UsageError as error:
        raise document.error(location, str(error).removeprefix("seeds: "), error.hint) from None


def _check_references(suite: Suite, document: Document, points: Points) -> None:
    for label, entry in suite.algorithms.items():
        if label in RESERVED:
            raise document.error(
                ("algorithms", label), f"'{label}' has another meaning in --set.", "Call the entry otherwise."
            )
        for index, glob in enumerate(entry.tasks or ()):
            if not matching(glob, points["tasks"]):
                raise document.error(
                    ("algorithms", label, "tasks", index),
                    f"no task matches '{glob}'.",
                    did_you_mean(glob, suite.tasks),
                )
    for task_name, task in suite.tasks.items():
        for label in task.algorithms:
            if label not in suite.algorithms:
                raise document.error(
                    ("tasks", task_name, "algorithms", label),
                    f"the suite has no algorithm entry '{label}'.",
                    did_you_mean(label, suite.algorithms),
                )


def _check_presets(suite: Suite, document: Document, points: Points) -> None:
    if FULL in suite.presets:
        raise document.error(
            ("presets", FULL), f"'{FULL}' is the suite without a preset.", "Call the preset otherwise."
        )
    for name, preset in suite.presets.items():
        place: Location = ("presets", name)
        check_levels(document, (*place, "grid"), preset.grid, points)
        _check_globs(document, (*place, "tasks"), preset.tasks or (), points, "tasks")
        for glob, entry in (preset.algorithms or {}).items():
            here: Location = (*place, "algorithms", glob)
            _check_globs(document, here, [glob], points, "algorithms")
            check_levels(document, (*here, "grid"), entry.grid, points)
            _check_globs(document, (*here, "tasks"), entry.tasks or (), points, "tasks")


def _check_globs(
    document: Document, place: Location, globs: Sequence[str], points: Points, section: str
) -> None:
    what = "task" if section == "tasks" else "algorithm entry"
    for index, glob in enumerate(globs):
        if not matching(glob, points[section]):
            known = {point.entry for point in points[section].values()}
            raise document.error((*place, index), f"no {what} matches '{glob}'.", did_you_mean(glob, known))


def _check_seeds(suite: Suite, document: Document) -> None:
    seeds_of(suite.seeds, document, ("seeds",))
    sections: Sequence[tuple[str, dict[str, Any]]] = (
        ("algorithms", dict(suite.algorithms)),
        ("presets", dict(suite.presets)),
    )
    for section, entries in sections:
        for name, entry in entries.items():
            if entry.seeds is not None:
                seeds_of(entry.seeds, document, (section, name, "seeds"))
    for name, preset in suite.presets.items():
        for glob, of_entry in (preset.algorithms or {}).items():
            if of_entry.seeds is not None:
                seeds_of(of_entry.seeds, document, ("presets", name, "algorithms", glob, "seeds"))
    for label, entry in suite.algorithms.items():
        if entry.tuning is not None:
            seeds_of(entry.tuning.seeds, document, ("algorithms", label, "tuning", "seeds"))


def _sha256(path: Any) -> str:
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except ConfigurationError:
        return ""
