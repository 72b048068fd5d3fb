"""Bringing MLflow up to date: once, or for as long as a `marlbench run` lives."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from marlbench.errors import MarlbenchError
from marlbench.store.locks import Lock
from marlbench.store.store import CELL_ID, Store
from marlbench.tracking.client import CallFailed, Failure
from marlbench.tracking.projector import Projector, Report, take_lock
from marlbench.tracking.target import Target, TrackingError

# Seconds. A look at the store may take this share of the time: on two cores it competes with training.
_INTERVAL = 2.0
_SHARE = 0.02
_LONGEST = 60.0
_LOCK_PATIENCE = 30.0
_ONCE_PAUSES = (1.0, 2.0)


def once(
    root: Path,
    say: Callable[[str], None],
    target: Target | None = None,
    *,
    verify: bool = False,
    patience: float = _LOCK_PATIENCE,
) -> Report | None:
    """Send everything that is missing; None where another process is just doing that.

    Args:
        say: is told, in one line, what a person should know.
        target: which MLflow; None: see `Target.locate`.
        patience: seconds to wait for the other process to end.
        verify: ask MLflow for every run and point instead of believing what was noted before.

    Raises:
        TrackingError: MLflow is away, refuses, or did not take some of it.
        StoreError: the store cannot be used.
    """
    store = Store.open(root)
    store.require_writable()
    target = target or Target.locate(root)
    lock = take_lock(root, patience)
    if lock is None:
        return None
    try:
        projector = Projector(store, target, say)
        try:
            if verify:
                projector.forget()
            report = _patiently(projector)
        finally:
            projector.close()
    finally:
        lock.release()
    for cell, reason in report.damaged.items():
        say(f"{_named(cell)} is not shown as it cannot be read: {reason}")
    if report.withdrawn:
        say(f"{len(report.withdrawn)} runs were deleted by hand in MLflow and are left alone.")
    if report.failed:
        cell, reason = next(iter(report.failed.items()))
        raise TrackingError(
            f"MLflow at {target} did not take {len(report.failed)} runs; the first, of {_named(cell)}: {reason}"
        )
    return report


def _named(key: str) -> str:
    """What a report of the projector is about: a cell by its id, or a report by its name."""
    return f"cell {key[:12]}" if CELL_ID.fullmatch(key) else f"report {key}"


def _patiently(projector: Projector) -> Report:
    """A pass; where MLflow does not answer now and then, as many as it takes while each brings something further."""
    tries, shown = 0, 0
    while True:
        try:
            return projector.sweep()
        except CallFailed as failed:
            if projector.shown > shown:
                tries, shown = 0, projector.shown
            if tries == len(_ONCE_PAUSES) or failed.failure is not Failure.AWAY:
                raise _told(failed, projector.target) from failed
            time.sleep(_ONCE_PAUSES[tries])
            tries += 1


def _told(failed: CallFailed, target: Target) -> TrackingError:
    if failed.failure is Failure.AWAY:
        return TrackingError(
            f"MLflow at {target} does not answer: {failed}",
            "The results are safe in the store; `marlbench sync` sends them when it is back.",
        )
    return TrackingError(
        f"MLflow at {target} refuses: {failed}",
        "Check MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN; "
        "then `marlbench sync` sends the results.",
    )


def follow(root: Path, say: Callable[[str], None], stdin: int, interval: float = _INTERVAL) -> None:
    """Keep MLflow up to date until the descriptor `stdin` reaches its end, then send the rest.

    What goes wrong is said in one line and tried again, ever less often; training does not depend on it.

    Args:
        interval: least seconds between two looks at the store.

    Raises:
        StoreError: there is no store that can be used.
        TrackingError: MLflow cannot be used, or still could not when everything was to be sent at the end.
    """
    store = Store.open(root)
    store.require_writable()
    follower = _Follower(store, Target.locate(root), say)
    try:
        while not _ends(stdin, follower.pause(interval)):
            follower.look()
        follower.finish()
    finally:
        follower.close()


def _ends(stdin: int, seconds: float) -> bool:
    """Wait, at most; whether the input is over."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([stdin], [], [], left)
        if ready and not os.read(stdin, 4096):
            return True
    return False


@dataclass
class _Follower:
    store: Store
    target: Target
    say: Callable[[str], None]
    lock: Lock | None = None
    projector: Projector | None = None
    failures: int = 0
    trouble: MarlbenchError | None = None
    said: set[str] = field(default_factory=set)
    not_before: float = 0.0
    cost: float = 0.0

    def pause(self, interval: float) -> float:
        """Seconds until the next look."""
        return max(interval, self.cost / _SHARE)

    def look(self) -> None:
        """Send what is new, where it is our turn and MLflow is there."""
        if time.monotonic() >= self.not_before and self._ready(0.0):
            self._sweep()

    def finish(self) -> None:
        """Send everything; another process that holds the lock will have done so or is about to.

        Raises:
            MarlbenchError: it was not possible.
        """
        if self._ready(_LOCK_PATIENCE):
            self._sweep()
            if self.trouble is not None:
                raise self.trouble

    def close(self) -> None:
        if self.projector is not None:
            self.projector.close()
        if self.lock is not None:
            self.lock.release()

    def _ready(self, patience: float) -> bool:
        if self.lock is None:
            self.lock = take_lock(self.store.root, patience)
        return self.lock is not None

    def _sweep(self) -> None:
        try:
            if self.projector is None:
                self.projector = Projector(self.store, self.target, self.say)
            began = time.process_time()
            work = self.projector.has_work()
            self.cost = time.process_time() - began
            if work:
                self._tell(self.projector.sweep())
        except CallFailed as failed:
            self._failed(_told(failed, self.target))
        except MarlbenchError as error:
            self._failed(error)
        else:
            if self.failures:
                self.say(f"MLflow at {self.target} is up to date again.")
                self.said.clear()
            self.failures = 0
            self.trouble = None
            self.not_before = 0.0

    def _failed(self, error: MarlbenchError) -> None:
        self._once(f"{error} Training goes on, and this is tried again.")
        self.trouble = error
        self.failures += 1
        self.not_before = time.monotonic() + min(_LONGEST, 2.0**self.failures)

    def _tell(self, report: Report) -> None:
        for cell, reason in {**report.damaged, **report.failed}.items():
            self._once(f"{_named(cell)} is not shown in MLflow: {reason}")

    def _once(self, text: str) -> None:
        if text not in self.said:
            self.said.add(text)
            self.say(text)
