"""The stubs of the packages, and a folder that looks like an installed game whose binary is the stand-in."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from marlbench.adapters.sc2 import installation
from marlbench.adapters.sc2.environment import Sc2, Sc2Parameters

HERE = Path(__file__).parent
CPU = torch.device("cpu")
Make = Callable[..., Sc2]


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[dict[str, Any]]], Path]:
    """Write what launches suffer, one entry for each; a launch leaves a file in the folder that comes back."""
    folder = tmp_path / "faults"

    def write(suffered: list[dict[str, Any]]) -> Path:
        folder.mkdir(exist_ok=True)
        for file in folder.iterdir():
            file.unlink()
        (folder / "faults.json").write_text(json.dumps(suffered))
        return folder

    write([])
    monkeypatch.setenv("STUB_FAULTS", str(folder))
    monkeypatch.setenv("STAND_IN_FAULTS", str(folder))
    return write


@pytest.fixture
def make() -> Iterator[Make]:
    """Builds environments, which are closed at the end."""
    built: list[Sc2] = []

    def build(scenario: str = "terran_5_vs_5", rows: int = 1, **parameters: Any) -> Sc2:
        environment = Sc2(Sc2Parameters(scenario=scenario, **parameters), rows, CPU)
        built.append(environment)
        return environment

    yield build
    for environment in built:
        environment.close()


@pytest.fixture
def stubs(
    monkeypatch: pytest.MonkeyPatch, faults: Callable[[list[dict[str, Any]]], Path]
) -> Callable[[list[dict[str, Any]]], Path]:
    """The stubs instead of the packages, here and in workers; nothing is asked of the machine."""
    monkeypatch.syspath_prepend(HERE / "stubs")
    monkeypatch.setattr(installation, "require", lambda scenario: None)
    return faults


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SC2PATH with the stand-in as its binary, and all maps."""
    from marlbench.environments.smac.scenarios import SCENARIOS
    from marlbench.environments.smac.units import KINDS

    root = tmp_path / "StarCraftII"
    binary = root / "Versions" / "Base75689" / "SC2_x64"
    binary.parent.mkdir(parents=True)
    binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{HERE / "stand_in.py"}" "$@"\n')
    binary.chmod(0o755)
    maps = root / "Maps" / "SMAC_Maps"
    maps.mkdir(parents=True)
    (maps / "32x32_flat.SC2Map").write_text(json.dumps({"allies": [], "enemies": []}))
    for scenario in SCENARIOS.values():
        if scenario.ally_team is not None and scenario.enemy_team is not None:
            teams = {"allies": scenario.ally_team, "enemies": scenario.enemy_team}
            told = {side: [KINDS[kind].name for kind in team] for side, team in teams.items()}
            (maps / f"{scenario.name}.SC2Map").write_text(json.dumps(told))
    monkeypatch.setenv("SC2PATH", str(root))
    return root


@pytest.fixture
def packages(
    game: Path, faults: Callable[[list[dict[str, Any]]], Path]
) -> Callable[[list[dict[str, Any]]], Path]:
    """The real smacv2 and smac with the stand-in as their game; skips where they cannot be imported."""
    for name in ("smacv2", "smac", "pysc2", "s2clientprotocol"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed; it is on GitHub alone, or needs what is")
    for finding in installation.findings(["terran_5_vs_5", "3m"]):
        if finding.fatal and not finding.ok:
            pytest.skip(f"{finding.name}: {finding.detail}")
    return faults
