"""Where the results of a report come from: machines, versions, commits, commands, cells."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from marlbench.analysis.report.page import Head, Row, Table
from marlbench.catalog.identity import canonical
from marlbench.catalog.presentation import present
from marlbench.store.states import CellState, State

if TYPE_CHECKING:
    from marlbench.analysis.report.material import Material
    from marlbench.catalog.matrix import Matrix


class Executed(Protocol):
    """A finished cell of which is known how its result came about."""

    @property
    def execution(self) -> Mapping[str, Any]:
        """The `execution` of its result."""


_FIRST_PACKAGES = ("marlbench", "python", "torch", "numpy")


def hardware(found: Iterable[Executed]) -> Table:
    """On what the runs were trained, and how many on each."""
    counts: Counter[tuple[str, ...]] = Counter()
    for one in found:
        execution = one.execution
        name = execution.get("device_name") or ""
        words = (execution.get("device"), name, execution.get("threads"), execution.get("engine"))
        counts[tuple(str(word if word is not None else "") for word in words)] += 1
    heads = (Head("device", text=True), Head("model", text=True), Head("threads"), Head("engine", text=True))
    rows = tuple(Row((*words, str(count))) for words, count in _most_first(counts))
    return Table("Hardware", "", (*heads, Head("runs")), rows)


def versions(found: Iterable[Executed]) -> Table:
    """Packages and commits, and how many runs used each."""
    counts: dict[str, Counter[str]] = {}
    for one in found:
        of_run = dict(one.execution.get("versions") or {})
        if commit := one.execution.get("git_sha"):
            of_run["commit of marlbench"] = str(commit)
        for name, version in of_run.items():
            counts.setdefault(name, Counter())[str(version)] += 1
    first = [name for name in (*_FIRST_PACKAGES, "commit of marlbench") if name in counts]
    names = [*first, *sorted(counts.keys() - set(first))]
    rows = tuple(
        Row((name, version, str(count))) for name in names for version, count in _most_first(counts[name])
    )
    return Table("Versions", "", (Head("package"), Head("version", text=True), Head("runs")), rows)


def settings(matrix: Matrix) -> tuple[Table, ...]:
    """Protocol, tasks and hyperparameters as they resolved, each with where its value came from."""
    heads = (Head("name"), Head("value", text=True), Head("from", text=True), Head("only on", text=True))
    return tuple(
        Table(
            heading,
            "",
            heads,
            tuple(
                Row((line.name, _text(line.value), str(line.origin or ""), ", ".join(line.tasks)))
                for line in lines
            ),
        )
        for heading, lines in present(matrix, matrix.suites[0].name).items()
    )


def cells(matrix: Matrix, material: Mapping[str, Material], states: Mapping[str, CellState]) -> Table:
    """Every cell of the matrix: what became of it, and its id."""
    rows = []
    for cell in matrix.cells:
        state, one = states[cell.id], material.get(cell.id)
        told = (state.outcome or str(state.state)) if state.state is State.DONE else str(state.state)
        if state.failure is not None:
            told = f"{told} ({state.failure})"
        value = "" if one is None or one.run.value is None else f"{one.run.value:.6g}"
        rows.append(Row((f"{cell.label}/{cell.task}/s{cell.seed}", told, value, cell.id)))
    heads = (Head("cell"), Head("state", text=True), Head("value"), Head("id", text=True, code=True))
    return Table("Cells", "", heads, tuple(rows))


def commits(found: Iterable[Executed]) -> list[str]:
    """The commits that runs were made from, most runs first."""
    counts = Counter(str(sha) for one in found if (sha := one.execution.get("git_sha")))
    return [sha for sha, _ in _most_first(counts)]


@dataclass(frozen=True)
class Asked:
    """How a report was asked for, as a person types it.

    Attributes:
        suite: by name or path.
        options: those that select cells.
        against: published numbers to set beside, by name or file.
    """

    suite: str
    options: tuple[str, ...] = ()
    against: tuple[str, ...] = ()

    def line(self, verb: str) -> str:
        """The command with another verb on the same cells."""
        beside = [] if verb == "run" else [word for name in self.against for word in ("--against", name)]
        return shlex.join(["marlbench", verb, self.suite, *self.options, *beside])


def commands(asked: Asked, found: Iterable[Material]) -> tuple[tuple[str, str], ...]:
    """What to type to get the same results, to see their table and to write this page."""
    told = []
    found = list(found)
    if shas := commits(found):
        which = "this commit" if len(shas) == 1 else "several commits, most of them from this one"
        about = f"The runs were made from a working copy of marlbench at {which}"
        dirty = shas[0].endswith("-dirty")
        about += ", with changes that were not committed." if dirty else "."
        told.append((about, f"git checkout {shas[0].removesuffix('-dirty')}"))
    packages = _packages(found)
    if packages:
        told.append(("With torch and numpy as most runs had them:", f"pip install {packages}"))
    told.append(("Train what is missing; what is done is kept:", asked.line("run")))
    told.append(
        (
            "The same numbers as a table, and this page:",
            "\n".join((asked.line("compare"), asked.line("report"))),
        )
    )
    return tuple(told)


def _packages(found: Iterable[Material]) -> str:
    counts: dict[str, Counter[str]] = {}
    for one in found:
        for name, version in (one.execution.get("versions") or {}).items():
            counts.setdefault(name, Counter())[str(version).partition("+")[0]] += 1
    wanted = [name for name in ("torch", "numpy") if name in counts]
    return " ".join(f"{name}=={_most_first(counts[name])[0][0]}" for name in wanted)


def _most_first(counts: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value)
