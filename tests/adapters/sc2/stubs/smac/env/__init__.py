"""smac's environment, for 3m."""

from __future__ import annotations

from typing import Any

from battles import Battle


class StarCraft2Env(Battle):
    def __init__(self, map_name: str, **kwargs: Any) -> None:
        assert map_name == "3m"
        super().__init__(3, 3, 60, 30, 48)
