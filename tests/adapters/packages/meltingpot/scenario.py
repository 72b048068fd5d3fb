"""One scenario: a substrate of three of whom two are played by bots."""

from __future__ import annotations

from typing import Any

from meltingpot import substrate

SCENARIOS = frozenset({"small_pond_0"})


def build(name: str) -> Any:
    return substrate.build("small_pond", roles=["tall"])
