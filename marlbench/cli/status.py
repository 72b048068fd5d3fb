"""`marlbench status`: what a store holds, and what runs in it now."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marlbench.cli.command_lines import again
from marlbench.cli.options import Json, Results

if TYPE_CHECKING:
    from rich.console import Console

    from marlbench.engines.queues import Standing
    from marlbench.store.states import CellEntry, CellState, Job
    from marlbench.store.store import Store

SCHEMA = 1
# Cells in trouble that are named one by one.
_NAMED = 20
_LIVE_SECONDS = 2.0

Suites = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SUITE...]", help="Only cells of these suites.", show_default=False),
]


Live = Annotated[
    bool, typer.Option("--live", help="Show it anew every two seconds until every cell is done, or Ctrl-C.")
]


def command(
    suites: Suites = None, live: Live = False, results: Results = None, as_json: Json = False
) -> None:
    """Count the cells of the store by state, and show the jobs that run now and those in queues."""
    from marlbench.cli.console import data, print_json
    from marlbench.errors import UsageError
    from marlbench.store.store import Store

    if live and as_json:
        raise UsageError("--live is for people, --json for programs.", "Give one of them.")
    store = Store.open(Store.locate(results))
    if live:
        _follow(store, suites or ())
        return
    found = _look(store, suites or ())
    if as_json:
        print_json(_document(store, found))
    else:
        _print(data(), store, found)


@dataclass(frozen=True)
class Found:
    """What a look at a store found.

    Attributes:
        active: the jobs that run, with those of their cells that are shown.
        queued: where jobs stand in queues, by id.
        notes: queues that could not be asked.
    """

    entries: list[CellEntry]
    states: dict[str, CellState]
    active: list[tuple[Job, list[CellEntry]]]
    queued: Mapping[str, Standing]
    notes: Sequence[str]


def _look(store: Store, suites: Sequence[str]) -> Found:
    entries = _entries(store, suites)
    states = _reconciled(store, [entry.id for entry in entries])
    active = _active(store, entries, states)
    queued, notes = _queued(store, entries, states)
    return Found(entries, states, active, queued, notes)


def _queued(
    store: Store, entries: Iterable[CellEntry], states: Mapping[str, CellState]
) -> tuple[Mapping[str, Standing], Sequence[str]]:
    from marlbench.store import tickets
    from marlbench.store.states import State

    if not (store.root / tickets.FOLDER).is_dir():
        return {}, ()
    from marlbench.cli.queued import standings

    open_ = {entry.job for entry in entries if states[entry.id].state is not State.DONE}
    return standings(store.jobs(sorted(open_)))


def _follow(store: Store, suites: Sequence[str]) -> None:
    """Draw it again and again on the terminal."""
    from rich.live import Live as Drawing
    from rich.text import Text

    from marlbench.cli.console import data
    from marlbench.store.states import State

    console = data()
    with contextlib.suppress(KeyboardInterrupt), Drawing(console=console, auto_refresh=False) as drawing:
        while True:
            found = _look(store, suites)
            with console.capture() as text:
                _print(console, store, found)
            drawing.update(Text.from_ansi(text.get()), refresh=True)
            if all(state.state is State.DONE for state in found.states.values()):
                return
            time.sleep(_LIVE_SECONDS)


def _entries(store: Store, suites: Sequence[str]) -> list[CellEntry]:
    from marlbench.errors import UsageError, did_you_mean

    entries = list(store.cells())
    known = {entry.cell.suite for entry in entries}
    for suite in suites:
        if suite not in known:
            raise UsageError(f"{store.root} has no cell of a suite '{suite}'.", did_you_mean(suite, known))
    return [entry for entry in entries if not suites or entry.cell.suite in suites]


def _reconciled(store: Store, cell_ids: Sequence[str]) -> dict[str, CellState]:
    """The states, once attempts whose process is gone were given their end."""
    from marlbench.errors import StoreError
    from marlbench.store.states import State

    states = store.states(cell_ids)
    stale = {state.job for state in states.values() if state.state in (State.INTERRUPTED, State.FAILED)}
    for job in stale:
        # A store that cannot be written still shows what it holds.
        with contextlib.suppress(StoreError):
            if job is not None:
                store.reconcile(job)
    return store.states(cell_ids) if stale else states


def _active(
    store: Store, entries: Iterable[CellEntry], states: Mapping[str, CellState]
) -> list[tuple[Job, list[CellEntry]]]:
    from marlbench.errors import StoreError
    from marlbench.store.states import State

    by_job: dict[str, list[CellEntry]] = {}
    for entry in entries:
        if states[entry.id].state is State.RUNNING:
            by_job.setdefault(entry.job, []).append(entry)
    found = []
    for job_id, members in by_job.items():
        with contextlib.suppress(StoreError):
            found.append((store.job(job_id), members))
    return found


def _in_trouble(entries: Iterable[CellEntry], states: Mapping[str, CellState]) -> list[CellEntry]:
    from marlbench.store.states import State

    return [entry for entry in entries if states[entry.id].state in (State.FAILED, State.DAMAGED)]


def _document(store: Store, found: Found) -> dict[str, Any]:
    from marlbench.cli import words

    entries, states, active = found.entries, found.states, found.active
    return {
        "schema": SCHEMA,
        "store": str(store.root),
        "cells": len(entries),
        "states": _count(states.values()),
        "rows": [
            {
                "suite": suite,
                "task": task,
                "algorithm": label,
                "states": _count(states[one.id] for one in group),
            }
            for (suite, task, label), group in _grouped(entries).items()
        ],
        "active": [
            {
                "job": job.id,
                "cells": list(job.cells),
                "task": members[0].cell.task,
                "algorithm": members[0].cell.label,
                "seeds": sorted(entry.cell.seed for entry in members),
                "progress": _progress(store, job),
            }
            for job, members in active
        ],
        "queued": [{"job": job, "standing": standing} for job, standing in found.queued.items()],
        "notes": list(found.notes),
        "trouble": [
            {
                "cell": entry.id,
                "name": words.name(entry.cell),
                "job": entry.job,
                "state": states[entry.id].state,
                "failure": states[entry.id].failure,
                "detail": states[entry.id].detail,
                "attempts": states[entry.id].attempts,
            }
            for entry in _in_trouble(entries, states)
        ],
    }


def _print(console: Console, store: Store, found: Found) -> None:
    from rich.table import Table
    from rich.text import Text

    from marlbench.cli import words
    from marlbench.store.states import State

    entries, states, active = found.entries, found.states, found.active
    counts = _count(states.values())
    told = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    console.print(Text(f"{store.root}: {words.plural(len(entries), 'cell')}{': ' if told else ''}{told}"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown = [state for state in State if state in counts]
    for column in ("suite", "task", "algorithm", *shown):
        table.add_column(column, justify="right" if column in shown else "left")
    for (suite, task, label), group in _grouped(entries).items():
        cells = _count(states[entry.id] for entry in group)
        numbers = (f"{cells[state]:,}" if state in cells else "-" for state in shown)
        table.add_row(*(Text(text) for text in (suite, task, label, *numbers)))
    if entries:
        console.print(table)
    for job, members in active:
        console.print(Text(f"running: {words.names([entry.cell for entry in members])}, {_pace(store, job)}"))
    for standing, count in Counter(found.queued.values()).items():
        console.print(Text(f"in a queue, {standing}: {words.plural(count, 'job')}"))
    for note in found.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)
    trouble = _in_trouble(entries, states)
    for entry in trouble[:_NAMED]:
        state = states[entry.id]
        console.print(
            Text(f"{state.state}: {words.name(entry.cell)} ({entry.id[:12]}): {state.detail}"), soft_wrap=True
        )
    if len(trouble) > _NAMED:
        console.print(Text(f"and {len(trouble) - _NAMED} more cells in trouble; --json names all"))
    if trouble:
        console.print(Text(f"{again('logs', store.root, trouble[0].id[:12])} shows more of the first."))


def _pace(store: Store, job: Job) -> str:
    from marlbench.cli import words

    progress = _progress(store, job)
    if progress is None:
        return f"starting (job {job.id})"
    share = 100 * progress["steps"] / max(1, progress["total_steps"])
    speed = progress["steps_per_second"] * len(job.cells)
    last = progress["last"] or {}
    value = last.get("value")
    score = f"{last.get('metric')} {words.number(value)}" if isinstance(value, int | float) else ""
    silent = words.duration(max(0.0, time.time() - progress["time_ms"] / 1000))
    told = words.listed((f"{share:.0f} %", f"{speed:,.0f} steps/s" if speed else "", score))
    return f"{told} (job {job.id}, process {progress['pid']}, last heard of {silent} ago)"


def _progress(store: Store, job: Job) -> dict[str, Any] | None:
    """What the job last said of itself; None before that, and where it is not what a job writes."""
    progress = store.progress(job.id)
    if progress is None:
        return None
    numbers = ("pid", "attempt", "steps", "total_steps", "steps_per_second", "time_ms")
    if not all(isinstance(progress.get(key), int | float) for key in numbers):
        return None
    last = progress.get("last")
    return {key: progress[key] for key in numbers} | {"last": last if isinstance(last, dict) else None}


def _grouped(entries: Iterable[CellEntry]) -> dict[tuple[str, str, str], list[CellEntry]]:
    groups: dict[tuple[str, str, str], list[CellEntry]] = {}
    for entry in entries:
        groups.setdefault((entry.cell.suite, entry.cell.task, entry.cell.label), []).append(entry)
    return dict(sorted(groups.items()))


def _count(states: Iterable[CellState]) -> dict[str, int]:
    """How many cells are in each state that some cell is in."""
    from marlbench.store.states import State

    found = Counter(state.state for state in states)
    return {str(state): found[state] for state in State if found[state]}
