"""Trainers under test may use the simulators of this folder by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from marlbench import plugins

from . import simulators


@pytest.fixture(autouse=True)
def _simulators(monkeypatch: pytest.MonkeyPatch) -> None:
    real = plugins.plugins

    def with_ours(group: str) -> dict[str, plugins.Plugin]:
        found = dict(real(group))
        if group == "environments":
            for name, attribute in (("ragged", "Ragged"), ("turns", "Turns")):
                target = f"{simulators.__name__}:{attribute}"
                entry = EntryPoint(name, target, "marlbench.environments")
                found[name] = plugins.Plugin(group, name, target, "tests", entry)
        return found

    monkeypatch.setattr(plugins, "plugins", with_ours)
