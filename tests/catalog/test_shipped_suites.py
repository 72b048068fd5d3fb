"""The suites that come with marlbench can run."""

from __future__ import annotations

import importlib.util

import pytest

from marlbench.catalog.lookup import packaged_directory
from marlbench.catalog.matrix import resolve
from marlbench.catalog.validation import check_suite

SUITES = sorted(packaged_directory().rglob("*.yaml"))


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_every_cell_resolves_and_everything_can_be_built(file: object) -> None:
    if importlib.util.find_spec("mpe2") is None:
        pytest.skip("mpe2 is not installed: pip install 'marlbench[mpe]'")
    assert check_suite(str(file), build=True)["cells"]["full"] > 0


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_scores_name_their_source(file: object) -> None:
    if importlib.util.find_spec("mpe2") is None:
        pytest.skip("mpe2 is not installed: pip install 'marlbench[mpe]'")
    for group in resolve([str(file)]).groups:
        assert len(group.cell.score["source"]) > 10, group.cell.task
