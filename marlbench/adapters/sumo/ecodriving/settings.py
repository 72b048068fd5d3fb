"""What the control loop in a worker is told: numbers alone, so that neither torch nor pydantic is needed there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Emissions = Literal["HBEFA4", "PHEMlight5"]


@dataclass(frozen=True)
class Settings:
    """Of episodes; see `EcoDrivingParameters`, whose names these are.

    Attributes:
        steps: decisions of an episode.
        warm_up_steps: before them.
    """

    slots: int
    approaches: Literal["one", "all"]
    controlled_share: float
    electric_share: float
    reference: Literal["controlled", "human"]
    emissions: Emissions
    duration: float
    step_length: float
    stop_penalty: float
    emission_penalty: float
    steps: int
    warm_up_steps: int
