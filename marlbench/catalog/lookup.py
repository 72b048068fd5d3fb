"""Where a suite's file is: given path, MARLBENCH_SUITES, ./suites, packaged, plug-ins; the first has it.

Each of the directories may have a folder `studies` with more of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import marlbench
from marlbench import plugins
from marlbench.catalog.document import shown
from marlbench.catalog.fields import NAME_PATTERN
from marlbench.errors import ConfigurationError, MarlbenchError, did_you_mean

VARIABLE = "MARLBENCH_SUITES"
SUFFIX = ".yaml"

GIVEN = "given path"
PACKAGED = "packaged"
STUDIES = "studies"


@dataclass(frozen=True)
class Found:
    """A suite file: `where` says which of the places has it, `shadows` what the same name means elsewhere."""

    path: Path
    where: str
    shadows: tuple[Path, ...] = ()


def packaged_directory() -> Path:
    """The suites that came with marlbench: inside a wheel, beside the package in an editable install."""
    package = Path(marlbench.__file__).resolve().parent
    inside = package / "data" / "suites"
    return inside if inside.is_dir() else package.parent / "suites"


def find(name: str) -> Found:
    """The file of a suite, by name or path.

    A name with a separator or the suffix .yaml or .yml is a path.

    Raises:
        ConfigurationError: there is none; the hint names the nearest.
    """
    if os.sep in name or "/" in name or name.endswith((SUFFIX, ".yml")):
        return Found(Path(name).expanduser().absolute(), GIVEN)
    if not re.fullmatch(NAME_PATTERN.strip("^$"), name):
        raise ConfigurationError(
            f"'{name}' is not the name of a suite.", "Give a name, or the path of a file that ends in .yaml."
        )
    candidates = [Found(file, where) for where, file in _files(name) if file.is_file()]
    if name in plugins.plugins("suites"):
        candidates.append(_from_plugin(name))
    if not candidates:
        near = did_you_mean(name, names())
        if Path(f"{name}{SUFFIX}").is_file():
            near = f"For the file {name}{SUFFIX} of this directory, write ./{name}{SUFFIX}."
        raise ConfigurationError(f"no suite is called '{name}'.", near)
    first = candidates[0]
    others = tuple(one.path for one in candidates[1:] if not _same(one.path, first.path))
    return Found(first.path, first.where, others)


def names() -> list[str]:
    """The names of all suites that `find` would find, sorted; none is opened."""
    known = set(plugins.plugins("suites"))
    for _, directory in _directories():
        if directory.is_dir():
            known.update(file.stem for file in directory.glob(f"*{SUFFIX}") if file.is_file())
    return sorted(known)


def _directories() -> Iterator[tuple[str, Path]]:
    places = [
        (VARIABLE, Path(part).expanduser().absolute())
        for part in os.environ.get(VARIABLE, "").split(os.pathsep)
        if part
    ]
    for where, directory in (*places, ("./suites", Path.cwd() / "suites"), (PACKAGED, packaged_directory())):
        yield where, directory
        yield where, directory / STUDIES


def _files(name: str) -> Iterator[tuple[str, Path]]:
    seen: list[Path] = []
    for where, directory in _directories():
        file = directory / f"{name}{SUFFIX}"
        if not any(_same(file, other) for other in seen):
            seen.append(file)
            yield where, file


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one == other


def _from_plugin(name: str) -> Found:
    plugin = plugins.plugins("suites")[name]
    target = plugin.load()
    where = f"plug-in of {plugin.package}"
    try:
        path = _path(target, name)
    except MarlbenchError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"the plug-in '{name}' (suites, {plugin.target}, package {plugin.package}) failed: "
            f"{type(error).__name__}: {error}",
            f"Repair or uninstall {plugin.package}.",
        ) from error
    if path is None:
        raise ConfigurationError(
            f"the plug-in '{name}' (suites, {plugin.target}, package {plugin.package}) gives no suite file.",
            f"It has to be a path, a function that returns one, or a module with {name}{SUFFIX} beside it.",
        )
    return Found(path, where)


def _path(target: Any, name: str) -> Path | None:
    if isinstance(target, ModuleType):
        directories = list(getattr(target, "__path__", [])) or [os.path.dirname(target.__file__ or "")]
        files = [Path(directory, f"{name}{SUFFIX}") for directory in directories]
        return next((file for file in files if file.is_file()), None)
    if callable(target):
        target = target()
    if isinstance(target, str | os.PathLike):
        return Path(target).absolute()
    return None


def describe(found: Found) -> str:
    """One line for a plan: the file and which place had it."""
    return f"{shown(found.path)} ({found.where})"
