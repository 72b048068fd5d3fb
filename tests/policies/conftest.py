"""Small stores whose cells are trained here and now, without processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from marlbench.catalog.cell import Cell
from marlbench.catalog.matrix import Matrix, resolve
from marlbench.cli import main
from marlbench.cli.run_job import make_trainer
from marlbench.store.job import run
from marlbench.store.job_training import Settings
from marlbench.store.process import Guard
from marlbench.store.store import Store

Typed = Callable[..., tuple[int, str, str]]

SUITE = """\
schema: 1
suite: tiny
title: Two tasks, three methods, two seeds
rows: 4
seeds: 2
steps: 512
protocol: {kind: episodic, policy: greedy, evaluations: 2, episodes: 3, absolute_episodes: 8}
algorithms:
  random: {}
  iql: {hyperparameters: {replay_steps: 400, learning_starts: 50, hidden: [16]}}
  ippo: {hyperparameters: {rollout_length: 24, hidden: [16], epochs: 1}}
tasks:
  spread:
    environment: simple_spread
    parameters: {episode_length: 6}
    score: {metric: return_mean, low: -40.0, high: -10.0, source: the test}
  stag:
    environment: matrix_game:stag_hunt
    parameters: {rounds: 5}
    score: {metric: return_mean, low: 0.0, high: 20.0, source: the test}
"""


def train(
    store: Store, cells: Sequence[Cell], settings: Settings | None = None, seeds_per_job: int = 2
) -> None:
    """Train what is not done of the cells, in this process."""
    for job in store.claim(cells, 1, seeds_per_job):
        (job.directory).mkdir(parents=True, exist_ok=True)
        told: list[str] = []
        code = run(store, job.id, list(job.cells), make_trainer, settings or Settings(), Guard(), told.append)
        assert code == 0, told


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Matrix]:
    """A directory with `tiny.yaml` and its whole matrix done in ./results; to be read only."""
    root = tmp_path_factory.mktemp("tiny")
    (root / "tiny.yaml").write_text(SUITE)
    matrix = resolve([str(root / "tiny.yaml")])
    train(Store.open(root / "results", create=True), matrix.cells)
    return root, matrix


@pytest.fixture
def typed(
    tiny: tuple[Path, Matrix], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Typed:
    """Types a command line in the directory of `tiny`; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tiny[0])
    monkeypatch.setenv("COLUMNS", "160")
    for name in (
        "MARLBENCH_SUITES",
        "MARLBENCH_RESULTS",
        "MLFLOW_TRACKING_URI",
        "DISPLAY",
        "WAYLAND_DISPLAY",
    ):
        monkeypatch.delenv(name, raising=False)

    def type_in(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(words)
        captured = capsys.readouterr()
        return (end.value.code if isinstance(end.value.code, int) else 0), captured.out, captured.err

    return type_in
