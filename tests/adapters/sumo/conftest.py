"""Simulations of signals in this process, and a small network of one's own."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if any(importlib.util.find_spec(package) is None for package in ("libsumo", "sumo", "sumo_rl")):
    pytest.skip("marlbench[traffic] is not installed", allow_module_level=True)

import torch

from marlbench.adapters.arrays import Arrays, carve, size
from marlbench.adapters.parallel_rows import layout
from marlbench.adapters.sumo.installation import program
from marlbench.adapters.sumo.signals.environment import Signals
from marlbench.adapters.sumo.signals.parameters import SignalsParameters
from marlbench.adapters.sumo.signals.row import SignalsRow

CPU = torch.device("cpu")


class Played:
    """A row of signals in this process.

    Attributes:
        row: it.
        arrays: its slices, by name.
    """

    def __init__(self, parameters: SignalsParameters) -> None:
        environment = Signals.__new__(Signals)
        environment.parameters, environment._title = parameters, parameters.title
        # Workers play episodes in copies of their process; here they are played in this one.
        self.row = SignalsRow(replace(environment.rules(parameters), fresh=False))
        fields = layout(self.row.description, 1)
        whole = carve(bytearray(size(fields)), fields)
        self.arrays: Arrays = {name: array[0] for name, array in whole.items()}
        self._whole = whole
        self.row.attach(self.arrays, whole, 0)

    def begin(self, seed: int = 1) -> None:
        self._whole["seed"][:] = self._whole["upcoming"][:] = seed
        self.row.begin(seed)

    def step(self, action: Any) -> bool:
        """Take the actions; whether the episode is over, and the next has begun."""
        self.arrays["action"][:] = action
        self.row.step()
        return bool(self._whole["ended"][0])

    def play(self, action: Any, seed: int = 1) -> dict[str, float]:
        """The measures of an episode in which all signals always take the same action."""
        self.begin(seed)
        while not self.step(action):
            pass
        return dict(zip(self.row.description.metrics, self.arrays["metrics"].tolist(), strict=True))

    def draw(self, random: np.random.Generator) -> Any:
        """Available actions."""
        available = self.arrays["available_actions"]
        return [random.choice(np.flatnonzero(allowed)) for allowed in available]


@pytest.fixture
def play() -> Iterator[Callable[..., Played]]:
    """Plays one network after the other: a process has room for one simulation."""
    open_rows: list[Played] = []

    def build(**parameters: Any) -> Played:
        for played in open_rows:
            played.row.close()
        open_rows.clear()
        open_rows.append(Played(SignalsParameters(**parameters)))
        return open_rows[-1]

    yield build
    for played in open_rows:
        played.row.close()


@pytest.fixture(scope="session")
def own_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with net.net.xml, two crossings with signals, and demand.rou.xml."""
    folder = tmp_path_factory.mktemp("network")
    subprocess.run(
        [
            program("netgenerate"), "--grid", "--grid.x-number", "2", "--grid.y-number", "1", "--grid.length", "150",
            "--grid.attach-length", "120", "--default-junction-type", "traffic_light", "-o", folder / "net.net.xml",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    (folder / "demand.rou.xml").write_text(
        '<routes><flow id="east" from="left0A0" to="B0right0" begin="0" end="600" period="3"/>'
        '<flow id="north" from="bottom0A0" to="A0top0" begin="0" end="600" period="5"/></routes>'
    )
    return folder
