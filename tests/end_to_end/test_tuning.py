"""A real search that is killed half way comes to what it would have come to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .support import family, kill

pytest.importorskip("optuna")

SUITE = """\
schema: 1
suite: small
title: A game to tune on
rows: 4
seeds: 1
steps: 512
protocol: {kind: episodic, policy: greedy, evaluations: 2, episodes: 4, absolute_episodes: 8}
algorithms:
  ippo: {hyperparameters: {rollout_length: 16}}
tasks:
  stag:
    environment: matrix_game:stag_hunt
    parameters: {rounds: 5}
    score: {metric: payoff_mean, low: 0.0, high: 4.0, source: the test}
"""
TUNE = (
    "tune",
    "./small.yaml",
    "--algorithm",
    "ippo",
    "--budget",
    "4",
    "--jobs",
    "1",
    "--device",
    "cpu",
    "--json",
)
SPACE = ("--space", "learning_rate=log:1e-4..1e-1", "--space", "epochs=1..4", "--seeds-per-trial", "1")
SECONDS = 300


def start(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "small.yaml").write_text(SUITE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARLBENCH_")}
    return subprocess.Popen(
        [sys.executable, "-m", "marlbench", *TUNE, *SPACE],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.slow
def test_a_killed_search_goes_on(tmp_path: Path) -> None:
    calm = finish(start(tmp_path / "calm"))
    process = start(tmp_path / "killed")
    results = tmp_path / "killed" / "results"
    deadline = time.monotonic() + SECONDS
    while len(list(results.glob("cells/*/attempts/1.json"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    for one in family(process):
        kill(one)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    disturbed = finish(start(tmp_path / "killed"))
    assert disturbed["trials"] == calm["trials"]
    assert disturbed["best"] == calm["best"]
    assert len(list(results.glob("cells/*/result.json"))) == 4
