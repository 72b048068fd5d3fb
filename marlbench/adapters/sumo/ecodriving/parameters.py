"""The parameters of eco-driving tasks."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from marlbench.adapters.sumo.ecodriving.settings import Emissions, Settings
from marlbench.adapters.sumo.environment import SumoParameters

Range = Annotated[tuple[float, float], Field(description="lowest and highest")]
Split = Literal["train", "held_out"]


class EcoDrivingParameters(SumoParameters):
    """See docs/traffic_eco_driving.md. Defaults are IntersectionZoo's [code] where nothing else is said."""

    data: str | None = Field(
        None,
        description="folder, relative to the suite file, with one for each intersection (net.net.xml, inflows.txt), "
        "whose content is the identity; null makes intersections with SUMO's netgenerate",
        json_schema_extra={"stands_as": None, "path": True},
    )
    held_out_share: float = Field(
        0.5, gt=0, lt=1, description="with `data`: share of the intersections that are not trained on"
    )
    contexts: int = Field(
        16,
        ge=1,
        le=4096,
        description="without `data`: intersections to train on, and as many that are held out",
    )
    context_seed: int = Field(
        0, ge=0, description="which contexts are drawn, and which of `data` are held out"
    )
    split: Split = Field(
        "train", description="contexts that are played: those to train on, or those that are held out"
    )
    evaluate_on: Split = Field("held_out", description="contexts that evaluations play")
    inflow: Range = Field((100.0, 500.0), description="without `data`: vehicles per hour and lane")
    green: Range = Field((20.0, 30.0), description="without `data`: seconds")
    red: Range = Field((20.0, 30.0), description="without `data`: seconds without amber")
    approach_length: Range = Field((50.0, 750.0), description="without `data`: metres")
    speed_limit: Range = Field((15.0, 20.0), description="without `data`: metres per second")
    lanes: tuple[int, int] = Field((1, 3), description="without `data`: fewest and most lanes of an approach")
    hour: Literal["peak", "off_peak"] = Field(
        "peak", description="with `data`: flow of an hour, 0.084 or 0.055 of the daily traffic"
    )
    approaches: Literal["one", "all"] = Field(
        "one", description="which approaches have traffic in an episode: one that is drawn, or all"
    )
    controlled_share: float = Field(1 / 3, gt=0, le=1, description="of vehicles: the penetration")
    electric_share: float = Field(0.0, ge=0, le=1, description="of controlled vehicles: they emit nothing")
    slots: int = Field(
        24, ge=1, le=256, description="agents: most controlled vehicles at a time; others drive by themselves"
    )
    reference: Literal["controlled", "human"] = Field(
        "controlled",
        description="plain driving to compare with: controlled vehicles by themselves, as they are or like humans",
    )
    emissions: Emissions = Field("HBEFA4", description="SUMO's model of emissions")
    duration: float = Field(1000.0, gt=0, description="seconds of an episode with its warm-up")
    warm_up: float = Field(25.0, ge=0, description="seconds before anything is controlled or counted")
    step_length: float = Field(0.5, gt=0, le=1, description="seconds of a step")
    stop_penalty: float = Field(
        35.0, ge=0, description="of the reward, at a speed of 0; falls to nothing at 1 m/s"
    )
    emission_penalty: float = Field(3.0, ge=0, description="of the reward, for a gram of CO2")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("inflow", "green", "red", "approach_length", "speed_limit", "lanes"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name}: the lowest must be above 0 and not above the highest")
        if self.lanes[1] > 4:
            raise ValueError("lanes: at most 4")
        if self.approach_length[0] < 30:
            raise ValueError("approach_length: at least 30 m, or netgenerate leaves no approach")
        if self.steps < 1:
            raise ValueError("duration: nothing is left of it after warm_up")
        return self

    @property
    def steps(self) -> int:
        """Decisions of an episode."""
        return round((self.duration - self.warm_up) / self.step_length)

    @property
    def settings(self) -> Settings:
        """What the control loop needs of all this."""
        warm_up = round(self.warm_up / self.step_length)
        names = Settings.__dataclass_fields__.keys() - {"steps", "warm_up_steps"}
        told = {name: getattr(self, name) for name in names}
        return Settings(**told, steps=self.steps, warm_up_steps=warm_up)
