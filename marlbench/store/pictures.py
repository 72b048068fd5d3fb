"""The pictures of done cells: made after the results are durable, and worth less than any of them.

    cells/<cell>/pictures/          the files
    cells/<cell>/pictures.json      written last: which files belong to which outcome

Whatever goes wrong here leaves a done cell without pictures, and no more.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from marlbench.store import durable
from marlbench.store.failures import OK
from marlbench.store.needs import Trainer
from marlbench.store.process import Guard

RECORD, FOLDER = "pictures.json", "pictures"
SCHEMA = 1
# Processor seconds for the pictures of a whole job: this share of what the job took, and not less than that. A job
# that took less than WORTHWHILE gets none: a thousand of them would cost as much as three hundred more.
SHARE, LEAST, WORTHWHILE = 0.01, 0.3, 3.0
# A task that waits for others draws no longer than this many times the processor seconds by the clock.
_WAITING = 10


def make(trainer: Trainer, folders: Mapping[int, tuple[Path, str]], cpu_seconds: float, guard: Guard) -> None:
    """Draw and keep the pictures of members whose results are durable; never raises.

    Args:
        folders: member -> the folder of its cell, and the sha256 of its outcome.
        cpu_seconds: that the job took.
        guard: its `code` ends the drawing, and where drawing hangs it ends the process.
    """
    allowance = max(LEAST, SHARE * cpu_seconds)
    began, cpu_began = time.monotonic(), time.process_time()

    def left() -> float:
        if guard.code is not None:
            return 0.0
        spent = max(time.process_time() - cpu_began, (time.monotonic() - began) / _WAITING)
        return allowance - spent

    alarm = threading.Timer(2 * _WAITING * allowance, guard.stop, (OK, "drawing took too long"))
    alarm.daemon = True
    alarm.start()
    try:
        for member, files in trainer.pictures(left).items():
            if member in folders:
                _keep(*folders[member], files)
    except (Exception, SystemExit):
        sys.stderr.write(f"no pictures were kept:\n{traceback.format_exc()}")
    finally:
        alarm.cancel()


def _keep(folder: Path, outcome: str, files: Mapping[str, bytes]) -> None:
    pictures = folder / FOLDER
    with contextlib.suppress(FileNotFoundError):
        (folder / RECORD).unlink()
    durable.make_directory(pictures)
    for name, content in files.items():
        durable.write(pictures / name, content)
    durable.write_json(folder / RECORD, {"schema": SCHEMA, "outcome_sha256": outcome, "files": sorted(files)})


def of(folder: Path, result: Mapping[str, Any]) -> Sequence[Path]:
    """The pictures in the folder of a done cell that belong to this result."""
    try:
        record = durable.read(folder / RECORD)
    except (ValueError, OSError):
        return ()
    if record is None or record.get("schema") != SCHEMA:
        return ()
    if record.get("outcome_sha256") != result.get("outcome_sha256"):
        return ()
    names = [name for name in record.get("files") or () if isinstance(name, str) and "/" not in name]
    return [path for name in names if (path := folder / FOLDER / name).is_file()]
