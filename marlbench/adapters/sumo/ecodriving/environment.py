"""Eco-driving as a batched environment."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from marlbench.adapters.games import Rules
from marlbench.adapters.sumo.ecodriving.contexts import contexts, data_hash
from marlbench.adapters.sumo.ecodriving.parameters import EcoDrivingParameters
from marlbench.adapters.sumo.environment import SumoEnvironment
from marlbench.environments.contract import AnyParameters, Step


class EcoDriving(SumoEnvironment):
    """See docs/traffic_eco_driving.md for contexts, observations, reward and measures.

    Controlled vehicles near the intersection are the agents; an agent whose slot is empty does not act. Each episode
    draws a context of those to train on, in evaluations of those that are held out.
    """

    Parameters: ClassVar[type[AnyParameters]] = EcoDrivingParameters
    row = "marlbench.adapters.sumo.ecodriving.row:EcoDrivingRow"

    @classmethod
    def data_hashes(cls, parameters: AnyParameters) -> dict[str, str]:
        assert isinstance(parameters, EcoDrivingParameters)
        return {} if parameters.data is None else {"data": data_hash(Path(parameters.data))}

    @classmethod
    def for_evaluation(cls, parameters: AnyParameters) -> AnyParameters:
        assert isinstance(parameters, EcoDrivingParameters)
        return parameters.model_copy(update={"split": parameters.evaluate_on})

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        if importlib.util.find_spec("libsumo") is None:
            return []
        short: dict[str, Any] = {
            "contexts": 2,
            "duration": 22.5,
            "warm_up": 20.0,
            "approach_length": (60.0, 80.0),
        }
        return [
            EcoDrivingParameters(slots=3, controlled_share=0.8, lanes=(1, 2), inflow=(500.0, 900.0), **short),
        ]

    def rules(self, parameters: Any) -> Rules:
        assert isinstance(parameters, EcoDrivingParameters)
        told = {"settings": parameters.settings, "contexts": contexts(parameters, parameters.split)}
        return self.sumo_rules("eco_driving", told, parameters.steps, fixed_agents=False)

    def step(self, action: Tensor) -> Step:
        if not action.is_floating_point():
            # Built-in players are whole numbers; there is one, which leaves every vehicle to SUMO.
            action = torch.full((*action.shape, 1), torch.nan, device=self.device)
        return super().step(action)
