"""jobs/<id>/submission.json: which queue was asked to run a job, and under which ticket.

Written before the queue is asked: a ticket that the queue does not know was never submitted, or has ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from marlbench.engines.queues import Ticket
from marlbench.store import durable, locks
from marlbench.store.attempts import now_ms

SCHEMA = 1
NAME = "submission.json"
FOLDER = "submissions"


@dataclass(frozen=True)
class Submission:
    """A job's ticket, the engine and the profile that gave it, and when."""

    engine: str
    profile: str | None
    ticket: Ticket
    submitted_ms: int


def read(job: Path) -> Submission | None:
    """The last submission of the job in this directory; None where there was none, or it cannot be read."""
    try:
        document = durable.read(job / NAME)
    except ValueError:
        return None
    if document is None or document.get("schema") != SCHEMA:
        return None
    engine, profile, batch, index = (document.get(key) for key in ("engine", "profile", "batch", "index"))
    submitted = document.get("submitted_ms")
    if not isinstance(engine, str) or not isinstance(batch, str) or not isinstance(index, int):
        return None
    if not isinstance(submitted, int) or not isinstance(profile, str | None):
        return None
    return Submission(engine, profile, Ticket(batch, index), submitted)


def write(jobs: Sequence[Path], engine: str, profile: str | None, batch: str) -> None:
    """Give the jobs in these directories the tickets 0, 1, ... of a batch.

    Raises:
        Unwritable: some may have theirs; nothing was submitted.
    """
    common = {
        "schema": SCHEMA,
        "engine": engine,
        "profile": profile,
        "batch": batch,
        "submitted_ms": now_ms(),
    }
    durable.write_many([(job / NAME, common | {"index": index}) for index, job in enumerate(jobs)])


def withdraw(jobs: Sequence[Path]) -> None:
    """The queue refused them."""
    for job in jobs:
        with contextlib.suppress(FileNotFoundError):
            (job / NAME).unlink()


@contextlib.contextmanager
def submitting(root: Path) -> Iterator[Path]:
    """Be the only one who submits jobs of this store; gives the folder for what queues keep.

    Raises:
        Unwritable: the folder cannot be made.
    """
    folder = root / FOLDER
    durable.make_directory(folder)
    with locks.holding(folder / "lock"):
        yield folder
