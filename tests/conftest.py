"""Settings of every test."""

from __future__ import annotations

import os

# Small tensors: more threads than one only wait for each other, and bits depend on how work is split.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# Machines are shared and noisy: a time limit for an example would fail for no reason of ours.
settings.register_profile("marlbench", deadline=None)
settings.load_profile("marlbench")
