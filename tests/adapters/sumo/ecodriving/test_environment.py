"""The batch: processes, players that come with the task, the advisory rule, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("libsumo")

from marlbench.adapters.sumo.ecodriving.environment import EcoDriving
from marlbench.adapters.sumo.ecodriving.parameters import EcoDrivingParameters
from marlbench.algorithms.base import Setting
from marlbench.algorithms.built_in import BuiltIn
from marlbench.algorithms.glosa import Glosa
from marlbench.environments.contract import BatchedEnvironment
from marlbench.environments.keys import row_keys
from marlbench.errors import ConfigurationError

CPU = torch.device("cpu")


def measured(environment: BatchedEnvironment, method: Any, seed: int = 3) -> dict[str, torch.Tensor]:
    """The first episodes' measures: name -> float [row]."""
    setting = Setting(environment.specification, (0,), environment.rows, 1000, CPU)
    policy = method(setting, method.Hyperparameters()).policy
    step = environment.reset(row_keys([seed], 0, environment.rows, CPU))
    for _ in range(environment.specification.episode_limit or 0):
        action, _ = policy.act(step, None, torch.zeros(0), "greedy")
        step = environment.step(action)
    assert bool(step.ended.all())
    return step.metrics


def test_plain_driving_is_a_player_of_the_task() -> None:
    environment = EcoDriving(
        EcoDrivingParameters(
            contexts=2, duration=90.0, slots=4, approach_length=(80.0, 120.0), inflow=(500.0, 900.0)
        ),
        1,
        CPU,
    )
    try:
        told = measured(environment, BuiltIn)
    finally:
        environment.close()
    assert float(told["emission_benefit"]) == 0
    assert float(told["served"]) == float(told["served_plain"]) > 0


def test_a_missing_data_folder_is_one_message() -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        EcoDriving(EcoDrivingParameters(data="/nowhere/at/all"), 1, CPU)


@pytest.mark.slow
def test_advice_saves_emissions_without_costing_throughput() -> None:
    """What the literature says of GLOSA, on held-out contexts: some per cent."""
    environment = EcoDriving(EcoDriving.for_evaluation(EcoDrivingParameters(slots=12)), 12, CPU)
    try:
        told = measured(environment, Glosa)
    finally:
        environment.close()
    assert float(told["emission_benefit"].mean()) > 0.01
    assert float(told["throughput_success"].mean()) > 0.6
    assert float(told["standing_share"].mean()) < float(told["standing_share_plain"].mean())
