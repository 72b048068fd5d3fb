"""Tests against a real Slurm, Ray and PostgreSQL; `make test-cluster` collects them, `make test` does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from . import slurm
from .mlflow_server import Team, why_not

SUITE = """\
schema: 1
suite: small
title: One task, one method
rows: 8
seeds: {seeds}
steps: {steps}
protocol: {{kind: episodic, policy: greedy, evaluations: 4, episodes: 8, absolute_episodes: 16}}
algorithms:
  ippo: {{hyperparameters: {{rollout_length: 64}}}}
tasks:
  spread:
    environment: simple_spread
    score: {{metric: return_mean, low: -40.0, high: -10.0, source: the test}}
"""
PROFILES = """\
[slurm.default]
time = "10m"
checkpoint_before = "30s"
memory = "1G"
at_once = 2

[slurm.minute]
time = "1m"
checkpoint_before = "35s"
memory = "1G"
at_once = 2

[slurm.gpu]
gpus = 1
memory = "4G"
setup = ["echo gpu=$CUDA_VISIBLE_DEVICES", "sleep 5"]
"""

Start = Callable[..., subprocess.Popen[str]]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if os.environ.get("TEST_CLUSTER") else True


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    """A Slurm without accounting."""
    yield from _cluster(tmp_path_factory.mktemp("slurm"), accounting=False)


@pytest.fixture(scope="session")
def accounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    """A Slurm with slurmdbd and MariaDB."""
    yield from _cluster(tmp_path_factory.mktemp("slurmdbd"), accounting=True)


def _cluster(folder: Path, accounting: bool) -> Iterator[slurm.Cluster]:
    if reason := slurm.why_not():
        pytest.skip(reason)
    one = slurm.Cluster(folder, accounting)
    try:
        one.start()
        yield one
    finally:
        one.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where commands are given: a suite, `suite(folder, ...)` writes others, and profiles."""
    (tmp_path / "marlbench.toml").write_text(PROFILES)
    suite(tmp_path)
    return tmp_path


def suite(folder: Path, seeds: int = 4, steps: int = 8000) -> None:
    """Write small.yaml; 8,000 steps take two CPU seconds."""
    (folder / "small.yaml").write_text(SUITE.format(seeds=seeds, steps=steps))


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts `marlbench ...` in a session of its own; what is left of these at the end is killed."""
    started: list[subprocess.Popen[str]] = []
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("MARLBENCH_", "MLFLOW_"))
    }

    def start_one(
        *arguments: str, env: dict[str, str] | None = None, prefix: Sequence[str] = (), **options: Any
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "marlbench", *arguments],
            cwd=folder,
            env={**clean, "OMP_NUM_THREADS": "1", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.poll() is None:
            for one in (*psutil.Process(process.pid).children(recursive=True), process):
                one.kill()
        process.communicate()


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    if reason := why_not():
        pytest.skip(reason)
    one = Team()
    try:
        one.start()
        yield one
    finally:
        one.stop()
