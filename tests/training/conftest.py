"""Trainers under test may use the simulators of this folder by name."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from marlbench import plugins


def _module(name: str) -> ModuleType:
    full = f"marlbench_tests_{name}"
    if full not in sys.modules:
        specification = importlib.util.spec_from_file_location(full, Path(__file__).parent / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@pytest.fixture(autouse=True)
def _simulators(monkeypatch: pytest.MonkeyPatch) -> None:
    _module("simulators")
    real = plugins.plugins

    def with_ours(group: str) -> dict[str, plugins.Plugin]:
        found = dict(real(group))
        if group == "environments":
            for name, attribute in (("ragged", "Ragged"), ("turns", "Turns")):
                target = f"marlbench_tests_simulators:{attribute}"
                entry = EntryPoint(name, target, "marlbench.environments")
                found[name] = plugins.Plugin(group, name, target, "tests", entry)
        return found

    monkeypatch.setattr(plugins, "plugins", with_ours)


@pytest.fixture
def make_cells():  # type: ignore[no-untyped-def]
    return _module("cells").make_cells
