"""jobs/<id>/cancelled: a job that nobody shall train until somebody asks for its cells again.

A file, because the process that trains may be on another machine: it looks for it about once a second.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from marlbench.store import durable
from marlbench.store.attempts import now_ms

NAME = "cancelled"
REASON = "cancelled by `marlbench cancel`"


def ask(job: Path) -> None:
    """Cancel the job in this directory.

    Raises:
        Unwritable: it was not cancelled.
    """
    durable.write_json(job / NAME, {"schema": 1, "time_ms": now_ms()})


def asked(job: Path) -> bool:
    """Whether the job was cancelled."""
    return (job / NAME).exists()


def forget(job: Path) -> None:
    """Its cells are asked for again."""
    with durable.told(job / NAME, "remove"), contextlib.suppress(FileNotFoundError):
        (job / NAME).unlink()
