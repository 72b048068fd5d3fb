from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marlbench.catalog.cell import Cell
from marlbench.store.store import Store

from .long_cells import CELLS


class Server:
    """Runs jobs in processes of their own (see server.py)."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output.txt"
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, root: Path, cells: list[Any], **order: Any) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.output.write_text("")
        order |= {"root": str(root), "cells": [cell.to_json() for cell in cells], "output": str(self.output)}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def said(self) -> str:
        """What the last job printed outside its log."""
        return self.output.read_text()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture
def machine() -> Iterator[Path]:
    """A directory in memory where there is such a place: what is tested is order, not the disk."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=parent, prefix="marlbench-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def content(root: Path, cells: list[Cell]) -> dict[str, Any]:
    """Everything that must not depend on crashes."""
    store = Store.open(root)
    found: dict[str, Any] = {}
    for cell in cells:
        journal = []
        for line in store.journal(cell.id):
            for key in ("attempt", "time_ms", "generation"):
                line.pop(key, None)
            if line["kind"] == "performance":
                line["values"] = sorted(line["values"])
            journal.append(line)
        result = store.result(cell.id)
        policy = (root / "cells" / cell.id / "policy.pt").read_bytes()
        # NaN differs from itself, its text does not.
        found[cell.id] = (
            json.dumps(result["outcome"]),
            result["outcome_sha256"],
            policy,
            json.dumps(journal),
        )
    return found


def check_tidy(root: Path, cells: list[Cell]) -> None:
    """Nothing is left running or half written."""
    store = Store.open(root)
    for cell in cells:
        assert all(record["outcome"] is not None for record in store.attempts(cell.id))
    for job in store.jobs():
        assert not job.pending
        assert not job.running
        left = {path.name for path in job.directory.iterdir()}
        assert left == {"job.json", "lock", "log.txt", "state.json", "state.pt", "replay"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "results", create=True)


@pytest.fixture(scope="session")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("undisturbed") / "results"
    assert server.run(root, CELLS) == 0
    return content(root, CELLS)


@pytest.fixture(scope="session")
def stopped(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose job was stopped by SIGTERM half way."""
    root = tmp_path_factory.mktemp("stopped") / "results"
    assert server.run(root, CELLS, at_step=20, signal=signal.SIGTERM) == 143
    return root


@pytest.fixture
def interrupted(stopped: Path, machine: Path) -> Store:
    shutil.copytree(stopped, machine / "results")
    return Store.open(machine / "results")


@pytest.fixture(scope="session")
def finished(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished") / "results"
    assert server.run(root, CELLS) == 0
    return root


@pytest.fixture
def done(finished: Path, machine: Path) -> Store:
    shutil.copytree(finished, machine / "results")
    return Store.open(machine / "results")
