"""Suites and a selection resolve to a matrix of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from marlbench import plugins
from marlbench.catalog.cell import Cell
from marlbench.catalog.grid import matching
from marlbench.catalog.identity import sha256
from marlbench.catalog.resolution import CellGroup, Selection, SuiteResolver
from marlbench.catalog.selection import Override
from marlbench.catalog.suite import LoadedSuite, load_suite
from marlbench.catalog.types import FULL
from marlbench.errors import ConfigurationError, UsageError, did_you_mean


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
    def stages(self) -> tuple[tuple[Cell, ...], ...]:
        """The cells that others start from: those that start from none themselves, then those that start from these,
        and so on. Some of them may be among `cells`."""
        stages: list[dict[str, Cell]] = []
        for group in self.groups:
            chain: list[CellGroup] = []
            before = group.initial
            while before is not None:
                chain.insert(0, before)
                before = before.initial
            stages += [{} for _ in chain[len(stages) :]]
            for stage, one in zip(stages, chain, strict=False):
                stage.update((cell.id, cell) for cell in one.cells)
        return tuple(tuple(stage.values()) for stage in stages)

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits; the same for the same cells, whatever options selected them."""
        return sha256("\n".join(sorted(cell.id for cell in self.cells)))[:16]


@dataclass(frozen=True)
class StoredCells(Matrix):
    """Cells that a store holds, whatever suite file they came from."""

    stored: tuple[Cell, ...] = ()

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        return self.stored


def of_cells(cells: Sequence[Cell]) -> Matrix:
    """A matrix of these cells and no suites."""
    return StoredCells((), (), stored=tuple(cells))


def resolve(
    suites: Sequence[str],
    *,
    tasks: Sequence[str] = (),
    algorithms: Sequence[str] = (),
    seeds: tuple[int, ...] | None = None,
    steps: int | None = None,
    preset: str | None = None,
    overrides: Sequence[Override] = (),
    tuning: bool = False,
) -> Matrix:
    """The matrix of suites, given by name or path, and a selection.

    Args:
        tasks: globs; a task is selected when one matches.
        algorithms: labels of the suites. The name of an algorithm plug-in that a suite has no entry for is
            added to it with its default hyperparameters.
        seeds, steps: instead of what the suites say.
        preset: name of a preset that every suite has; None or "full" for none.
        overrides: `--set` options; those for one label win over those for every algorithm.
        tuning: to choose hyperparameters, not to compare: any seed may be used.

    Raises:
        UsageError: the selection names what does not exist, or selects nothing.
        ConfigurationError: a suite, a plug-in or a value that cannot be used.
    """
    loaded = [load_suite(name) for name in dict.fromkeys(suites)]
    _refuse_namesakes(loaded)
    selection = Selection(
        tuple(tasks), tuple(algorithms), seeds, steps, preset or FULL, tuple(overrides), tuning
    )
    _check_selection(loaded, selection)
    used: set[str] = set()
    resolvers = [SuiteResolver(suite, selection, used) for suite in loaded]
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
    tasks, entries = (
        {name: point for suite in loaded for name, point in suite.points[section].items()}
        for section in ("tasks", "algorithms")
    )
    for glob in selection.tasks:
        if not matching(glob, tasks):
            raise UsageError(f"--task {glob}: no task matches.", did_you_mean(glob, tasks))
    labels = {*entries, *(point.entry for point in entries.values()), *plugins.plugins("algorithms")}
    for label in selection.algorithms:
        if label not in labels and not matching(label, entries):
            raise UsageError(f"--algorithm {label}: there is no such algorithm.", did_you_mean(label, labels))
    for suite in loaded:
        if selection.preset != FULL and selection.preset not in suite.suite.presets:
            raise UsageError(
                f"--preset {selection.preset}: the suite '{suite.name}' has no such preset.",
                did_you_mean(selection.preset, [FULL, *suite.suite.presets]),
            )


def _refuse_override(override: Override, resolvers: Sequence[SuiteResolver]) -> None:
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
