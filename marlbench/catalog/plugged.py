"""What the catalog asks of the plug-ins that a suite names: environments and algorithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticUserError

from marlbench import plugins
from marlbench.catalog.document import Document, Location
from marlbench.catalog.provenance import Layers, Origin, Resolved
from marlbench.errors import ConfigurationError, MarlbenchError, did_you_mean


@dataclass(frozen=True)
class Method:
    """An algorithm plug-in: `target` is where it is defined."""

    name: str
    target: str
    revision: int
    Hyperparameters: type[BaseModel]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class TaskEnvironment:
    """What a task's environment adds to the identity of its cells; `written` names it as a suite file would."""

    written: str
    parameters: Resolved
    backend: str
    simulator: str
    data: dict[str, str]


def method(name: str, document: Document, location: Location) -> Method:
    """The algorithm plug-in of a name that a suite gives at a location."""
    plugin = _plugin("algorithms", name, document, location)
    loaded = plugin.load()
    revision = getattr(loaded, "revision", None)
    model = _model(loaded, "Hyperparameters")
    if not isinstance(revision, int) or model is None:
        raise _broken(plugin, "lacks `revision`, an integer, or `Hyperparameters`, a pydantic model")
    return Method(name, plugin.target, revision, model, getattr(loaded, "settings", {}))


def task_environment(
    written: str,
    document: Document,
    location: Location,
    fill: Callable[[Layers], None],
    wanted: str | None = None,
) -> TaskEnvironment:
    """Resolve a task's `environment: name` or `name:argument` and its parameters.

    Args:
        fill: puts the parameters that suite and command line give over the defaults.
        wanted: which implementation: the environment itself where it is that, else `name.backend`.
    """
    place = (*location, "environment")
    name, colon, argument = written.partition(":")
    plugin = _plugin("environments", name, document, place)
    if wanted is not None and getattr(plugin.load(), "backend", None) != wanted:
        name = _implementation(name, wanted, document, place)
        plugin = _plugin("environments", name, document, place)
    environment = plugin.load()
    model = _model(environment, "Parameters")
    if model is None:
        raise _broken(plugin, "lacks `Parameters`, a pydantic model")
    layers = Layers(model, f"the environment '{name}'", plugin.target)
    fill(layers)
    if colon:
        field = getattr(environment, "argument", None)
        if field is None:
            raise document.error(place, f"'{name}' takes nothing after the colon.", f"Write '{name}'.")
        if field in layers.values:
            raise document.error(place, f"'{field}' is given by the text after the colon and again.")
        layers.add({field: argument}, lambda _: Origin("suite", document.where(place)))
    resolved = layers.resolve()
    try:
        backend = environment.backend
        simulator = environment.simulator_version(resolved.model)
        data = environment.data_hashes(resolved.model)
    except MarlbenchError as error:
        raise document.error(place, str(error), error.hint) from error
    except Exception as error:
        raise _broken(plugin, f"failed: {type(error).__name__}: {error}") from error
    return TaskEnvironment(f"{name}{colon}{argument}", resolved, backend, simulator, data)


def _implementation(name: str, backend: str, document: Document, place: Location) -> str:
    """The plug-in of another backend of an environment: its name, a point, and the backend's."""
    known = plugins.plugins("environments")
    if f"{name}.{backend}" in known:
        return f"{name}.{backend}"
    others = [other.removeprefix(f"{name}.") for other in known if other.startswith(f"{name}.")]
    hint = did_you_mean(backend, others) if others else f"'{name}' has one backend."
    raise document.error(place, f"'{name}' has no backend '{backend}'.", hint)


def _plugin(group: str, name: str, document: Document, location: Location) -> plugins.Plugin:
    known = plugins.plugins(group)
    if name not in known:
        raise document.error(location, f"no {group[:-1]} is called '{name}'.", did_you_mean(name, known))
    return known[name]


def _model(plugged: Any, name: str) -> type[BaseModel] | None:
    value = getattr(plugged, name, None)
    if not isinstance(value, type) or not issubclass(value, BaseModel):
        return None
    try:
        # Annotations that cannot be resolved show here, not at the first value.
        value.model_rebuild()
    except (PydanticUserError, NameError):
        return None
    return value


def _broken(plugin: plugins.Plugin, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"the plug-in '{plugin.name}' ({plugin.group}, {plugin.target}, package {plugin.package}) {problem}.",
        f"Repair or uninstall {plugin.package}.",
    )
