"""A suite file, read and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError

from marlbench.catalog.document import Document, Location, parse, read_bytes, shown
from marlbench.catalog.lookup import GIVEN, Found, find
from marlbench.catalog.provenance import first_problem, validate
from marlbench.catalog.selection import parse_seeds
from marlbench.catalog.types import FULL, RESERVED, Suite, seeds_text
from marlbench.errors import ConfigurationError, UsageError, did_you_mean


@dataclass(frozen=True)
class LoadedSuite:
    """A suite with the file it stands in; `sha256` is that of the file's content."""

    suite: Suite
    document: Document
    found: Found
    sha256: str

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
    document = parse(content, found.path)
    return LoadedSuite(check(document, found), document, found, hashlib.sha256(content).hexdigest())


def check(document: Document, found: Found) -> Suite:
    """The typed suite of a document, with everything checked that needs no plug-in."""
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
    try:
        suite = validate(Suite, root)
    except ValidationError as error:
        location, problem, hint = first_problem(error, Suite, root)
        raise document.error(location, problem, hint) from None
    if found.where != GIVEN and suite.name != found.path.stem:
        raise document.error(
            ("suite",),
            f"the suite calls itself '{suite.name}', but the file's name is '{found.path.stem}'.",
            "Make them equal.",
        )
    _check_references(suite, document)
    _check_seeds(suite, document)
    return suite


def seeds_of(value: int | str | list[int], document: Document, location: Location) -> tuple[int, ...]:
    """The seeds that a suite file gives as a count, as text or as a list."""
    try:
        return parse_seeds(seeds_text(value))
    except UsageError as error:
        raise document.error(location, str(error).removeprefix("seeds: "), error.hint) from None


def _check_references(suite: Suite, document: Document) -> None:
    if FULL in suite.presets:
        raise document.error(
            ("presets", FULL), f"'{FULL}' is the suite without a preset.", "Call the preset otherwise."
        )
    for label, entry in suite.algorithms.items():
        if label in RESERVED:
            raise document.error(
                ("algorithms", label), f"'{label}' has another meaning in --set.", "Call the entry otherwise."
            )
        for index, glob in enumerate(entry.tasks or ()):
            if not matching(glob, suite.tasks):
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
    for label, entry in suite.algorithms.items():
        if entry.tuning is not None:
            seeds_of(entry.tuning.seeds, document, ("algorithms", label, "tuning", "seeds"))


def matching(glob: str, names: Sequence[str] | dict[str, Any]) -> list[str]:
    """The names that a glob matches, case counting, in their order."""
    return [name for name in names if fnmatchcase(name, glob)]


def _sha256(path: Any) -> str:
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except ConfigurationError:
        return ""
