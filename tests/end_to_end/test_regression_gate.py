"""The gate on the real reference: it passes on this tree, and fails for the right reason on trees with a fault.

A fault must not show in what identifies a cell, or the gate would rightly say "other protocol". So each is built into a
copy of the package, as a bad commit would be.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import marlbench
from marlbench.analysis.reference import find, packaged_directory, read
from marlbench.analysis.regression import groups_by_entry
from marlbench.catalog.lookup import packaged_directory as packaged_suites
from marlbench.catalog.matrix import resolve
from marlbench.catalog.selection import parse_overrides
from marlbench.errors import REGRESSION

SECONDS = 1500

# The step of every optimiser, whatever learning rate it was given.
TINY_STEPS = (
    "algorithms/adam.py",
    "value=-self.learning_rate / first_correction",
    "value=-1e-9 / first_correction",
)
# Every step of training and evaluation costs twice the processor time.
HALF_AS_FAST = (
    "training/trainer.py",
    "    def advance(self) -> list[Record]:\n",
    """\
    def advance(self) -> list[Record]:
        import time

        began = time.process_time()
        records = self._advance()
        spent = time.process_time() - began
        while time.process_time() - began < 2 * spent:
            pass
        return records

    def _advance(self) -> list[Record]:
""",
)

Check = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Runs `marlbench regress ci` on a copy of this tree with the edits; gives the exit code and the verdict."""

    def run(*edits: tuple[str, str, str]) -> tuple[int, dict[str, Any]]:
        tree = tmp_path / "tree"
        package = Path(marlbench.__file__).parent
        shutil.copytree(package, tree / "marlbench", ignore=shutil.ignore_patterns("__pycache__", "data"))
        shutil.copytree(packaged_suites(), tree / "suites")
        shutil.copytree(packaged_directory(), tree / "results" / "reference")
        for name, before, after in edits:
            path = tree / "marlbench" / name
            text = path.read_text(encoding="utf-8")
            assert text.count(before) == 1
            path.write_text(text.replace(before, after), encoding="utf-8")
        (tmp_path / "user").mkdir()
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MARLBENCH_", "GITHUB_"))}
        found = subprocess.run(
            [sys.executable, "-m", "marlbench", "regress", "ci", "--jobs", "2", "--json"],
            cwd=tmp_path / "user",
            env=environment | {"PYTHONPATH": str(tree), "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert found.stdout, found.stderr
        return found.returncode, json.loads(found.stdout)

    return run


def findings(verdict: dict[str, Any], side: str) -> dict[str, str]:
    """Of every algorithm on every task, what was found of its score or throughput."""
    return {f"{row['task']}/{row['algorithm']}": row[side]["finding"] for row in verdict["rows"]}


def test_the_reference_fits_the_suite_and_the_code() -> None:
    """Where this fails, what identifies a cell of suites/ci.yaml was changed: it needs a new reference."""
    reference = read(find("ci"))
    chosen = reference.selection
    matrix = resolve(
        [chosen.suite],
        tasks=chosen.tasks,
        algorithms=chosen.algorithms,
        steps=chosen.steps,
        preset=chosen.preset,
        overrides=parse_overrides(chosen.overrides),
    )
    groups = groups_by_entry(reference, matrix)
    assert len(groups) == len(matrix.groups)


@pytest.mark.slow
def test_it_passes_on_this_tree(check: Check) -> None:
    code, verdict = check()
    assert (code, verdict["verdict"]) == (0, "no regression")
    assert "not measured" not in {
        *findings(verdict, "score").values(),
        *findings(verdict, "throughput").values(),
    }


@pytest.mark.slow
def test_a_learning_rate_of_next_to_nothing_costs_scores(check: Check) -> None:
    code, verdict = check(TINY_STEPS)
    assert (code, verdict["verdict"]) == (REGRESSION, "regression")
    for name, finding in findings(verdict, "score").items():
        # Whoever does not learn cannot learn worse.
        assert finding == ("same" if name.endswith("/random") else "worse"), name
    assert "worse" not in findings(verdict, "throughput").values()


@pytest.mark.slow
def test_a_training_loop_at_half_its_speed_costs_throughput(check: Check) -> None:
    code, verdict = check(HALF_AS_FAST)
    assert (code, verdict["verdict"]) == (REGRESSION, "regression")
    for name, finding in findings(verdict, "throughput").items():
        assert finding in ("worse", "not judged"), name
    assert list(findings(verdict, "throughput").values()).count("not judged") <= 2
    assert set(findings(verdict, "score").values()) == {"same"}
