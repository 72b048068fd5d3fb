"""One suite and a selection resolve to groups of cells: layers of values, in their order of precedence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from marlbench import plugins
from marlbench.catalog.cell import Cell
from marlbench.catalog.document import Location
from marlbench.catalog.grid import Point, kept, matches, matching
from marlbench.catalog.plugged import Method, TaskEnvironment, method, task_environment
from marlbench.catalog.provenance import Layers, Level, Origin, Resolved
from marlbench.catalog.selection import Override, format_seeds
from marlbench.catalog.suite import LoadedSuite, seeds_of
from marlbench.catalog.types import (
    FULL,
    TUNING_SEED,
    AlgorithmEntry,
    InitFrom,
    Preset,
    PresetEntry,
    Protocol,
    Task,
)
from marlbench.errors import ConfigurationError, UsageError, did_you_mean

DTYPE = "float32"

Followers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class CellGroup:
    """The cells of one task and one label: all but the seed is equal.

    `origins` says of `hyperparameters.<name>`, `parameters.<name>`, `protocol.<name>`, `steps`, `rows` and
    `seeds` where the value came from. `initial` are the cells from whose policies these start, in the same order;
    they need not be selected themselves.
    """

    suite: LoadedSuite
    task: Task
    cells: tuple[Cell, ...]
    origins: Mapping[str, Origin]
    initial: CellGroup | None = None

    @property
    def cell(self) -> Cell:
        """Any cell, for what all have in common."""
        return self.cells[0]


@dataclass(frozen=True)
class Selection:
    """What of the suites is asked for; empty or None means everything, or what the suite says.

    `tuning`: to choose hyperparameters, not to compare: seeds that are reserved for that may be used.
    """

    tasks: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    steps: int | None = None
    preset: str = FULL
    overrides: tuple[Override, ...] = ()
    tuning: bool = False


class SuiteResolver:
    """Resolves one suite.

    Attributes:
        used: texts of the overrides that fitted somewhere; shared by the suites of one matrix.
        fields: target of `--set` -> fields that something selected has, after `groups`.
        notices: what a plan should tell, after `groups`.
    """

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
        """The selected groups in the order of the file.

        Raises ConfigurationError for values and plug-ins that cannot be used.
        """
        globs = self.selection.tasks or ("*",)
        points = self.loaded.points["tasks"]
        groups = []
        for name, task in self.suite.tasks.items():
            if not self._matches(globs, name, points[name]) or not self._in_preset("tasks", name):
                continue
            labels = [label for label in self.entries if self._has(label, name, points[name])]
            if labels:
                environment = self._environment(name, task)
                protocol = self._protocol(name, task)
                groups += [
                    self._group(name, task, environment, protocol, label, self.entries[label])
                    for label in labels
                ]
        return groups

    def _entries(self) -> dict[str, AlgorithmEntry]:
        if not self.selection.algorithms:
            return {
                label: entry
                for label, entry in self.suite.algorithms.items()
                if self._in_preset("algorithms", label)
            }
        entries: dict[str, AlgorithmEntry] = {}
        for label in dict.fromkeys(self.selection.algorithms):
            if found := matching(label, self.loaded.points["algorithms"]):
                entries |= {
                    name: self.suite.algorithms[name] for name in found if self._in_preset("algorithms", name)
                }
            elif label in plugins.plugins("algorithms"):
                entries[label] = AlgorithmEntry()
                self.notices.append(
                    f"{self.suite.name} has no entry '{label}'; it is added with its default hyperparameters."
                )
        order = list(self.suite.algorithms)
        return dict(sorted(entries.items(), key=lambda e: order.index(e[0]) if e[0] in order else len(order)))

    @staticmethod
    def _matches(globs: Iterable[str], name: str, point: Point) -> bool:
        return any(matches(glob, name, point) for glob in globs)

    def _has(self, label: str, task: str, point: Point) -> bool:
        """Whether an algorithm entry has a task, by itself and in the preset."""
        of_preset, _ = self._of_preset(label)
        curriculum = self.entries[label].curriculum
        if curriculum is not None and task not in curriculum[1:]:
            return False
        wanted = (self.entries[label].tasks, of_preset.tasks)
        return kept(point, of_preset.grid) and all(
            globs is None or self._matches(globs, task, point) for globs in wanted
        )

    def _in_preset(self, section: str, name: str) -> bool:
        point = self.loaded.points[section][name]
        globs = self.preset.tasks if section == "tasks" else self.preset.algorithms
        if section == "algorithms" and not kept(point, self._of_preset(name)[0].grid):
            return False
        return kept(point, self.preset.grid) and (globs is None or self._matches(globs, name, point))

    def _of_preset(self, label: str) -> tuple[PresetEntry, Location]:
        """What the preset says of an algorithm entry, and where."""
        place: Location = ("presets", self.selection.preset, "algorithms")
        point = self.loaded.points["algorithms"].get(label, Point(label))
        for glob, entry in (self.preset.algorithms or {}).items():
            if matches(glob, label, point):
                return entry, (*place, glob)
        return PresetEntry(), place

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
            written = self._beside(layers.model, task.parameters)
            layers.add(written, self._origin("task", "tasks", name, "parameters"))
            self._override(layers, "task")

        return task_environment(task.environment, self.loaded.document, location, parameters, self._backend())

    def _backend(self) -> str | None:
        """The implementation that suite or command line want, where they want one."""
        wanted = self.suite.backend
        self.fields["task"].add("backend")
        for override in self.selection.overrides:
            if (override.target, override.field) == ("task", "backend"):
                if not isinstance(override.value, str):
                    raise UsageError(
                        f"{override.text}: a backend is a name.", "For instance --set task.backend=sc2."
                    )
                self.used.add(override.text)
                wanted = override.value
        return wanted

    def _beside(self, model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
        """The values with files (fields with `json_schema_extra={"path": True}`) taken from beside the suite file."""
        given = dict(values)
        for field, info in model.model_fields.items():
            extra = info.json_schema_extra
            if isinstance(extra, dict) and extra.get("path") and isinstance(given.get(field), str):
                given[field] = str(self.loaded.found.path.resolve().parent / given[field])
        return given

    def _protocol(self, name: str, task: Task) -> Resolved:
        layers = Layers(Protocol, "the protocol", "marlbench")
        written = self.loaded.document.value["protocol"]
        layers.add(written, self._origin("suite", "protocol"))
        layers.add(task.protocol, self._origin("task", "tasks", name, "protocol"))
        layers.add(self.preset.protocol, self._origin("preset", "presets", self.selection.preset, "protocol"))
        self._override(layers, "protocol", required="protocol")
        return layers.resolve()

    def _method(
        self, label: str, entry: AlgorithmEntry, task_name: str, task: Task
    ) -> tuple[Method, Resolved]:
        location = ("algorithms", label, "algorithm")
        found = method(entry.algorithm or label, self.loaded.document, location)
        layers = Layers(found.Hyperparameters, f"the algorithm '{found.name}'", found.target)
        if entry.settings is not None:
            self._add_settings(layers, found, entry.settings, ("algorithms", label, "settings"))
        layers.add(entry.hyperparameters, self._origin("suite", "algorithms", label, "hyperparameters"))
        if label in task.algorithms:
            layers.add(
                task.algorithms[label].hyperparameters,
                self._origin("task", "tasks", task_name, "algorithms", label, "hyperparameters"),
            )
        self._override(layers, "algorithm", label, required=label)
        return found, layers.resolve()

    def _add_settings(self, layers: Layers, found: Method, name: str, location: Location) -> None:
        document = self.loaded.document
        if name not in found.settings:
            hint = did_you_mean(name, found.settings) if found.settings else "It has none."
            raise document.error(location, f"'{found.name}' has no settings called '{name}'.", hint)
        where = f"{document.where(location)}: {name}, {found.settings[name].source}"
        layers.add(found.settings[name].hyperparameters, lambda _: Origin("settings", where))

    def _group(
        self,
        name: str,
        task: Task,
        environment: TaskEnvironment,
        protocol: Resolved,
        label: str,
        entry: AlgorithmEntry,
        followers: Followers = (),
        seeds: tuple[int, ...] | None = None,
    ) -> CellGroup:
        """The cells of a task and a label.

        Args:
            followers: (task, label) of the cells that start from these, the nearest last.
            seeds: those of the followers; None for what selection and suite say.
        """
        found, hyperparameters = self._method(label, entry, name, task)
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
        seeds = seeds or self._seeds(label, entry, origins)
        first = Cell(
            suite=self.suite.name,
            task=name,
            task_revision=task.revision,
            environment=environment.written,
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
            standing={
                f"{prefix}.{key}": value
                for prefix, resolved in (
                    ("parameters", environment.parameters),
                    ("hyperparameters", hyperparameters),
                )
                for key, value in resolved.standing.items()
            },
        )
        initial, layers = self._initial(name, label, entry, (*followers, (name, label)), seeds)
        if initial is None:
            return CellGroup(self.loaded, task, first.with_seeds(seeds), origins)
        cells = tuple(first.starting_from(other, layers) for other in initial.cells)
        return CellGroup(self.loaded, task, cells, origins, initial)

    def _initial(
        self, name: str, label: str, entry: AlgorithmEntry, followers: Followers, seeds: tuple[int, ...]
    ) -> tuple[CellGroup | None, list[str]]:
        """The cells that those of a task and a label start from, and which layers they take over."""
        place: Location = ("algorithms", label, "init_from")
        start = entry.init_from
        if entry.curriculum is not None:
            place = ("algorithms", label, "curriculum")
            stage = entry.curriculum.index(name)
            start = InitFrom(task=entry.curriculum[stage - 1]) if stage else None
        if start is None:
            return None, []
        document, tasks, entries = self.loaded.document, self.suite.tasks, self.suite.algorithms
        other = start.algorithm or label
        if start.task not in tasks:
            raise document.error(place, f"there is no task '{start.task}'.", did_you_mean(start.task, tasks))
        if other not in entries:
            raise document.error(place, f"there is no algorithm '{other}'.", did_you_mean(other, entries))
        if (start.task, other) in followers:
            raise document.error(
                place,
                f"'{other}' on the task '{start.task}' would start from itself.",
                "Name another task or another entry; `tasks` restricts an entry to some tasks.",
            )
        task = self.suite.tasks[start.task]
        environment, protocol = self._environment(start.task, task), self._protocol(start.task, task)
        group = self._group(start.task, task, environment, protocol, other, entries[other], followers, seeds)
        return group, start.layers

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
        of_preset, place = self._of_preset(label)
        places: list[tuple[Any, Level, Location]] = [
            (getattr(self.suite, key), "suite", (key,)),
            (getattr(task, key), "task", ("tasks", task_name, key)),
            (getattr(entry, key), "suite", ("algorithms", label, key)),
            (getattr(self.preset, key), "preset", ("presets", self.selection.preset, key)),
            (getattr(of_preset, key), "preset", (*place, key)),
        ]
        value, level, location = next(place for place in reversed(places) if place[0] is not None)
        origins[key] = Origin(level, self.loaded.document.where(location))
        if key == "steps" and self.selection.steps is not None:
            value = self.selection.steps
            origins[key] = Origin("command line", f"--steps {value}")
        assert isinstance(value, int)
        return value

    def _seeds(self, label: str, entry: AlgorithmEntry, origins: dict[str, Origin]) -> tuple[int, ...]:
        seeds = self._chosen_seeds(label, entry, origins)
        if entry.tuning is not None and not self.selection.tuning:
            place: Location = ("algorithms", label, "tuning", "seeds")
            used = set(seeds_of(entry.tuning.seeds, self.loaded.document, place))
            clash = [seed for seed in seeds if seed in used or seed >= TUNING_SEED]
            if clash:
                raise ConfigurationError(
                    f"{origins['seeds'].where}: the settings of '{label}' were chosen on the seeds "
                    f"{format_seeds(sorted(used))}, so that they cannot be compared on the seed {clash[0]}.",
                    f"Compare on seeds below {TUNING_SEED} that were not used for that.",
                )
        return seeds

    def _chosen_seeds(self, label: str, entry: AlgorithmEntry, origins: dict[str, Origin]) -> tuple[int, ...]:
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
    ) -> list[tuple[int | str | list[int] | None, Level, Location]]:
        of_preset, place = self._of_preset(label)
        return [
            (of_preset.seeds, "preset", (*place, "seeds")),
            (self.preset.seeds, "preset", ("presets", self.selection.preset, "seeds")),
            (entry.seeds, "suite", ("algorithms", label, "seeds")),
            (self.suite.seeds, "suite", ("seeds",)),
        ]


def _command_line(text: str) -> Callable[[str], Origin]:
    return lambda _: Origin("command line", text)
