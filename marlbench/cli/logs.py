"""`marlbench logs`: what became of a cell or a job, and the end of its log."""

from __future__ import annotations

import contextlib
import datetime
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marlbench.cli.options import Results

if TYPE_CHECKING:
    from marlbench.store.store import Store

_POLL_SECONDS = 0.5

Subject = Annotated[
    str,
    typer.Argument(
        metavar="CELL|JOB",
        help="SUITE/TASK/LABEL/s3, LABEL/TASK/s3, or an id of a cell or a job, or the beginning of one.",
        show_default=False,
    ),
]


def command(
    subject: Subject,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines of the log's end.")] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on while the job runs; end with Ctrl-C.")
    ] = False,
    results: Results = None,
) -> None:
    """Show the attempts at a cell or a job and the end of the job's log."""
    from marlbench.cli.console import data
    from marlbench.store.store import Store

    store = Store.open(Store.locate(results))
    title, cells, job_id = _find(store, subject)
    console = data()
    console.print(title, style="bold", markup=False, soft_wrap=True)
    path = store.log_path(job_id)
    for line in (*_history(store, cells), f"log: {path}"):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    position, tail = _tail(store, job_id, path, lines)
    for line in tail:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(store, job_id, path, position)


def _find(store: Store, subject: str) -> tuple[str, list[str], str]:
    """What is meant: its title, its cells and its job."""
    from marlbench.errors import UsageError
    from marlbench.store import naming

    if naming.parse(subject) is not None:
        return _cell(store, naming.find(store, subject).id)
    jobs = [job for job in store.jobs() if job.id.startswith(subject)]
    cells = _cells_by_prefix(store, subject)
    if len(jobs) + len(cells) > 1:
        found = [f"cell {cell[:16]}" for cell in cells] + [f"job {job.id}" for job in jobs]
        raise UsageError(
            f"{len(found)} ids begin with '{subject}': {', '.join(found[:4])}.", "Write more digits."
        )
    if cells:
        return _cell(store, cells[0])
    if not jobs:
        raise UsageError(
            f"no cell or job of {store.root} has an id that begins with '{subject}'.",
            "`marlbench status` lists the cells.",
        )
    job = jobs[0]
    from marlbench.cli import words

    members = [store.cell(cell).cell for cell in job.cells]
    return f"job {job.id}: {words.names(members)}", list(job.cells), job.id


def _cells_by_prefix(store: Store, prefix: str) -> list[str]:
    return [entry.id for entry in store.cells() if entry.id.startswith(prefix)]


def _cell(store: Store, cell_id: str) -> tuple[str, list[str], str]:
    from marlbench.cli import words

    entry = store.cell(cell_id)
    state = store.states([cell_id])[cell_id]
    title = f"{words.name(entry.cell)} ({cell_id[:12]}, job {entry.job}): {state.state}: {state.detail}"
    return title, [cell_id], entry.job


def _history(store: Store, cells: list[str]) -> list[str]:
    """One line for each attempt; those of a job's members share their numbers."""
    by_number: dict[int, dict[str, Any]] = {}
    for cell in cells:
        for record in store.attempts(cell):
            by_number.setdefault(int(record.get("attempt", 0)), record)
    return [_attempt(number, by_number[number]) for number in sorted(by_number)] or ["not started yet"]


def _attempt(number: int, record: dict[str, Any]) -> str:
    outcome = record.get("outcome") or "no end recorded"
    failure, reason = record.get("failure"), record.get("reason")
    because = ": ".join(str(part) for part in (failure, reason) if part)
    where = f"on {record.get('host')} ({record.get('device')}, process {record.get('pid')})"
    return (
        f"attempt {number}: {_time(record.get('started_ms'))} to {_time(record.get('ended_ms'))} {where}: "
        f"{outcome}{f', {because}' if because else ''}"
    )


def _time(milliseconds: object) -> str:
    if not isinstance(milliseconds, int):
        return "?"
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _tail(store: Store, job_id: str, path: Path, lines: int) -> tuple[int, list[str]]:
    """The last lines, and the size of the log whose last lines they are."""
    while True:
        before = path.stat().st_size if path.exists() else 0
        tail = store.log_tail(job_id, lines)
        after = path.stat().st_size if path.exists() else 0
        if after == before:
            return before, tail


def _follow(store: Store, job_id: str, path: Path, position: int) -> None:
    """Print what is added to the log until the job no longer runs."""
    while True:
        # Asked before reading: what a job wrote last is on disk before its lock is free.
        running = store.running(job_id)
        try:
            with path.open("rb") as stream:
                stream.seek(position)
                added = stream.read()
        except FileNotFoundError:
            added = b""
        if added:
            position += len(added)
            sys.stdout.write(added.decode(errors="replace"))
            sys.stdout.flush()
        if not running:
            return
        time.sleep(_POLL_SECONDS)
