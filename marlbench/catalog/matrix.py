"""Suites and a selection resolve to a matrix of cells."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from marlbench.catalog.cell import Cell
from marlbench.catalog.document import Location
from marlbench.catalog.plugged import Method, TaskEnvironment, method, task_environment
from marlbench.catalog.provenance import Layers, Level, Origin, Resolved
from marlbench.catalog.selection import Override, format_seeds
from marlbench.catalog.suite import LoadedSuite, load_suite, matching, seeds_of
from marlbench.catalog.types import FULL, AlgorithmEntry, Preset, Protocol, Task
from marlbench.errors import ConfigurationError, UsageError, did_you_mean

DTYPE = "float32"


@dataclass(frozen=True)
class CellGroup:
    """The cells of one task and one label: all but the seed is equal.

    `origins` says of `hyperparameters.<name>`, `parameters.<name>`, `protocol.<name>`, `steps`, `rows` and
    `seeds` where the value came from.
    """

    suite: LoadedSuite
    task: Task
    cells: tuple[Cell, ...]
    origins: Mapping[str, Origin]

    @property
    def cell(self) -> Cell:
        """Any cell, for what all have in common."""
        return self.cells[0]


@dataclass(frozen=True)
class Matrix:
    """The cells that one command line selects, in the order of suites, tasks, algorithms and seeds.

    Attributes:
        preset: name of the preset, "full" without one.
        labels: of the preset by suite, where it has one ("not a comparison").
        notices: what a plan should tell besides: shadowed suites, algorithms added to a suite.
    """

    suites: tuple[LoadedSuite, ...]
    groups: tuple[CellGroup, ...]
    preset: str = FULL
    labels: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for group in self.groups for cell in group.cells)

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits; the same for the same cells, whatever options selected them."""
        lines = "\n".join(sorted(cell.id for cell in self.cells))
        return hashlib.sha256(lines.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Selection:
    """What of the suites is asked for; empty or None means everything, or what the suite says."""

    tasks: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    steps: int | None = None
    preset: str = FULL
    overrides: tuple[Override, ...] = ()


def resolve(
    suites: Sequence[str],
    *,
    tasks: Sequence[str] = (),
    algorithms: Sequence[str] = (),
    seeds: tuple[int, ...] | None = None,
    steps: int | None = None,
    preset: str | None = None,
    overrides: Sequence[Override] = (),
) -> Matrix:
    """The matrix of suites, given by name or path, and a selection.

    Args:
        tasks: globs; a task is selected when one matches.
        algorithms: labels of the suites. The name of an algorithm plug-in that a suite has no entry for is
            added to it with its default hyperparameters.
        seeds, steps: instead of what the suites say.
        preset: name of a preset that every suite has; None or "full" for none.
        overrides: `--set` options; those for one label win over those for every algorithm.

    Raises:
        UsageError: the selection names what does not exist, or selects nothing.
        ConfigurationError: a suite, a plug-in or a value that cannot be used.
    """
    loaded = [load_suite(name) for name in dict.fromkeys(suites)]
    _refuse_namesakes(loaded)
    selection = Selection(tuple(tasks), tuple(algorithms), seeds, steps, preset or FULL, tuple(overrides))
    _check_selection(loaded, selection)
    used: set[str] = set()
    resolvers = [_SuiteResolver(suite, selection, used) for suite in loaded]
    groups = [group for resolver in resolvers for group in resolver.groups()]
    for override in selection.overrides:
        if groups and override.text not in used:
            _refuse_override(override, resolvers)
    if not groups:
        raise UsageError("nothing is selected: no algorithm of the selection has one of the selected tasks.")
    _refuse_doubles(groups)
    notices = [notice for suite in loaded for notice in suite.notices()]
    notices += [notice for resolver in resolvers for notice in resolver.notices]
    labels = {s.name: s.suite.presets[selection.preset].label for s in loaded if selection.preset != FULL}
    return Matrix(
        tuple(loaded),
        tuple(groups),
        selection.preset,
        {name: label for name, label in labels.items() if label},
        tuple(notices),
    )


class _SuiteResolver:
    def __init__(self, loaded: LoadedSuite, selection: Selection, used: set[str]) -> None:
        self.loaded = loaded
        self.suite = loaded.suite
        self.selection = selection
        self.used = used
        self.preset = self.suite.presets.get(selection.preset, Preset())
        self.notices: list[str] = []
        self.entries = self._entries()
        self.fields: dict[str, set[str]] = {"task": set(), "protocol": set(Protocol.model_fields)}

    def groups(self) -> list[CellGroup]:
        globs = self.selection.tasks or ("*",)
        groups = []
        for name, task in self.suite.tasks.items():
            if not any(matching(glob, [name]) for glob in globs):
                continue
            labels = [
                label
                for label, entry in self.entries.items()
                if entry.tasks is None or any(matching(glob, [name]) for glob in entry.tasks)
            ]
            if labels:
                environment = self._environment(name, task)
                protocol = self._protocol(name, task)
                groups += [self._group(name, task, environment, protocol, label) for label in labels]
        return groups

    def _entries(self) -> dict[str, AlgorithmEntry]:
        from marlbench.plugins import plugins

        if not self.selection.algorithms:
            return dict(self.suite.algorithms)
        entries = {}
        for label in dict.fromkeys(self.selection.algorithms):
            if label in self.suite.algorithms:
                entries[label] = self.suite.algorithms[label]
            elif label in plugins("algorithms"):
                entries[label] = AlgorithmEntry()
                self.notices.append(
                    f"{self.suite.name} has no entry '{label}'; it is added with its default hyperparameters."
                )
        order = list(self.suite.algorithms)
        return dict(sorted(entries.items(), key=lambda e: order.index(e[0]) if e[0] in order else len(order)))

    def _origin(self, level: Level, *location: str) -> Callable[[str], Origin]:
        return lambda key: Origin(level, self.loaded.document.where((*location, key)))

    def _override(self, layers: Layers, *targets: str, required: str = "") -> None:
        """Apply the overrides of the targets, in this order; those for `required` must fit."""
        for target in targets:
            self.fields.setdefault(target, set()).update(layers.model.model_fields)
            for override in self.selection.overrides:
                if override.target == target and (layers.has(override.field) or target == required):
                    self.used.add(override.text)
                    layers.add({override.field: override.value}, _command_line(override.text))

    def _environment(self, name: str, task: Task) -> TaskEnvironment:
        location: Location = ("tasks", name)

        def parameters(layers: Layers) -> None:
            layers.add(task.parameters, self._origin("task", "tasks", name, "parameters"))
            self._override(layers, "task")

        return task_environment(task.environment, self.loaded.document, location, parameters)

    def _protocol(self, name: str, task: Task) -> Resolved:
        layers = Layers(Protocol, "the protocol", "marlbench")
        written = self.loaded.document.value["protocol"]
        layers.add(written, self._origin("suite", "protocol"))
        layers.add(task.protocol, self._origin("task", "tasks", name, "protocol"))
        layers.add(self.preset.protocol, self._origin("preset", "presets", self.selection.preset, "protocol"))
        self._override(layers, "protocol", required="protocol")
        return layers.resolve()

    def _method(self, label: str, task_name: str, task: Task) -> tuple[Method, Resolved]:
        entry = self.entries[label]
        location = ("algorithms", label, "algorithm")
        found = method(entry.algorithm or label, self.loaded.document, location)
        layers = Layers(found.Hyperparameters, f"the algorithm '{found.name}'", found.target)
        layers.add(entry.hyperparameters, self._origin("suite", "algorithms", label, "hyperparameters"))
        if label in task.algorithms:
            layers.add(
                task.algorithms[label].hyperparameters,
                self._origin("task", "tasks", task_name, "algorithms", label, "hyperparameters"),
            )
        self._override(layers, "algorithm", label, required=label)
        return found, layers.resolve()

    def _group(
        self, name: str, task: Task, environment: TaskEnvironment, protocol: Resolved, label: str
    ) -> CellGroup:
        entry = self.entries[label]
        found, hyperparameters = self._method(label, name, task)
        origins = {
            f"{prefix}.{key}": origin
            for prefix, resolved in (
                ("parameters", environment.parameters),
                ("protocol", protocol),
                ("hyperparameters", hyperparameters),
            )
            for key, origin in resolved.origins.items()
        }
        steps = self._pick("steps", name, task, label, entry, origins)
        rows = self._pick("rows", name, task, label, entry, origins)
        if protocol.values["evaluations"] > -(-steps // rows):
            raise ConfigurationError(
                f"{origins['steps'].where}: '{label}' on the task '{name}' trains {steps} steps on {rows} "
                f"rows, too few for the {protocol.values['evaluations']} evaluations of the protocol.",
                "Train longer, on fewer rows, or evaluate less often.",
            )
        seeds = self._seeds(label, entry, origins)
        first = Cell(
            suite=self.suite.name,
            task=name,
            task_revision=task.revision,
            environment=task.environment,
            parameters=environment.parameters.values,
            backend=environment.backend,
            simulator=environment.simulator,
            data=environment.data,
            algorithm=found.name,
            algorithm_revision=found.revision,
            hyperparameters=hyperparameters.values,
            label=label,
            rows=rows,
            dtype=DTYPE,
            protocol=protocol.values,
            steps=steps,
            seed=seeds[0],
            score=task.score.model_dump(mode="json"),
            omitted=(
                *(f"parameters.{key}" for key in environment.parameters.omitted),
                *(f"hyperparameters.{key}" for key in hyperparameters.omitted),
                *(f"protocol.{key}" for key in protocol.omitted),
            ),
        )
        return CellGroup(self.loaded, task, tuple(replace(first, seed=seed) for seed in seeds), origins)

    def _pick(
        self,
        key: str,
        task_name: str,
        task: Task,
        label: str,
        entry: AlgorithmEntry,
        origins: dict[str, Origin],
    ) -> int:
        """`steps` or `rows` of, in rising precedence, suite, task, entry, preset and command line."""
        places: list[tuple[Any, Level, Location]] = [
            (getattr(self.suite, key), "suite", (key,)),
            (getattr(task, key), "task", ("tasks", task_name, key)),
            (getattr(entry, key), "suite", ("algorithms", label, key)),
            (getattr(self.preset, key), "preset", ("presets", self.selection.preset, key)),
        ]
        value, level, location = next(place for place in reversed(places) if place[0] is not None)
        origins[key] = Origin(level, self.loaded.document.where(location))
        if key == "steps" and self.selection.steps is not None:
            value = self.selection.steps
            origins[key] = Origin("command line", f"--steps {value}")
        assert isinstance(value, int)
        return value

    def _seeds(self, label: str, entry: AlgorithmEntry, origins: dict[str, Origin]) -> tuple[int, ...]:
        if self.selection.seeds is not None:
            origins["seeds"] = Origin("command line", f"--seeds {format_seeds(self.selection.seeds)}")
            return self.selection.seeds
        document = self.loaded.document
        for value, level, location in self._seed_places(label, entry):
            if value is not None:
                origins["seeds"] = Origin(level, document.where(location))
                return seeds_of(value, document, location)
        raise AssertionError("a suite has seeds")

    def _seed_places(
        self, label: str, entry: AlgorithmEntry
    ) -> list[tuple[int | str | None, Level, Location]]:
        return [
            (self.preset.seeds, "preset", ("presets", self.selection.preset, "seeds")),
            (entry.seeds, "suite", ("algorithms", label, "seeds")),
            (self.suite.seeds, "suite", ("seeds",)),
        ]


def _command_line(text: str) -> Callable[[str], Origin]:
    return lambda _: Origin("command line", text)


def _refuse_namesakes(loaded: Sequence[LoadedSuite]) -> None:
    seen: dict[str, LoadedSuite] = {}
    for suite in loaded:
        other = seen.setdefault(suite.name, suite)
        if other is not suite:
            raise UsageError(
                f"the files {other.found.path} and {suite.found.path} are both the suite '{suite.name}'.",
                "Give one of them.",
            )


def _check_selection(loaded: Sequence[LoadedSuite], selection: Selection) -> None:
    from marlbench.plugins import plugins

    tasks = {task for suite in loaded for task in suite.suite.tasks}
    for glob in selection.tasks:
        if not matching(glob, sorted(tasks)):
            raise UsageError(f"--task {glob}: no task matches.", did_you_mean(glob, tasks))
    labels = {label for suite in loaded for label in suite.suite.algorithms} | set(plugins("algorithms"))
    for label in selection.algorithms:
        if label not in labels:
            raise UsageError(f"--algorithm {label}: there is no such algorithm.", did_you_mean(label, labels))
    for suite in loaded:
        if selection.preset != FULL and selection.preset not in suite.suite.presets:
            raise UsageError(
                f"--preset {selection.preset}: the suite '{suite.name}' has no such preset.",
                did_you_mean(selection.preset, [FULL, *suite.suite.presets]),
            )


def _refuse_override(override: Override, resolvers: Sequence[_SuiteResolver]) -> None:
    targets = {target for resolver in resolvers for target in resolver.fields}
    if override.target not in targets:
        raise UsageError(
            f"{override.text}: '{override.target}' is none of algorithm, task, protocol "
            "and the selected algorithms.",
            did_you_mean(override.target, targets),
        )
    fields = {name for resolver in resolvers for name in resolver.fields.get(override.target, ())}
    raise UsageError(
        f"{override.text}: nothing selected has '{override.field}'.", did_you_mean(override.field, fields)
    )


def _refuse_doubles(groups: Sequence[CellGroup]) -> None:
    seen: dict[str, CellGroup] = {}
    for group in groups:
        other = seen.setdefault(group.cell.group(), group)
        if other is not group:
            label = group.cell.label
            raise ConfigurationError(
                f"{group.suite.document.where(('algorithms', label))}: on the task '{group.cell.task}' "
                f"the entries '{other.cell.label}' and '{label}' resolve to the same cells.",
                "Remove one, or give it another algorithm or hyperparameter.",
            )
