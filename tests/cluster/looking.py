"""What a store holds, which processes work in it, and how a command ended."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import psutil

SECONDS = 600.0


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Every result of the store `results` below a folder, by cell id."""
    return {
        path.parent.name: json.loads(path.read_text()) for path in folder.glob("results/cells/*/result.json")
    }


def assert_all_done_once(folder: Path, cells: int, engine: str) -> None:
    """Every cell has its result, of exactly one attempt that completed."""
    found = results(folder)
    assert len(found) == cells
    for cell in found:
        attempts = [
            json.loads(path.read_text()) for path in folder.glob(f"results/cells/{cell}/attempts/*.json")
        ]
        assert [attempt["outcome"] for attempt in attempts].count("completed") == 1
        assert {attempt["engine"] for attempt in attempts} == {engine}


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """What a command said, once it has ended with this exit code."""
    out, said = process.communicate(timeout=SECONDS)
    assert process.returncode == code, said
    return out if out.startswith("{") else out + said


def workers(folder: Path) -> list[psutil.Process]:
    """The processes of jobs of this store."""
    root = str(folder / "results")
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        # The task that started it has the job's command line after its own.
        if "run-job" in words and root in words and "marlbench.engines.queued_task" not in words:
            found.append(process)
    return found
