"""Attempts to finish a cell: cells/<id>/attempts/<n>.json, written at the start and again at the end.

An attempt without an end whose job's lock is free ended without a word. Whoever finds it so, with the lock in
hand, gives it its end.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from marlbench.store import durable, validity
from marlbench.store.states import Damaged, Failure

SCHEMA = 1
_NAME = re.compile(r"([1-9][0-9]{0,8})\.(json|tail\.jsonl|journal\.jsonl)")


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@functools.cache
def boot_id() -> str:
    """A name for the time since this machine was started; '' where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def next_number(cells: Iterable[Path]) -> int:
    """A number that no attempt at these cells has had; the attempts of one process share it."""
    highest = 0
    for cell in cells:
        if (folder := cell / "attempts").is_dir():
            found = (_NAME.fullmatch(name) for name in os.listdir(folder))
            highest = max([highest, *(int(match[1]) for match in found if match)])
    return highest + 1


def read(cell: Path) -> list[dict[str, Any]]:
    """The attempts at a cell, oldest first. One that a crash or a hand made unreadable is left out."""
    folder = cell / "attempts"
    records = []
    try:
        with durable.reading(folder):
            names = os.listdir(folder)
    except FileNotFoundError:
        return []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None or match[2] != "json":
            continue
        try:
            record = durable.read(folder / name)
        except ValueError:
            continue
        if record is not None and record.get("schema") == SCHEMA:
            records.append((int(match[1]), record))
    return [record for _, record in sorted(records, key=lambda pair: pair[0])]


def begin(cells: Iterable[Path], number: int, job: str, engine: str, device: str) -> None:
    """Write down, durably, that this process starts to work on these cells.

    Raises:
        Unwritable: nothing was started.
    """
    documents = []
    for cell in cells:
        durable.make_directory(cell / "attempts")
        record = {
            "schema": SCHEMA,
            "cell": cell.name,
            "job": job,
            "attempt": number,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "boot_id": boot_id(),
            "engine": engine,
            "device": device,
            "started_ms": now_ms(),
            "ended_ms": None,
            "outcome": None,
            "failure": None,
            "reason": None,
        }
        documents.append((cell / "attempts" / f"{number}.json", record))
    durable.write_many(documents)


def end(
    cells: Iterable[Path], number: int, outcome: str, failure: Failure | None = None, reason: str = ""
) -> None:
    """Write down how an attempt ended; one that has an end keeps it.

    Args:
        outcome: "completed", "diverged", "interrupted" or "failed".

    Raises:
        Unwritable: an end is missing; it is found out later, less exactly.
    """
    for cell in cells:
        path = cell / "attempts" / f"{number}.json"
        try:
            record = durable.read(path)
        except ValueError:
            record = None
        if record is None or record.get("outcome") is not None:
            continue
        record |= {
            "ended_ms": now_ms(),
            "outcome": outcome,
            "failure": failure,
            "reason": one_line(reason) or None,
        }
        try:
            durable.write_json(path, record)
        except durable.Unwritable as error:
            if not error.full:
                raise
            # On a full disk there is no room for a second file, but the old one's block is ours already. A
            # crash here may leave an unreadable record of an attempt that failed, and nothing worse.
            with durable.told(path), path.open("r+b") as stream:
                stream.write(durable.dump(record))
                stream.truncate()


def presume(record: dict[str, Any]) -> tuple[str, Failure | None, str]:
    """The end of an attempt that ended without a word: outcome, failure, reason."""
    if record.get("host") == socket.gethostname() and record.get("boot_id") != boot_id():
        return "interrupted", None, "the machine stopped or restarted"
    return "failed", Failure.SIGNAL, "the process was killed (by SIGKILL, or for want of memory)"


def reconcile(cells: Iterable[Path], failure: Failure | None = None, reason: str = "") -> None:
    """Give attempts without an end their end. The caller holds the lock of the cells' job."""
    for cell in cells:
        for record in read(cell):
            if record.get("outcome") is not None:
                continue
            ending = presume(record)
            if failure is not None:
                ending = "failed", failure, reason or ending[2]
            elif reason:
                ending = "interrupted", None, reason
            with contextlib.suppress(Damaged):
                # It had written its result when it ended. Nothing is tried again once there is one, so the
                # attempt without an end is the one that did it.
                ending = validity.verify(cell)["outcome"]["status"], None, ""
            end([cell], int(record["attempt"]), *ending)


def one_line(text: str, length: int = 400) -> str:
    """Text as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 3] + "..."
