"""The one road by which environments, algorithms, suites, engines and checks enter marlbench: entry points.

Ours and third parties' are found the same way. A plug-in that does not import is kept as a `Plugin` with its error,
so that `marlbench list` and `marlbench doctor` can show it and nothing else breaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from marlbench.errors import ConfigurationError, did_you_mean

GROUPS = ("environments", "algorithms", "suites", "engines", "checks")


@dataclass(frozen=True)
class Plugin:
    """One entry point: `name` as users write it, `target` as `module:attribute`, `package` that ships it."""

    group: str
    name: str
    target: str
    package: str
    entry_point: EntryPoint

    def load(self) -> Any:
        """Import and return the object.

        Raises ConfigurationError, naming the plug-in, its package and the import error.
        """
        try:
            return self.entry_point.load()
        except Exception as error:
            raise ConfigurationError(
                f"the plug-in '{self.name}' ({self.group}, {self.target}, package {self.package}) does not import: "
                f"{type(error).__name__}: {error}",
                hint=f"Repair or uninstall {self.package}; `marlbench doctor` lists every plug-in.",
            ) from error


@cache
def plugins(group: str) -> dict[str, Plugin]:
    """Every plug-in of a group by name, without importing any."""
    found: dict[str, Plugin] = {}
    for entry_point in entry_points(group=f"marlbench.{group}"):
        package = entry_point.dist.name if entry_point.dist is not None else "?"
        plugin = Plugin(group, entry_point.name, entry_point.value, package, entry_point)
        # Our own names win, so that no installed package can silently take one over.
        if entry_point.name not in found or package == "marlbench":
            found[entry_point.name] = plugin
    return found


def load(group: str, name: str) -> Any:
    """The object behind a plug-in's name; ConfigurationError for an unknown or broken one."""
    known = plugins(group)
    if name not in known:
        raise ConfigurationError(f"no {group[:-1]} is called '{name}'.", hint=did_you_mean(name, known))
    return known[name].load()
