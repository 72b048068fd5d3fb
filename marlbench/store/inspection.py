"""Looking at a store without changing it: states, what a checkpoint covers, progress, ends of logs."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marlbench.store import attempts, durable, journal, locks, validity
from marlbench.store.index import Index, Speed, Verdict
from marlbench.store.states import CellState, Damaged, Failure, State
from marlbench.store.summary import Summary, summarise

# A file changed again within the clock's granularity can look unchanged, so a verdict on younger files is not
# kept.
SETTLED_NS = 1_000_000_000


def inspect(
    root: Path, cell_ids: Sequence[str], index: Index, summaries: bool = False
) -> tuple[dict[str, CellState], dict[str, Summary]]:
    """The state of each cell and, where asked for, the summary of each that is done; see `Store.states`."""
    known = index.verdicts(cell_ids, summaries)
    locked: dict[str, bool] = {}
    found: dict[str, CellState] = {}
    summed: dict[str, Summary] = {}
    fresh: list[tuple[str, Verdict]] = []
    now = time.time_ns()
    folder = root / "cells"
    for cell_id in cell_ids:
        # Strings, because making ten thousand Paths takes longer than all the rest.
        directory = f"{folder}/{cell_id}"
        result, newest = signature_of(f"{directory}/{validity.NAME}")
        if not result:
            found[cell_id] = _unfinished(root, Path(directory), locked)
            continue
        record, newer = signature_of(f"{directory}/{journal.NAME}")
        signature = f"{result} {record}"
        verdict = known.get(cell_id)
        lacks = (
            summaries and verdict is not None and verdict.state.state is State.DONE and not verdict.summary
        )
        if verdict is None or verdict.signature != signature or lacks:
            verdict = _examine(Path(directory), signature)
            if max(newest, newer) < now - SETTLED_NS:
                fresh.append((cell_id, verdict))
        state = verdict.state
        if state.state is State.DAMAGED:
            state = _damaged(root, Path(directory), state.detail, locked)
        elif verdict.summary is not None:
            summed[cell_id] = verdict.summary
        found[cell_id] = state
    index.keep(fresh)
    return found, summed


def covered(directory: Path) -> int:
    """Bytes of an unfinished cell's journal that its job's last durable checkpoint covers."""
    return min(_covered(directory), _size(directory / journal.NAME))


def read_progress(job: Path) -> dict[str, Any] | None:
    """progress.json of a job; None where it is missing or a loss of power emptied it."""
    try:
        return durable.read(job / "progress.json")
    except ValueError:
        return None


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a text file; none where it is missing."""
    if lines <= 0:
        return []
    try:
        with path.open("rb") as stream:
            start = stream.seek(0, os.SEEK_END)
            content = b""
            while start > 0 and content.count(b"\n") <= lines:
                step = min(start, 1 << 16)
                start = stream.seek(start - step)
                content = stream.read(step) + content
    except OSError:
        return []
    return content.decode(errors="replace").splitlines()[-lines:]


def signature_of(path: str) -> tuple[str, int]:
    """What tells a file from what it was before, and when it was changed last; "" and 0 where there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return "", 0
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ino}", stat.st_mtime_ns


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _examine(directory: Path, signature: str) -> Verdict:
    try:
        result = validity.verify(directory)
    except Damaged as damage:
        return Verdict(signature, CellState(State.DAMAGED, damage.reason))
    identity, outcome, execution = result["identity"], result["outcome"], result["execution"]
    finished = execution.get("finished_ms")
    when = f", {_date(finished)}" if isinstance(finished, int) else ""
    count = len(outcome["evaluations"])
    detail = f"{outcome['status']} at step {outcome.get('steps')} with {count} evaluations{when}"
    job, number = execution.get("job"), execution.get("attempts")
    state = CellState(
        State.DONE,
        detail,
        outcome["status"],
        job=job if isinstance(job, str) else None,
        attempts=number if isinstance(number, int) else 0,
    )
    summary = summarise(result)
    pace = execution.get("steps_per_second")
    if not isinstance(pace, int | float) or not pace > 0:
        return Verdict(signature, state, summary=summary)
    suite, task, backend, algorithm = (
        str(identity[key]) for key in ("suite", "task", "backend", "algorithm")
    )
    device = str(execution.get("device")).partition(":")[0]
    return Verdict(signature, state, Speed(suite, task, backend, algorithm, device, float(pace)), summary)


def _unfinished(root: Path, directory: Path, locked: dict[str, bool]) -> CellState:
    job = _job_of(directory)
    if job is None:
        if (directory / "cell.json").exists():
            return CellState(State.DAMAGED, "cell.json cannot be read")
        return CellState(State.PLANNED, "not started yet")
    records = attempts.read(directory)
    count = len(records)
    if _locked(root, job, locked):
        return CellState(State.RUNNING, _since(records), job=job, attempts=count)
    if not records:
        return CellState(State.PLANNED, f"claimed by job {job}, not started yet", job=job)
    last = records[-1]
    outcome, failure, reason = last.get("outcome"), last.get("failure"), last.get("reason")
    if outcome is None:
        outcome, failure, reason = attempts.presume(last)
    if outcome in validity.OUTCOMES:
        detail = f"{validity.NAME} is gone, although attempt {last.get('attempt')} finished"
        return CellState(State.DAMAGED, detail, job=job, attempts=count)
    try:
        _check_journal(directory)
    except Damaged as damage:
        return CellState(State.DAMAGED, damage.reason, job=job, attempts=count)
    if outcome == "failed" and failure in list(Failure):
        detail = f"{failure}: {reason or 'no reason was recorded'}"
        return CellState(State.FAILED, detail, failure=Failure(failure), job=job, attempts=count)
    return CellState(State.INTERRUPTED, reason or "interrupted", job=job, attempts=count)


def _damaged(root: Path, directory: Path, reason: str, locked: dict[str, bool]) -> CellState:
    job, records = _job_of(directory), attempts.read(directory)
    if job is not None and _locked(root, job, locked):
        detail = f"{_since(records)}, because {reason}"
        return CellState(State.RUNNING, detail, job=job, attempts=len(records))
    return CellState(State.DAMAGED, reason, job=job, attempts=len(records))


def _job_of(directory: Path) -> str | None:
    try:
        document = durable.read(directory / "cell.json")
    except ValueError:
        return None
    job = document.get("job") if document is not None else None
    return job if isinstance(job, str) else None


def _locked(root: Path, job: str, locked: dict[str, bool]) -> bool:
    if job not in locked:
        locked[job] = locks.is_held(root / "jobs" / job / "lock")
    return locked[job]


def _since(records: list[dict[str, Any]]) -> str:
    if not records or records[-1].get("outcome") is not None:
        return "starting"
    last = records[-1]
    started = last.get("started_ms")
    when = f" since {_date(started)}" if isinstance(started, int) else ""
    return f"attempt {last.get('attempt')}{when}, process {last.get('pid')} on {last.get('host')}"


def _covered(directory: Path) -> int:
    job = _job_of(directory)
    progress = read_progress(directory.parent.parent / "jobs" / job) if job is not None else None
    if progress is None:
        return 0
    # Progress may be older than the journal; then it speaks of a journal that is no more.
    header = journal.read_header(directory / journal.NAME)
    generations, bytes_covered = progress.get("generations"), progress.get("covered")
    if header is None or not isinstance(generations, dict) or not isinstance(bytes_covered, dict):
        return 0
    if generations.get(directory.name) != header["generation"]:
        return 0
    value = bytes_covered.get(directory.name)
    return value if isinstance(value, int) else 0


def _check_journal(directory: Path) -> None:
    """Raise Damaged where the part of the journal that must last did not; the rest is cut off anyway."""
    path, limit = directory / journal.NAME, _covered(directory)
    if _size(path) < limit:
        raise Damaged(f"{path.name} has {_size(path)} bytes, its checkpoint covers {limit}")
    for _ in journal.read_lines(path, limit):
        pass


def _date(milliseconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return moment.isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")
