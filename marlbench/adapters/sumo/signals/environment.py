"""The signals of a network as agents: RESCO's networks, or one's own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marlbench.adapters.games import Rules
from marlbench.adapters.sumo.environment import SumoEnvironment
from marlbench.adapters.sumo.signals.parameters import SignalsParameters
from marlbench.adapters.sumo.signals.picture import delay_picture, moment_picture, queue_picture
from marlbench.adapters.sumo.signals.row import Told
from marlbench.adapters.sumo.signals.watching import Map
from marlbench.environments.contract import AnyParameters
from marlbench.environments.files import content_hash


class Signals(SumoEnvironment):
    """`signals:cologne1`, a network of RESCO (Ault and Sharon 2021), or `network_file` and `route_file` of your own.

    Every signal with a choice of green phases is an agent, whose action is its next phase. See docs/traffic_signals.md
    for observations, rewards, players and measures.
    """

    argument = "network"
    keeps_artifacts = True
    Parameters = SignalsParameters
    row = "marlbench.adapters.sumo.signals.row:SignalsRow"

    @classmethod
    def data_hashes(cls, parameters: AnyParameters) -> dict[str, str]:
        assert isinstance(parameters, SignalsParameters)
        hint = "`network_file` and `route_file` name files, relative to the suite file."
        network, routes = parameters.files
        return {
            "network": content_hash(network, "the network", hint),
            "routes": content_hash(routes, "the demand", hint),
        }

    @classmethod
    def for_evaluation(cls, parameters: AnyParameters) -> AnyParameters:
        assert isinstance(parameters, SignalsParameters)
        return parameters.model_copy(update={"road_delays": True})

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        if any(importlib.util.find_spec(package) is None for package in ("libsumo", "sumo_rl")):
            return []
        # Signals that differ, and masks.
        return [SignalsParameters(network="cologne3", end=25_240, minimum_green=20, reward="pressure")]

    def __init__(self, parameters: SignalsParameters, rows: int, device: torch.device) -> None:
        self._title = parameters.title
        self._maps: dict[int, Map] = {}
        super().__init__(parameters, rows, device)

    def rules(self, parameters: SignalsParameters) -> Rules:
        self.data_hashes(parameters)
        network, routes = parameters.files
        own: dict[str, Any] = {"network_file": str(network), "route_file": str(routes)}
        kwargs = {field.name: own.get(field.name, getattr(parameters, field.name)) for field in fields(Told)}
        return self.sumo_rules(f"signals:{parameters.title}", kwargs, parameters.decisions)

    def render(self, row: int) -> NDArray[np.uint8]:
        """The network with the queues of this moment."""
        return self.record(row)()

    def record(self, row: int) -> Callable[[], NDArray[np.uint8]]:
        drawn = self._map(row)
        moment = self.workers.tell(row, "moment")
        return lambda: moment_picture(self._title, drawn, moment)

    def artifacts(self, row: int) -> Mapping[str, NDArray[np.uint8]]:
        """Queues over time; the network with its mean delays, where the row was drawn from the beginning on."""
        drawn, story = self._map(row), self.workers.tell(row, "story")
        pictures = {"queues.png": queue_picture(self._title, list(self.specification.agents), story)}
        if story.delays:
            pictures["delays.png"] = delay_picture(self._title, drawn, story)
        return pictures

    def _map(self, row: int) -> Map:
        if row not in self._maps:
            self.workers.tell(row, "watch")
            self._maps[row] = self.workers.tell(row, "map")
        return self._maps[row]
