"""`marlbench doctor smac`: whether the `sc2` backend finds the game, maps and packages, and a battle begins."""

from __future__ import annotations

import time
from collections.abc import Iterator

from marlbench.adapters.sc2 import installation, scenarios
from marlbench.checks import Check, Status
from marlbench.errors import MarlbenchError

_AREA = "StarCraft II"
# One for each package.
_TRIED = ("terran_5_vs_5", "3m")


def check() -> Iterator[Check]:
    """The game, its version, all maps, packages, protobuf; then, where these are there, a battle of each package."""
    from marlbench.environments.smac.scenarios import SCENARIOS

    fit = True
    for finding in installation.findings(SCENARIOS):
        fit &= finding.ok or not finding.fatal
        status = Status.OK if finding.ok else Status.BROKEN if finding.fatal else Status.WARNING
        yield Check(_AREA, finding.name, status, finding.detail, finding.hint)
    if fit:
        for scenario in _TRIED:
            yield _battle(scenario)


def _battle(scenario: str) -> Check:
    """Start the game, step it once and end it."""
    import torch

    from marlbench.adapters.sc2.environment import Sc2, Sc2Parameters

    name, began = f"battle ({scenarios.package(scenario)})", time.monotonic()
    try:
        environment = Sc2(Sc2Parameters(scenario=scenario), 1, torch.device("cpu"))
        try:
            step = environment.reset(torch.zeros(1, dtype=torch.int64))
            environment.step(step.available_actions.to(torch.int64).argmax(2))
        finally:
            environment.close()
    except MarlbenchError as error:
        return Check(_AREA, name, Status.BROKEN, str(error), error.hint)
    return Check(_AREA, name, Status.OK, f"{scenario} was begun within {time.monotonic() - began:.0f} s")
