"""Makes the dummy packages importable, here and in worker processes, and builds environments of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marlbench.adapters.pettingzoo import PettingZooEnvironment, PettingZooParameters

from .support import CPU, Make


@pytest.fixture(autouse=True)
def dummy_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent / "packages")


@pytest.fixture
def make() -> Iterator[Make]:
    built: list[PettingZooEnvironment] = []

    def build(
        kind: str = "Counting", rows: int = 3, arguments: dict[str, Any] | None = None, **parameters: Any
    ) -> PettingZooEnvironment:
        values = {
            "package": "dummy_tasks",
            "kwargs": {"kind": kind, **(arguments or {})},
            "workers": 0,
            **parameters,
        }
        environment = PettingZooEnvironment(PettingZooParameters(**values), rows, CPU)
        built.append(environment)
        return environment

    yield build
    for environment in built:
        environment.close()
