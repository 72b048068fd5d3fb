"""Processes timed from outside: wall-clock seconds, and CPU seconds of the process and all that it waited for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# One thread per operation, wherever a library would take more.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class Failed(Exception):
    """A measured command did not end well; the text says what it printed."""


@dataclass(frozen=True)
class Timed:
    wall_seconds: float
    cpu_seconds: float
    stdout: str


def cores() -> list[int]:
    """The cores that this process may use; none are told where the system does not pin processes."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def run(
    command: Sequence[str],
    *,
    one_core: bool = True,
    directory: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> Timed:
    """Run a command to its end, on the last core or on all.

    Raises:
        Failed: its exit status is not 0.
    """
    usable = cores()
    pinned = usable[-1:] if one_core else usable
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARLBENCH_")}
    environment |= dict.fromkeys(THREADS, "1") | dict(variables or {})
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            list(command),
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            preexec_fn=(lambda: os.sched_setaffinity(0, pinned)) if pinned else None,
        )
        # Unlike Popen.wait, this tells what the process and its own waited-for children used.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read().decode(), err.read().decode(errors="replace")
    if process.returncode != 0:
        raise Failed(
            f"{' '.join(command)} ended with {process.returncode}:\n{stdout[-2000:]}{stderr[-4000:]}"
        )
    return Timed(wall, usage.ru_utime + usage.ru_stime, stdout)


def script(python: str, name: str, *arguments: str) -> dict[str, Any]:
    """The JSON that one of the scripts beside this file prints, on one core."""
    measured: dict[str, Any] = json.loads(run([python, str(HERE / name), *arguments]).stdout.splitlines()[-1])
    return measured


def marlbench(*arguments: str) -> list[str]:
    """The installed command of the running environment."""
    return [str(Path(sys.executable).parent / "marlbench"), *arguments]
