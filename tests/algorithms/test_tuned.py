"""Tuned settings are settings that their method has, and say where they come from."""

from __future__ import annotations

import json

import pytest

from marlbench.plugins import load, plugins

TUNED = [
    (name, settings)
    for name in sorted(plugins("algorithms"))
    for settings in load("algorithms", name).settings
]


@pytest.mark.parametrize(("name", "settings"), TUNED)
def test_settings_are_valid_and_have_a_source(name: str, settings: str):
    method = load("algorithms", name)
    found = method.settings[settings]
    resolved = method.Hyperparameters.model_validate_json(
        json.dumps(dict(found.hyperparameters)), strict=True
    )
    assert resolved != method.Hyperparameters()
    assert any(label in found.source for label in ("[code]", "[paper]", "[unverified]"))
