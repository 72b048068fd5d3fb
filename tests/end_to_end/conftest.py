"""The installed command, as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .support import family, kill

SUITE = """\
schema: 1
suite: small
title: Two tasks, three methods, two seeds
rows: 8
seeds: 2
steps: 30000
protocol: {kind: episodic, policy: greedy, evaluations: 4, episodes: 8, absolute_episodes: 16}
algorithms:
  random: {}
  iql: {hyperparameters: {replay_steps: 4000, learning_starts: 200}}
  ippo: {hyperparameters: {rollout_length: 64}}
tasks:
  spread:
    environment: simple_spread
    score: {metric: return_mean, low: -40.0, high: -10.0, source: the test}
  stag:
    environment: matrix_game:stag_hunt
    parameters: {rounds: 20}
    score: {metric: return_mean, low: 20.0, high: 80.0, source: the test}
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A client of MLflow makes `mlruns` where it stands.
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `marlbench ...` in a session of its own; whatever is left at the end is killed."""
    started: list[subprocess.Popen[str]] = []
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARLBENCH_")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}

    def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "marlbench", *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        for one in family(process):
            kill(one)
        if process.stdout is not None:
            process.stdout.close()
        if process.stderr is not None:
            process.stderr.close()
        process.wait()
