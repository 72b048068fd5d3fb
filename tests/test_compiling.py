"""Compiled loops where their results can be kept on disk, and where they cannot."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from numba.core import caching

SOURCE = """
from marlbench.compiling import compiled
from {neighbour} import doubled

@compiled(error_model="numpy")
def total(values):
    found = 0.0
    for value in values:
        found += doubled(value)
    return found
"""
NEIGHBOUR = """
import numba

@numba.njit
def doubled(value):
    return {factor} * value
"""


def imported(folder: Path, name: str) -> Any:
    specification = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def written(folder: Path, factor: int, name: str = "neighbour_of_total") -> None:
    (folder / f"{name}.py").write_text(NEIGHBOUR.format(factor=factor))
    (folder / "totals.py").write_text(SOURCE.format(neighbour=name))


def test_what_was_compiled_is_kept_beside_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    written(tmp_path, 2)
    assert imported(tmp_path, "totals").total((1.0, 2.0)) == 6.0
    assert list((tmp_path / "__pycache__").glob("totals.total-*.nbc"))
    again = imported(tmp_path, "totals").total
    assert again((1.0, 2.0)) == 6.0
    assert sum(again.stats.cache_hits.values()) == 1


def test_where_nothing_can_be_written_every_process_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that may only be read, and a home that may not either: no cache, and the same results."""
    tried = []

    def refused(self: Any) -> None:
        tried.append(self.get_cache_path())
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", refused)
    monkeypatch.syspath_prepend(str(tmp_path))
    written(tmp_path, 3, "other_neighbour")
    assert imported(tmp_path, "totals").total((1.0, 2.0)) == 9.0
    assert tried
    assert not list(tmp_path.rglob("*.nb*"))
