"""Settings of every test."""

from __future__ import annotations

import os
from pathlib import Path

# Small tensors: more threads than one only wait for each other, and bits depend on how work is split.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# Machines are shared and noisy: a time limit for an example would fail for no reason of ours.
settings.register_profile("marlbench", deadline=None)
settings.load_profile("marlbench")

SUITE = """\
schema: 1
suite: {name}
title: One task, one method, two seeds
rows: 2
seeds: 2
steps: 40
protocol: {{kind: episodic, policy: sampled, evaluations: 2, episodes: 2, absolute_episodes: 2}}
algorithms:
  random: {{}}
tasks:
  stag:
    environment: matrix_game:stag_hunt
    score: {{metric: return_mean, low: 0.0, high: 20.0, source: the test}}
"""


@pytest.fixture
def two_suites(tmp_path: Path) -> Path:
    """A directory with the suites `first` and `second`: alike, of one task and one method."""
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text(SUITE.format(name=name))
    return tmp_path
