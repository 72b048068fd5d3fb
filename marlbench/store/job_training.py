"""Training the members of a job from wherever they stand to their results."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marlbench.catalog.cell import Cell
from marlbench.store import (
    attempts,
    cancelling,
    checkpoint,
    durable,
    execution,
    kept,
    locks,
    pictures,
    validity,
)
from marlbench.store import journal as journals
from marlbench.store.attempts import now_ms, one_line
from marlbench.store.checkpoint import Corrupt
from marlbench.store.failures import OK, is_out_of_memory
from marlbench.store.initial import policies_for
from marlbench.store.journal import Extent, Journal
from marlbench.store.needs import MakeTrainer, Meter, Trainer
from marlbench.store.numbers import encode
from marlbench.store.process import TERMINATED, Guard
from marlbench.store.sources import UNLOADABLE, Sources
from marlbench.store.states import Damaged

PROGRESS_SECONDS = 1.0
CHECKPOINT_SECONDS = 5.0


@dataclass(frozen=True)
class Settings:
    """How a job is run; nothing here changes its outcome, but for the device's rounding.

    Attributes:
        device: "cpu", "cuda" or "cuda:<n>".
        threads: of torch, within one operation.
        engine: which engine started the process, for the record.
        checkpoint_seconds: the least time between two checkpoints.
        keep_states: bytes of the largest final state that is kept for longer trainings.
        make_meter: of what measures the cost of the training on this machine, where that is wanted.
        pictures_from: processor seconds that a job takes at least where pictures of its policies are drawn.
    """

    device: str = "cpu"
    threads: int = 1
    engine: str = "local"
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    keep_states: int = kept.DEFAULT_LIMIT
    make_meter: Callable[[], Meter] | None = None
    pictures_from: float = pictures.WORTHWHILE


class JobTraining:
    """One attempt at a job whose lock is held.

    Args:
        directory: the job's.
        cells: all members, by seed.
        live: indices of the members that are not done; nothing is ever written for the others.
        attempt: the number of this attempt.
    """

    def __init__(
        self,
        directory: Path,
        cells: Sequence[Cell],
        live: Sequence[int],
        attempt: int,
        make_trainer: MakeTrainer,
        settings: Settings,
        guard: Guard,
        tell: Callable[[str], None],
    ) -> None:
        import torch

        self.directory = directory
        self.cells = cells
        self.live = live
        self.attempt = attempt
        self.device = torch.device(settings.device)
        self.settings = settings
        self.meter = settings.make_meter() if settings.make_meter is not None else None
        self.guard = guard
        self.tell = tell
        self.trainer: Trainer | None = None
        self.journals: dict[int, Journal] = {}
        self.covered: dict[str, int] = {}
        self.last: dict[str, Any] | None = None
        self.state_is_final = False
        self.written: dict[int, tuple[Path, str]] = {}
        self._extended = False
        self._make_trainer = make_trainer
        self._spacing = checkpoint.Spacing(settings.checkpoint_seconds)
        self._seconds_before = 0.0
        self._cpu_before = 0.0
        self._began = time.monotonic()
        self._marks: dict[int | None, tuple[float, int]] = {}
        self._pace: float | None = None

    def run(self) -> int:
        """Train to the end (OK), or until the guard wants to leave (its code, after a checkpoint)."""
        execution.prepare_torch(self.device, self.settings.threads)
        trainer = self._restore()
        self._began = time.monotonic()
        self._marks = dict.fromkeys([None, *self.live], (self._began, trainer.steps))
        self._write_progress(trainer)
        if self._extended:
            # From here on the states of the sources are needed no more.
            self.checkpoint(trainer)
        told = self._began
        moved = False
        if self.meter is not None:
            self.meter.begin()
        while not trainer.finished:
            now = time.monotonic()
            stop = self.guard.code
            if moved and (stop is not None or trainer.must_checkpoint or self._spacing.due(now)):
                self.checkpoint(trainer)
            if stop is not None:
                return stop
            if now - told >= PROGRESS_SECONDS:
                self._write_progress(trainer)
                told = now
                if cancelling.asked(self.directory):
                    self.guard.stop(TERMINATED, cancelling.REASON)
            if records := trainer.advance():
                self._record(records, trainer.steps)
            moved = True
            if self.meter is not None:
                self.meter.tick()
        if not self.state_is_final and self.settings.keep_states > 0:
            self.checkpoint(trainer)
        if self.meter is not None:
            self.meter.close()
        self.finish(trainer)
        return OK

    def checkpoint(self, trainer: Trainer) -> None:
        """Make everything so far durable.

        Raises:
            Unwritable: the checkpoint before is still there and still fits its journals.
        """
        began = time.monotonic()
        locks.confirm_all()
        if self.meter is not None:
            self.meter.close()
        extents = {self.cells[member].id: journal.sync() for member, journal in self.journals.items()}
        document = {
            "schema": checkpoint.SCHEMA,
            "job": self.directory.name,
            "attempt": self.attempt,
            "cells": [cell.id for cell in self.cells],
            "journals": {cell_id: vars(extent) for cell_id, extent in extents.items()},
            "seconds": self._seconds(),
            "cpu_seconds": self._cpu_seconds(),
            "last": self.last,
            "finished": trainer.finished,
            "meter": None if self.meter is None else self.meter.state_dict(),
            "trainer": trainer.state_dict(),
        }
        # The algorithm has made the contents of its replay durable; their names are ours to keep.
        with durable.told(replay := self.directory / "replay", "sync"):
            if replay.is_dir():
                durable.sync_directory(replay)
        checkpoint.save(self.directory / checkpoint.NAME, document)
        trainer.checkpoint_done()
        self.state_is_final = trainer.finished
        self.covered = {cell_id: extent.bytes for cell_id, extent in extents.items()}
        self._write_progress(trainer)
        self._spacing.done(time.monotonic() - began)

    def finish(self, trainer: Trainer) -> None:
        """Write the result of every live member.

        Raises:
            ValueError: the trainer's outcome is not one that could be accepted as done.
            Unwritable: those written so far are done.
        """
        seconds, cpu_seconds = self._seconds(), self._cpu_seconds()
        versions = execution.versions()
        agent_costs = trainer.agent_costs(time.process_time)
        for member in self.live:
            cell, folder = self.cells[member], self._cell_directory(member)
            outcome = trainer.outcome(member)
            source = outcome.get("source", {"steps": 0})
            records = attempts.read(folder)
            conditions = {
                "started_ms": min((record["started_ms"] for record in records), default=now_ms()),
                "finished_ms": now_ms(),
                "seconds": seconds,
                "attempts": len(records),
                "host": socket.gethostname(),
                "device": str(self.device),
                "device_name": execution.device_name(self.device),
                "threads": self.settings.threads,
                "versions": versions,
                "git_sha": execution.git_sha(),
                "steps_per_second": (outcome["steps"] - source["steps"]) / max(seconds, 1e-9),
                "cpu_seconds": cpu_seconds,
                "peak_memory_bytes": execution.peak_memory_bytes(),
                "job": self.directory.name,
                "members": [other.id for other in self.cells],
                "engine": self.settings.engine,
                **agent_costs,
            }
            if self.meter is not None:
                conditions["calibration"] = self.meter.document()
            locks.confirm_all()
            extent = self.journals[member].sync()
            result = validity.make(cell.id, cell.identity(), outcome, extent, conditions)
            checkpoint.save(folder / "policy.pt", checkpoint.compact(trainer.policy(member)))
            durable.write_json(folder / validity.NAME, result)
            self.written[member] = (folder, result["outcome_sha256"])
            attempts.end([folder], self.attempt, outcome["status"])
        self._write_progress(trainer)

    def draw(self) -> None:
        """The pictures of the members whose results were written, after everything else."""
        # Where the cost of the training is what is asked for, nobody looks at pictures.
        if self.trainer is None or self.settings.make_meter is not None:
            return
        if (spent := self._cpu_seconds()) >= self.settings.pictures_from:
            pictures.make(self.trainer, self.written, spent, self.guard)

    def close(self) -> None:
        """Close journals and trainer, whatever state they are in."""
        for journal in self.journals.values():
            journal.close()
        if self.trainer is not None:
            try:
                self.trainer.close()
            except Exception:
                traceback.print_exc()

    def _restore(self) -> Trainer:
        """A trainer and journals that agree with each other: those of the checkpoint, else fresh ones."""
        path = self.directory / checkpoint.NAME
        try:
            saved = checkpoint.load(path)
            if saved is None:
                return self._start()
            extents = self._extents(saved)
        except (Corrupt, Damaged) as error:
            return self._start_again(str(error))
        self.trainer = trainer = self._make_trainer(self.cells, self.directory, self.device)
        try:
            trainer.load_state_dict(saved["trainer"])
        except UNLOADABLE as error:
            if is_out_of_memory(error) or "CUDA error" in str(error):
                raise
            traceback.print_exc()
            return self._start_again(f"it does not load: {type(error).__name__}: {error}")
        # Journals are cut last: until here, giving the checkpoint up would still have left them whole.
        for member, extent in extents.items():
            self._resume_journal(member, extent)
        self.covered = {self.cells[member].id: extent.bytes for member, extent in extents.items()}
        self.last = saved["last"]
        self._seconds_before, self._cpu_before = saved["seconds"], saved["cpu_seconds"]
        self.state_is_final = bool(saved.get("finished"))
        if self.meter is not None and saved.get("meter") is not None:
            self.meter.load_state_dict(saved["meter"])
        else:
            # What came before was not measured, and half a measurement would pass for a whole one.
            self.meter = None
        return trainer

    def _extents(self, saved: dict[str, Any]) -> dict[int, Extent]:
        """Where the live members' journals stood, once all of them are found to begin so."""
        cells = [cell.id for cell in self.cells]
        if saved.get("job") != self.directory.name or saved.get("cells") != cells:
            raise Corrupt("it belongs to another job")
        extents = {}
        for member in self.live:
            known = saved["journals"].get(cells[member])
            if known is None:
                # The member was done when the checkpoint was written, and its result was damaged since.
                raise Damaged(f"it knows no journal of cell {cells[member]}")
            extents[member] = Extent(**known)
            path = self._cell_directory(member) / journals.NAME
            if journals.measure(path, extents[member].bytes) != extents[member]:
                raise Damaged(f"{path} does not begin with the {extents[member].bytes} bytes that it knows")
        return extents

    def _start_again(self, reason: str) -> Trainer:
        where = "zero" if self.cells[0].source is None else "the end of its source"
        aside = durable.set_aside(self.directory / checkpoint.NAME)
        self.tell(f"the checkpoint of job {self.directory.name} cannot be used: {one_line(reason)}")
        self.tell(f"it is kept as {aside}; the job starts from {where}")
        if self.trainer is not None:
            self.trainer.close()
        return self._start()

    def _start(self) -> Trainer:
        """From the beginning, which is the end of another job where the cells go on from those of one.

        Journals of earlier attempts are kept under attempts/.
        """
        kept.forget(self.directory)
        sources = Sources.of(self.cells, self.directory)
        if sources is not None:
            kept.copy_replay(sources.directory, self.directory)
        self.trainer = self._make_trainer(self.cells, self.directory, self.device)
        if sources is not None:
            sources.hand_over(self.trainer, self.directory)
            self._extended = True
        elif taken := policies_for(self.cells, self.directory.parent.parent):
            self.trainer.start_from(taken)
        for member in self.live:
            path = self._cell_directory(member) / journals.NAME
            if path.exists():
                durable.move(path, path.with_name("attempts") / f"{self.attempt}.journal.jsonl")
            journal = Journal.begin(path, self.cells[member].id, self.attempt, now_ms())
            self.journals[member] = journal
            for record in sources.records(member) if sources is not None else ():
                journal.append(**record | {"attempt": self.attempt})
        return self.trainer

    def _resume_journal(self, member: int, extent: Extent) -> None:
        path = self._cell_directory(member) / journals.NAME
        tail = path.with_name("attempts") / f"{self.attempt}.tail.jsonl"
        self.journals[member], beyond = Journal.resume(path, extent, tail)
        if beyond and not beyond.endswith(b"\n"):
            self.tell(f"the last line of {path} was torn and is cut off")

    def _record(self, records: Sequence[Any], steps: int) -> None:
        stamp = now_ms()
        cost: dict[str, float] = {}
        for record in records:
            journal = self.journals.get(record.member)
            if journal is None:
                continue
            line = {"attempt": self.attempt, "time_ms": stamp, "step": record.step}
            journal.append(**line, kind=record.kind, values=record.values, episodes=record.episodes)
            if record.kind != "evaluation":
                continue
            cell = self.cells[record.member]
            metric = str(cell.score["metric"])
            self.last = {"label": cell.label, "metric": metric, "value": record.values.get(metric)}
            # With the evaluations, not with the clock: a resumed journal has the same lines.
            cost = cost or {
                "cpu_seconds": self._cpu_seconds(),
                "peak_memory_bytes": float(execution.peak_memory_bytes()),
            }
            speed = {"steps_per_second": self._speed(record.member, steps)}
            journal.append(**line, kind="performance", values=speed | cost)

    def _speed(self, mark: int | None, steps: int) -> float:
        """Steps per second since this was last asked for the same mark."""
        now = time.monotonic()
        then, before = self._marks[mark]
        self._marks[mark] = (now, steps)
        return max(0, steps - before) / max(now - then, 1e-9)

    def _seconds(self) -> float:
        """Wall time of the work that counts, over all attempts."""
        return self._seconds_before + time.monotonic() - self._began

    def _cpu_seconds(self) -> float:
        return self._cpu_before + execution.cpu_seconds()

    def _write_progress(self, trainer: Trainer) -> None:
        if time.monotonic() - self._marks[None][0] >= PROGRESS_SECONDS:
            self._pace = self._speed(None, trainer.steps)
        document = {
            "schema": 1,
            "job": self.directory.name,
            "pid": os.getpid(),
            "attempt": self.attempt,
            "steps": trainer.steps,
            "total_steps": trainer.total_steps,
            "steps_per_second": self._pace,
            "covered": self.covered,
            "generations": {self.cells[m].id: journal.generation for m, journal in self.journals.items()},
            "last": self.last,
            "time_ms": now_ms(),
        }
        # An old progress.json only says less than is true, which is no reason to end the job.
        with contextlib.suppress(durable.Unwritable):
            durable.write_json(self.directory / "progress.json", encode(document), durable=False)

    def _cell_directory(self, member: int) -> Path:
        return self.directory.parent.parent / "cells" / self.cells[member].id
