"""The process behind `marlbench run-job`: lock, log, attempt, and what its end is called.

Order of what becomes durable, so that power may fail between any two steps:

1. attempts/<n>.json, before anything else of a cell is touched: no trace of work without an attempt.
2. A checkpoint (`JobTraining.checkpoint`): every journal is fsynced, then checkpoint.pt, which holds their
   lengths and hashes, replaces the old one; only then may replay overwrite what the old one needed, and only
   then does progress.json call those lengths covered.
3. A result (`JobTraining.finish`): a last checkpoint, then for each member policy.pt and result.json, which
   proves the journal; then the end of the attempt. A crash in between leaves a cell without a result, whose job
   goes on from its last checkpoint and ends the same way.
4. When every member is done, checkpoint.pt and replay/ are kept as the final state, or go (`kept.retire`). What a
   crash leaves undone, the next claim of these cells does.
5. Pictures (`store.pictures`), which nothing depends on: a crash from here on leaves cells without them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from marlbench.errors import MarlbenchError, StoreError
from marlbench.store import attempts, cancelling, claims, durable, kept, locks, validity
from marlbench.store.failures import LOCKED, OK, classify
from marlbench.store.job_training import JobTraining, Settings
from marlbench.store.needs import MakeTrainer
from marlbench.store.process import TERMINATED, Guard, redirect
from marlbench.store.states import CellEntry, Damaged
from marlbench.store.store import Store
from marlbench.store.uris import cut

Tell = Callable[[str], None]


def main(root: Path, job_id: str, make_trainer: MakeTrainer, settings: Settings) -> int:
    """Run a job as the business of this whole process; returns its exit code.

    0: all members are done; 75: another process holds the job's lock; 143 and 130: stopped by SIGTERM (or
    because the scheduler is gone) and SIGINT; 10: an exception; 11: out of memory; 12: the disk is full or
    not writable.
    """
    guard = Guard()
    guard.install()
    tell = _teller(sys.stderr)
    try:
        store = Store.open(root)
        store.require_writable()
        members = claims.read_members(store.job_directory(job_id))
        if members is None:
            raise StoreError(f"there is no job {job_id} in {store.root}, or its job.json is damaged.")
        # Held until the process ends, whatever ends it. The patience is for those who only look.
        lock = locks.Lock.take(store.job_directory(job_id) / "lock", patience=1.0)
        if lock is None:
            tell(f"job {job_id} is run by another process")
            return LOCKED
        if store.cancelled(job_id):
            tell(cancelling.REASON)
            return TERMINATED
        original = redirect(store.log_path(job_id))
        tell = _teller(original, sys.stderr)
        return run(store, job_id, list(members), make_trainer, settings, guard, tell)
    except Exception as error:
        code, _, reason = classify(error)
        if not isinstance(error, MarlbenchError):
            sys.stderr.write(cut(traceback.format_exc()))
        tell(f"error: {reason}")
        return code
    finally:
        guard.close()


def run(
    store: Store,
    job_id: str,
    members: list[str],
    make_trainer: MakeTrainer,
    settings: Settings,
    guard: Guard,
    tell: Tell,
) -> int:
    """Train what is not done of a job whose lock is held; returns an exit code as `main` does.

    Raises:
        StoreError: nothing could be started.
    """
    directory = store.job_directory(job_id)
    entries = [_member(store, cell_id, job_id) for cell_id in members]
    damages = {index: reason for index, entry in enumerate(entries) if (reason := _not_done(entry.directory))}
    attempts.reconcile(entry.directory for entry in entries)
    if not damages:
        kept.retire(directory, settings.keep_states)
        return OK
    live = [entries[index].directory for index in damages]
    number = attempts.next_number(entry.directory for entry in entries)
    attempts.begin(live, number, job_id, settings.engine, settings.device)
    started = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    sys.stderr.write(f"--- attempt {number}: {started}, process {os.getpid()} on {socket.gethostname()}\n")

    def last_words() -> None:
        reason = f"{guard.reason}, but reached no step boundary in time: killed"
        attempts.end(live, number, "interrupted", None, reason)

    guard.last_words = last_words
    training = None
    try:
        for index, reason in damages.items():
            path = entries[index].directory / validity.NAME
            if path.exists():
                aside = durable.set_aside(path)
                tell(f"cell {members[index]} is damaged and runs again: {reason}; see {aside}")
        cells = [entry.cell for entry in entries]
        training = JobTraining(directory, cells, list(damages), number, make_trainer, settings, guard, tell)
        code = training.run()
        guard.last_words = None
        if code == OK:
            kept.retire(directory, settings.keep_states, finished=training.state_is_final)
            training.draw()
        else:
            attempts.end(live, number, "interrupted", None, guard.reason)
            tell(f"{guard.reason}; the job goes on from its checkpoint when it is run again")
        return code
    except BaseException as error:
        guard.last_words = None
        code, failure, reason = classify(error)
        sys.stderr.write("".join(traceback.format_exception(error)))
        tell(f"error: {reason}")
        try:
            attempts.end(live, number, "failed", failure, reason)
        except StoreError as unwritable:
            tell(f"error: {unwritable}")
        return code
    finally:
        if training is not None:
            training.close()


def _member(store: Store, cell_id: str, job_id: str) -> CellEntry:
    try:
        entry = store.cell(cell_id)
    except Damaged as damage:
        raise StoreError(
            f"job {job_id} cannot start: cell {cell_id}: {damage.reason}.",
            "`marlbench run` with the same suite repairs it.",
        ) from None
    if entry.job != job_id:
        raise StoreError(
            f"job {job_id} cannot start: its cell {cell_id} belongs to job {entry.job} now.",
            "`marlbench run` with the same suite starts the right job.",
        )
    return entry


def _not_done(directory: Path) -> str:
    """Why a cell is not done; nothing where it is."""
    try:
        validity.verify(directory)
    except Damaged as damage:
        return damage.reason
    return ""


def _teller(*streams: object) -> Tell:
    def tell(text: str) -> None:
        for stream in streams:
            with contextlib.suppress(OSError, ValueError):
                print(cut(text).rstrip(), file=stream, flush=True)  # type: ignore[call-overload]

    return tell
