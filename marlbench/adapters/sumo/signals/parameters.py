"""The parameters of a task of `signals`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from marlbench.adapters.sumo.environment import SumoParameters
from marlbench.adapters.sumo.signals.networks import NETWORKS, files
from marlbench.errors import did_you_mean

Reward = Literal["waiting_change", "waiting", "queue", "pressure"]
_OF_NETWORK = (
    "begin", "end", "decision_interval", "yellow", "minimum_green", "shortest_lane", "commented_phases",
)  # fmt: skip


class SignalsParameters(SumoParameters):
    """What is simulated, and how signals are controlled. See `Signals`."""

    network: str | None = Field(
        default=None, description=f"of RESCO: {', '.join(NETWORKS)}; or own files below"
    )
    network_file: str | None = Field(
        default=None,
        description="a .net.xml of your own, relative to the suite file; its content is the identity",
        json_schema_extra={"stands_as": None, "path": True},
    )
    route_file: str | None = Field(
        default=None,
        description="the .rou.xml that goes with it",
        json_schema_extra={"stands_as": None, "path": True},
    )
    begin: int = Field(
        default=0, ge=0, description="second at which an episode begins; by default the network's"
    )
    end: int = Field(default=3_600, gt=0, description="second at which it ends; by default the network's")
    decision_interval: int = Field(
        default=10, ge=2, description="seconds between decisions; by default the network's"
    )
    yellow: int = Field(
        default=3, ge=1, description="seconds of yellow between two phases, at the beginning of an interval"
    )
    minimum_green: int = Field(
        default=5, ge=0, description="seconds that a phase is green at least; other phases are masked so long"
    )
    reward: Reward = Field(
        default="waiting_change",
        description="waiting_change: less standing time than at the decision before; waiting: RESCO's; queue, "
        "pressure: the negative number of standing vehicles, in pressure less those on the lanes behind",
    )
    departures: Literal["standing", "sumo"] = Field(
        default="standing",
        description="where the demand does not say how vehicles depart: standing, at the beginning of the first "
        "lane, as in the versions of SUMO that RESCO was made with; sumo: its present defaults, at full speed",
    )
    teleport_after: int = Field(
        default=-1,
        ge=-1,
        description="seconds after which a vehicle that is stuck is put elsewhere; -1 never, as in RESCO",
    )

    shortest_lane: float = Field(
        default=5.0,
        ge=0,
        description="metres; who waits before a shorter incoming lane stands on the lanes that lead to it, which are "
        "seen in its place; by default the network's",
        json_schema_extra={"legacy": 0.0},
    )
    commented_phases: bool = Field(
        default=False,
        description="signals also have the phases that the network's file has in comments; by default the network's",
        json_schema_extra={"legacy": False},
    )

    road_delays: bool = Field(
        default=False,
        description="SUMO notes the delays on every road, for pictures; evaluations always do; not part of a cell's "
        "identity",
        json_schema_extra={"stands_as": False},
    )

    @model_validator(mode="before")
    @classmethod
    def _of_the_network(cls, values: Any) -> Any:
        """What is not given is the network's; resolved here, so that a cell's identity tells them."""
        if not isinstance(values, dict) or values.get("network") not in NETWORKS:
            return values
        known = NETWORKS[values["network"]]
        return {**{name: getattr(known, name) for name in _OF_NETWORK}, **values}

    @model_validator(mode="after")
    def _consistent(self) -> SignalsParameters:
        own = (self.network_file, self.route_file)
        if self.network is None:
            if None in own:
                raise ValueError("give `network`, or `network_file` and `route_file`")
        elif own != (None, None):
            raise ValueError("`network` names one of RESCO's; leave it out where you bring files of your own")
        elif self.network not in NETWORKS:
            raise ValueError(f"there is no network '{self.network}'. {did_you_mean(self.network, NETWORKS)}")
        if self.end - self.begin < self.decision_interval:
            raise ValueError("`end` must be one `decision_interval` after `begin` at least")
        if self.yellow >= self.decision_interval:
            raise ValueError("`yellow` must be shorter than `decision_interval`")
        return self

    @property
    def decisions(self) -> int:
        """Of an episode: each is followed by a whole interval."""
        return (self.end - self.begin) // self.decision_interval

    @property
    def files(self) -> tuple[Path, Path]:
        """The network and the demand.

        Raises ConfigurationError where a network of RESCO is not installed.
        """
        if self.network is not None:
            return files(self.network)
        assert self.network_file is not None
        assert self.route_file is not None
        return Path(self.network_file), Path(self.route_file)

    @property
    def title(self) -> str:
        """What messages and pictures call the network."""
        return self.network or self.files[0].name.removesuffix(".net.xml")
