"""Two commands on one fresh store at once: they share the work, and nothing is done twice."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from .support import curves, results


def test_two_runs_of_the_same_matrix_share_the_work(
    suite: Path, command: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    arguments = ("run", str(suite), "--steps", "4000", "--jobs", "1", "--json", "--results", str(store))
    first, second = command(*arguments), command(*arguments)
    summaries = []
    for process in (first, second):
        output, talk = process.communicate(timeout=300)
        assert process.returncode == 0, talk
        summaries.append(json.loads(output))
    assert [summary["done"] for summary in summaries] == [12, 12]
    found = results(store)
    assert len(found) == 12
    assert {result["execution"]["attempts"] for result in found.values()} == {1}
    assert {len(list(path.glob("*.json"))) for path in store.glob("cells/*/attempts")} == {1}
    assert curves(store).keys() == found.keys()


def test_runs_that_overlap_in_some_seeds_train_no_cell_twice(
    suite: Path, command: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    common = ("run", str(suite), "--steps", "4000", "--algorithm", "iql", "--task", "stag", "--json")
    processes = [
        command(*common, "--seeds", seeds, "--results", str(store)) for seeds in ("0-3", "2-5", "1,4")
    ]
    for process in processes:
        output, talk = process.communicate(timeout=300)
        assert process.returncode == 0, talk
        assert json.loads(output)["failed"] == 0
    found = results(store)
    assert {result["identity"]["seed"] for result in found.values()} == set(range(6))
    assert len(found) == 6
    assert {result["execution"]["attempts"] for result in found.values()} == {1}
