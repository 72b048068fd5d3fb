"""What a row does that neither draws nor tells anything."""

from __future__ import annotations

from typing import Any

import pytest

from marlbench.adapters.row import Row
from marlbench.errors import ConfigurationError


class Silent(Row):
    def __init__(self) -> None:
        pass

    def begin(self, seed: int) -> None: ...

    def step(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        (Row.render, ConfigurationError, "Silent cannot be drawn"),
        (lambda row: row.tell("story"), LookupError, "Silent has nothing called 'story'"),
    ],
)
def test_it_says_so(asked: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        asked(Silent())
