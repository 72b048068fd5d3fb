"""One row of eco-driving in the tests' own process."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.arrays import carve, size
from marlbench.adapters.games import Rules
from marlbench.adapters.parallel_rows import layout
from marlbench.adapters.sumo.ecodriving.contexts import contexts
from marlbench.adapters.sumo.ecodriving.parameters import EcoDrivingParameters
from marlbench.adapters.sumo.ecodriving.row import EcoDrivingRow

SHORT: dict[str, Any] = {
    "contexts": 2,
    "duration": 85.0,
    "warm_up": 25.0,
    "approach_length": (100.0, 150.0),
    "inflow": (600.0, 900.0),
    "slots": 8,
}


class Driven:
    """A row with arrays of its own. Use as a context: libsumo has room for one in a process."""

    def __init__(self, options: list[str] | None = None, **parameters: Any) -> None:
        self.parameters = EcoDrivingParameters(**{**SHORT, **parameters})
        told = {
            "settings": self.parameters.settings,
            "contexts": contexts(self.parameters, self.parameters.split),
            "options": options or [],
        }
        self.row = EcoDrivingRow(Rules("libsumo", told, id="eco_driving", alone=True, keeps_actions=True))
        fields = layout(self.row.description, 1)
        self.arrays = carve(bytearray(size(fields)), fields)
        self.row.attach({name: array[0] for name, array in self.arrays.items()}, self.arrays, 0)

    def __enter__(self) -> Driven:
        return self

    def __exit__(self, *_: object) -> None:
        self.row.close()

    def begin(self, seed: int) -> None:
        self.arrays["upcoming"][0] = seed
        self.row.begin(seed)

    def step(self, acceleration: float | NDArray[Any]) -> None:
        self.arrays["action"][0, :, 0] = acceleration
        self.row.step()

    def episode(self, seed: int, acceleration: float = np.nan) -> dict[str, float]:
        """Drive a whole episode; its measures."""
        self.begin(seed)
        for _ in range(self.parameters.steps):
            self.step(acceleration)
        assert self.arrays["ended"][0]
        return dict(zip(self.row.description.metrics, self.arrays["metrics"][0].tolist(), strict=True))
