"""Cells by the names that people type: one grammar for every verb.

SUITE/TASK/LABEL/s3    one cell, as `explain` prints it
LABEL/TASK/s3          the same, as `run` and MLflow print it
SUITE/TASK/LABEL       all its seeds, where a verb takes several cells; LABEL/TASK likewise
1a2b3c                 an id, or the beginning of one
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from marlbench.catalog.cell import Cell
from marlbench.catalog.difference import differences
from marlbench.catalog.identity import canonical
from marlbench.catalog.matrix import Matrix, resolve
from marlbench.catalog.selection import Override, parse_seeds
from marlbench.errors import ConfigurationError, UsageError, did_you_mean
from marlbench.store.states import CellEntry, State
from marlbench.store.store import Store

FORMS = "Write SUITE/TASK/LABEL/s3, LABEL/TASK/s3, or an id or its beginning; `marlbench status` lists cells."
_SEED = re.compile(r"s?([0-9]+)")
_HEXADECIMAL = frozenset("0123456789abcdef")
# Candidates that a message about several names, and fields in which it tells them apart.
_SHOWN, _FIELDS = 4, 3


@dataclass(frozen=True)
class Run:
    """Options of the run whose planned cells are meant, where a name alone leaves it open."""

    steps: int | None = None
    preset: str | None = None
    overrides: tuple[Override, ...] = ()

    @property
    def given(self) -> bool:
        """Whether there is any option."""
        return self != ANY


ANY = Run()


@dataclass(frozen=True)
class Name:
    """A name taken apart; `suite` is None in LABEL/TASK/s3, `seed` where all seeds are meant."""

    text: str
    suite: str | None
    task: str
    label: str
    seed: int | None

    def fits(self, cell: Cell) -> bool:
        """Whether a cell is called so."""
        suite = self.suite
        if suite is not None and suite != cell.suite and Path(suite).stem != cell.suite:
            return False
        return (self.task, self.label) == (cell.task, cell.label) and self.seed in (None, cell.seed)


def name(cell: Cell) -> str:
    """`suite/task/label/s3`."""
    return f"{cell.suite}/{cell.task}/{cell.label}/s{cell.seed}"


def parse(text: str) -> Name | None:
    """The name in `text`; None where it is the beginning of an id.

    Raises:
        UsageError: it is neither.
    """
    if "/" not in text:
        if text and set(text) <= _HEXADECIMAL:
            return None
        raise UsageError(f"'{text}' is neither the id of a cell nor the name of one.", FORMS)
    rest, _, last = text.rpartition("/")
    seed = None
    if match := _SEED.fullmatch(last):
        seed, text_of_cell = int(match[1]), rest
    else:
        text_of_cell = text
    parts = text_of_cell.rsplit("/", 2)
    if not all(parts) or len(parts) == 1:
        raise UsageError(f"'{text}' is not the name of a cell.", FORMS)
    if len(parts) == 2:
        return Name(text, None, parts[1], parts[0], seed)
    return Name(text, parts[0], parts[1], parts[2], seed)


def require_seed(wanted: Name | None) -> None:
    """Raise UsageError where a name is that of all seeds of a label."""
    if wanted is not None and wanted.seed is None:
        raise UsageError(
            f"'{wanted.text}' is not the name of a cell: it names no seed.", f"For instance {wanted.text}/s0."
        )


def find(store: Store, text: str, run: Run = ANY) -> CellEntry:
    """The one cell of the store that is meant.

    Where several cells have a name (other steps, other settings), it means the one that its suite plans now.

    Raises:
        UsageError: no cell, or several, go by this name.
    """
    wanted = parse(text)
    require_seed(wanted)
    found = _named(store, text, wanted, run)
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} cells are called '{text}': {_told(found)}.", "Give the beginning of an id."
        )
    return found[0]


def find_all(store: Store, text: str, run: Run = ANY) -> list[CellEntry]:
    """The cells that are meant, by seed: one, or all seeds of SUITE/TASK/LABEL.

    Raises:
        UsageError: no cell goes by this name, or cells that differ in more than their seed.
    """
    wanted = parse(text)
    if wanted is None or wanted.seed is not None:
        return [find(store, text, run)]
    found = _named(store, text, wanted, run)
    groups = {entry.cell.group(): entry for entry in found}
    if len(groups) > 1:
        examples = list(groups.values())
        raise UsageError(
            f"'{text}' names cells of {len(groups)} kinds: {_told(examples)}.",
            "Name them one by one, by the beginnings of their ids.",
        )
    return sorted(found, key=lambda entry: entry.cell.seed)


def planned(wanted: Name, run: Run) -> Matrix:
    """The cells that a name with a suite means in its suite file now.

    Raises:
        UsageError: the suite has no such cell.
        ConfigurationError: there is no such suite, or it cannot be used.
    """
    assert wanted.suite is not None
    return resolve(
        [wanted.suite],
        tasks=[wanted.task],
        algorithms=[wanted.label],
        seeds=None if wanted.seed is None else parse_seeds(f"{wanted.seed}-{wanted.seed}"),
        steps=run.steps,
        preset=run.preset,
        overrides=run.overrides,
    )


def require_done(store: Store, entries: Iterable[CellEntry]) -> None:
    """Raise UsageError where one of the cells has no result."""
    entries = list(entries)
    states = store.states([entry.id for entry in entries])
    for entry in entries:
        state = states[entry.id]
        if state.state is not State.DONE:
            raise UsageError(
                f"{name(entry.cell)} ({entry.id[:12]}) is not done: {state.state}: {state.detail}.",
                f"`marlbench run {entry.cell.suite}` trains what is missing.",
            )


def _named(store: Store, text: str, wanted: Name | None, run: Run) -> list[CellEntry]:
    """The cells of the store by that name, reduced to those planned now where there is a choice; at least one."""
    if wanted is None:
        found = [entry for entry in store.cells() if entry.id.startswith(text)]
        if len(found) > 1:
            raise UsageError(
                f"{len(found)} cells have an id that begins with '{text}': {_told(found)}.",
                "Write more digits.",
            )
        if not found:
            raise UsageError(f"no cell of {store.root} has an id that begins with '{text}'.", FORMS)
        return found
    entries = list(store.cells())
    found = [entry for entry in entries if wanted.fits(entry.cell)]
    if not found:
        known = {name(entry.cell) for entry in entries}
        known |= {f"{entry.cell.label}/{entry.cell.task}/s{entry.cell.seed}" for entry in entries}
        if wanted.seed is None:
            known = {one.rpartition("/")[0] for one in known}
        near = did_you_mean(text, known)
        raise UsageError(
            f"{store.root} has no cell called '{text}'.", near if near.startswith("Did") else FORMS
        )
    several = len({entry.cell.group() for entry in found}) > 1
    if not (several or run.given):
        return found
    meant = _meant(wanted, found, run)
    if run.given and not meant:
        raise UsageError(
            f"{store.root} has no cell '{text}' with these options; it has {_told(found)}.",
            "Leave the options out, or give the beginning of an id.",
        )
    return meant or found


def _meant(wanted: Name, found: Sequence[CellEntry], run: Run) -> list[CellEntry]:
    suites = {entry.cell.suite for entry in found}
    if wanted.suite is None:
        if len(suites) > 1:
            return []
        wanted = Name(wanted.text, suites.pop(), wanted.task, wanted.label, wanted.seed)
    try:
        groups = {group.cell.group() for group in planned(wanted, run).groups}
    except (ConfigurationError, UsageError):
        if run.given:
            raise
        # The suite file may be gone or have changed; the stored cells are still there.
        return []
    return [entry for entry in found if entry.cell.group() in groups]


def _told(entries: Sequence[CellEntry]) -> str:
    """`1a2b3c (steps 2000), 3c4d5e (steps 4000)`: the cells and what tells them apart."""
    first, *rest = (entry.cell.identity() for entry in entries)
    fields = list(dict.fromkeys(one.field for other in rest for one in differences(first, other)))
    told = []
    for entry in entries[:_SHOWN]:
        shown = [f"{field} {_value(entry.cell.identity(), field)}" for field in fields[:_FIELDS]]
        told.append(f"{entry.id[:12]} ({', '.join(shown)})" if shown else entry.id[:12])
    more = len(entries) - _SHOWN
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _value(identity: dict[str, object], field: str) -> str:
    value: object = identity
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return "none"
    text = value if isinstance(value, str) else canonical(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
