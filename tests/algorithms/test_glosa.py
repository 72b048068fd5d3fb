"""The advisory rule, situation by situation; and which tasks it refuses."""

from __future__ import annotations

import pytest
import torch

from marlbench.algorithms.base import Setting
from marlbench.algorithms.glosa import Glosa
from marlbench.environments.contract import Continuous, Discrete, EnvironmentSpecification, Step
from marlbench.errors import ConfigurationError

CPU = torch.device("cpu")
FEATURES = (
    "context.speed_limit",
    "edge.incoming",
    "speed",
    "stop_line",
    "signal.green",
    "signal.remaining",
    "signal.second_green",
)


def setting(action: Continuous | Discrete, features: tuple[str, ...] = FEATURES) -> Setting:
    return Setting(
        EnvironmentSpecification(("one",), len(features), 1, action, features=features), (0,), 1, 1, CPU
    )


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        # speed, metres to the stop line, green, seconds left, seconds to the second green; limit 15 m/s.
        ((10.0, 100.0, 1.0, 30.0, 60.0), 2.6),  # in time: accelerate
        ((15.0, 100.0, 1.0, 30.0, 60.0), 0.0),  # in time, at the limit
        ((10.0, 200.0, 1.0, 3.0, 39.0), -1.5),  # misses green: 200 m in 40 s are 5 m/s, braked gently
        ((10.0, 200.0, 0.0, 19.0, 60.0), 0.0),  # red for 19 s: 200 m in 20 s are 10 m/s
        ((10.5, 200.0, 0.0, 19.0, 60.0), -0.5),
        ((5.0, 20.0, 0.0, 59.0, 99.0), 0.0),  # nobody is advised to crawl
        ((10.0, 400.0, 0.0, 9.0, 60.0), 2.6),  # green by the time one is there
    ],
)
def test_advice_is_what_the_rule_says(situation: tuple[float, ...], expected: float) -> None:
    speed, distance, green, remaining, second = situation
    told = [1.0, 1.0, speed / 15, -distance / 250, green, remaining / 100, second / 100]
    observation = torch.tensor(told).view(1, 1, -1)
    nothing = torch.zeros(1, 1)
    step = Step(
        observation, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, False,
        observation, nothing, nothing,
    )  # fmt: skip
    policy = Glosa(setting(Continuous(1, -20.0, 10.0)), Glosa.Hyperparameters()).policy
    action, _ = policy.act(step, None, nothing, "greedy")
    assert action.shape == (1, 1, 1)
    assert float(action) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "given", [setting(Continuous(1), ("speed",)), setting(Discrete(3)), setting(Continuous(2))]
)
def test_other_tasks_are_refused(given: Setting) -> None:
    with pytest.raises(ConfigurationError, match="glosa needs observations"):
        Glosa(given, Glosa.Hyperparameters())
