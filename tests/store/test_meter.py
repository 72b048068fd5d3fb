"""What a training costs is measured beside it, survives interruptions, and changes nothing of the outcome."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from marlbench.store.store import Store

from .conftest import Server, content
from .fake_cells import make_cell

CELLS = [make_cell(0, steps=60, delay=0.01, replay=7)]


def execution(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = Store.open(root).result(CELLS[0].id)["execution"]
    return found


def test_a_metered_job_has_the_same_outcome_and_says_what_it_cost(server: Server, machine: Path) -> None:
    plain, metered = machine / "plain", machine / "metered"
    assert server.run(plain, CELLS) == 0
    assert server.run(metered, CELLS, meter=True) == 0
    assert content(metered, CELLS) == content(plain, CELLS)
    assert "calibration" not in execution(plain)
    assert execution(metered)["calibration"] == {"version": 1, "loops": 60.0}


def test_the_cost_of_work_that_was_lost_does_not_count(server: Server, machine: Path) -> None:
    # A checkpoint every seven steps; what came after the last one before the kill is done twice.
    assert server.run(machine, CELLS, meter=True, at_step=25, signal=signal.SIGKILL) < 0
    assert server.run(machine, CELLS, meter=True) == 0
    assert execution(machine)["calibration"]["loops"] == 60.0


def test_half_a_measurement_is_none(server: Server, machine: Path) -> None:
    assert server.run(machine, CELLS, at_step=25, signal=signal.SIGTERM) == 143
    assert server.run(machine, CELLS, meter=True) == 0
    assert "calibration" not in execution(machine)
