"""docs/starcraft.md tells of all parameters, with their defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from marlbench.adapters.sc2.environment import Sc2Parameters
from marlbench.adapters.smax.environment import SmaxParameters

PAGE = Path(__file__).parents[3] / "docs" / "starcraft.md"


@pytest.mark.parametrize(("name", "model"), [("smac.sc2", Sc2Parameters), ("smax", SmaxParameters)])
def test_parameters(name: str, model: Any) -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index(f"| `{name}` | default | meaning |") + 2
    for line, (field, found) in zip(lines[start:], model.model_fields.items(), strict=False):
        default = "required" if found.is_required() else json.dumps(found.default).strip('"')
        assert line == f"| `{field}` | `{default}` | {found.description} |"
    assert not lines[start + len(model.model_fields) :] or lines[start + len(model.model_fields)] == ""
