"""What a store and its MLflow hold, and the processes of a command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import psutil


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The process and everything it started that is still there."""
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(process: psutil.Process) -> None:
    """kill -9."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def results(store: Path) -> dict[str, dict[str, Any]]:
    """Every result of a store, by cell id."""
    return {path.parent.name: json.loads(path.read_text()) for path in store.glob("cells/*/result.json")}


def curves(store: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Every run in the store's MLflow: cell id -> metric -> its points. Two runs of one cell are an error."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id], max_results=1000):
            cell = run.data.tags.get("marlbench.cell_id")
            if cell is None or run.data.tags.get("marlbench.superseded"):
                continue
            assert cell not in found, f"two runs of cell {cell}"
            found[cell] = {
                name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
            }
    return found


def assert_same(store: Path, calm: Path) -> None:
    """Outcomes and parameters of two stores are equal bit for bit, and MLflow has each of them once."""
    import torch

    expected, got = results(calm), results(store)
    assert got.keys() == expected.keys()
    for cell, result in got.items():
        assert result["outcome"] == expected[cell]["outcome"]
        ours, theirs = (
            torch.load(root / "cells" / cell / "policy.pt", weights_only=True) for root in (store, calm)
        )
        assert ours.keys() == theirs.keys()
        for part in ("best", "last"):
            assert ours[part].keys() == theirs[part].keys()
            for name, tensor in ours[part].items():
                assert torch.equal(tensor, theirs[part][name])
    projected, reference = curves(store), curves(calm)
    assert projected.keys() == set(expected)
    for cell, metrics in projected.items():
        assert metrics.keys() == reference[cell].keys()
        for name, points in metrics.items():
            steps = [step for step, _ in points]
            assert len(steps) == len(set(steps)), f"{name} of {cell} has a doubled point"
            if not name.startswith("perf/"):
                assert sorted(points) == sorted(reference[cell][name])
