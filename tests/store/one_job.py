"""Run one job of a store with the fake trainer: ROOT JOB CHECKPOINT_SECONDS."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fakes import FakeTrainer

from marlbench.store import job as jobs
from marlbench.store.job_training import Settings
from marlbench.store.process import leave

if __name__ == "__main__":
    root, job_id, checkpoint_seconds = sys.argv[1:]
    leave(jobs.main(Path(root), job_id, FakeTrainer, Settings(checkpoint_seconds=float(checkpoint_seconds))))
