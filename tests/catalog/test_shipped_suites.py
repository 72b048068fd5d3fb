"""The suites that come with marlbench can run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from marlbench.catalog.lookup import STUDIES, packaged_directory
from marlbench.catalog.suite import load_suite
from marlbench.catalog.validation import check_suite

SUITES = sorted(packaged_directory().rglob("*.yaml"))
# Suites of packages that not everybody has, and that take minutes to be built for all tasks.
NEEDED = {"smax": "jaxmarl", "traffic_signals": "sumo_rl", "traffic_eco_driving": "libsumo"}
# What is compiled for minutes when it is built.
COMPILED = {"smax"}


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_every_cell_resolves_and_everything_can_be_built(file: Path) -> None:
    if importlib.util.find_spec("mpe2") is None:
        pytest.skip("mpe2 is not installed: pip install 'marlbench[mpe]'")
    needed = NEEDED.get(file.stem)
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    # Every algorithm at every point of a study's grid would take minutes; presets and claims are checked.
    build = file.parent.name != STUDIES and file.stem not in COMPILED
    assert check_suite(str(file), build=build)["cells"]["full"] > 0


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_scores_name_their_source(file: Path) -> None:
    for name, task in load_suite(str(file)).suite.tasks.items():
        assert len(task.score.source) > 10, name
