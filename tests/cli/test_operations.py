"""Looking after a store: cancel, retry, clean, cells carried between stores, engines by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from marlbench.errors import CELLS_FAILED, CONFIGURATION, STORE, USAGE
from marlbench.store.store import Store

from ..conftest import SUITE

Typed = Callable[..., tuple[int, str, str]]

LONG = """\
schema: 1
suite: long
title: One cell that would take minutes
rows: 8
seeds: 1
steps: 2000000
protocol: {kind: episodic, policy: greedy, evaluations: 2, episodes: 2, absolute_episodes: 2}
algorithms:
  ippo: {hyperparameters: {rollout_length: 64}}
tasks:
  spread:
    environment: simple_spread
    score: {metric: return_mean, low: -40.0, high: -10.0, source: the test}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the suite `first` and a store of its two cells, which are done."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "first.yaml").write_text(SUITE.format(name="first"))
    command = [
        sys.executable,
        "-m",
        "marlbench",
        "run",
        "first.yaml",
        "--device",
        "cpu",
        "--seeds-per-job",
        "1",
    ]
    subprocess.run(command, cwd=folder, env=outside(), check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture
def done(trained: Path, tmp_path: Path) -> Path:
    """A copy of that store beside the suite."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path / "results"


def outside() -> dict[str, str]:
    """The environment of a user."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("MARLBENCH_", "MLFLOW_"))
    }


def document(typed: Typed, *words: str) -> dict[str, object]:
    code, out, said = typed(*words, "--json")
    assert code == 0, said
    found: dict[str, object] = json.loads(out)
    return found


def test_results_are_carried_to_another_store(typed: Typed, done: Path) -> None:
    code, _, said = typed("cells", "export", "part.tar", "first")
    assert (code, "Wrote 2 cells" in said) == (0, True)
    cells = document(typed, "cells", "import", "part.tar", "--results", "other")["cells"]
    assert isinstance(cells, list)
    assert [cell["arrival"] for cell in cells] == ["added", "added"]
    status = document(typed, "status", "--results", "other")
    assert status["states"] == {"done": 2}
    plan = document(typed, "run", "first.yaml", "--results", "other", "--device", "cpu", "--dry-run")
    assert (plan["done"], plan["jobs"]) == (2, 0)
    code, _, said = typed("cells", "import", "first.yaml", "--results", "other")
    assert code == STORE
    assert "is not a parcel" in said


def test_nothing_to_retry_and_nothing_to_cancel(typed: Typed, done: Path) -> None:
    assert typed("retry")[0] == USAGE
    assert "No cell of" in typed("retry", "--failed")[1]
    assert typed("cancel")[0] == USAGE
    assert "0 unfinished jobs cancelled" in typed("cancel", "--all")[1]
    assert typed("cancel", "nobody")[0] == USAGE


def test_what_is_damaged_is_run_again(typed: Typed, done: Path) -> None:
    result = next(done.glob("cells/*/result.json"))
    result.write_text(result.read_text().replace('"status": "completed"', '"status": "compl"'))
    assert document(typed, "status")["states"] == {"done": 1, "damaged": 1}
    outcome = document(typed, "retry", "--failed", "--device", "cpu")
    assert (outcome["cells"], outcome["done"]) == (1, 1)
    assert document(typed, "status")["states"] == {"done": 2}


def test_clean_shows_first_and_never_takes_a_result_unasked(typed: Typed, done: Path) -> None:
    cell = sorted(entry.id for entry in Store.open(done).cells())[0]
    left = done / "cells" / cell / ".policy.pt.tmp"
    left.write_bytes(b"x" * 4096)
    shown = document(typed, "clean")
    assert shown["dry_run"] is True
    assert shown["bytes"] == 4096
    assert left.exists()
    assert "--yes removes it" in typed("clean")[1]
    assert document(typed, "clean", "--unfinished", "--damaged", "--attempts", "--yes")["bytes"] == 4096
    assert not left.exists()
    assert document(typed, "status")["states"] == {"done": 2}
    assert document(typed, "clean", "--result", cell[:12])["dry_run"] is True
    document(typed, "clean", "--result", cell[:12], "--yes")
    assert document(typed, "status")["states"] == {"done": 1}


def test_cancel_ends_a_job_at_a_checkpoint_and_run_takes_it_up(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(LONG)
    command = [sys.executable, "-m", "marlbench", "run", "long.yaml", "--device", "cpu", "--json"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=outside(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("results/jobs/*/progress.json")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "1 of them running" in typed("cancel", "long")[1]
        out, said = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == CELLS_FAILED
    assert "cancelled" in said
    assert json.loads(out)["interrupted"] == 1
    (job,) = Store.open(tmp_path / "results").jobs()
    assert job.resumes
    assert document(typed, "status")["states"] == {"interrupted": 1}


def test_engines_are_chosen_by_name_and_options_fit_them(typed: Typed, two_suites: Path) -> None:
    code, _, said = typed("run", "first.yaml", "--engine", "slrum")
    assert code == CONFIGURATION
    assert "Did you mean 'slurm'?" in said
    for words in (("--detach",), ("--profile", "gpu"), ("--time-limit", "soon"), ("--memory-limit", "much")):
        code, _, said = typed("run", "first.yaml", *words)
        assert code == USAGE, words
        assert words[0] in said
    assert not (two_suites / "results").exists()
