"""The hash of the code behind a run."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from marlbench.analysis.fingerprint import fingerprint
from marlbench.catalog.matrix import resolve


def test_it_changes_with_the_code_of_marlbench_and_of_plug_ins_alone(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "somebody"
    package.mkdir()
    (package / "__init__.py").write_text("class Somebody:\n    pass\n")
    copy = tmp_path / "marlbench_copy"
    copy.mkdir()
    (copy / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    # The tree this runs in may be edited while it runs: a package of the test stands for it.
    monkeypatch.setattr("marlbench.analysis.fingerprint.OURS", "marlbench_copy")
    matrix = resolve(["small"], tasks=["walk"])
    importlib.invalidate_caches()
    monkeypatch.setattr(
        "marlbench.plugins.load", lambda group, name: importlib.import_module("somebody").Somebody
    )
    first = fingerprint(matrix)
    assert len(first) == 64
    (tmp_path / "unrelated.py").write_text("")
    (package / "notes.txt").write_text("")
    assert fingerprint(matrix) == first
    (package / "__init__.py").write_text("class Somebody:\n    other = 1\n")
    second = fingerprint(matrix)
    assert second != first
    (copy / "more.py").write_text("")
    assert fingerprint(matrix) not in (first, second)
