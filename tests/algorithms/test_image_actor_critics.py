"""On-policy methods on images: parameters of the encoders exist, act and learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from marlbench.algorithms.actor_critic import ActorCritic
from marlbench.algorithms.base import Setting
from marlbench.algorithms.ippo import IPPO
from marlbench.algorithms.mappo import MAPPO
from marlbench.environments.contract import Continuous, Discrete, EnvironmentSpecification, Step

CPU = torch.device("cpu")
AGENTS, ROWS, MEMBERS, STATE = 2, 3, 2, 5
IMAGE = (1, 6, 6)
SEEN = 36 + 2


def shown(generator: torch.Generator, ended: bool) -> Step:
    rows = ROWS * MEMBERS
    observation = torch.rand(rows, AGENTS, SEEN, generator=generator)
    state = torch.rand(rows, STATE, generator=generator)
    yes = torch.ones(rows, AGENTS, dtype=torch.bool)
    no = ~yes
    over = yes if ended else no
    reward = torch.rand(rows, AGENTS, generator=generator)
    return Step(
        observation, state, yes.unsqueeze(-1), yes, no, reward, no, over, over[:, 0], ended, observation, state,
        yes.unsqueeze(-1),
    )  # fmt: skip


@pytest.mark.parametrize("action", [Discrete(4), Continuous(2)], ids=["discrete", "continuous"])
@pytest.mark.parametrize("units", [0, 5])
@pytest.mark.parametrize(
    ("method", "own"), [(IPPO, {}), (MAPPO, {"critic_input": "state_and_observation"}), (MAPPO, {})]
)
def test_images_are_encoded_and_learnt_from(
    method: type[ActorCritic], own: dict[str, Any], units: int, action: Any
) -> None:
    specification = EnvironmentSpecification(("a", "b"), SEEN, STATE, action, image=IMAGE)
    setting = Setting(specification, (0, 1), ROWS, 100, CPU)
    options = {"rollout_length": 4, "sequence_length": 2, "recurrent_units": units, "hidden": (8,), **own}
    algorithm = method(setting, method.Hyperparameters(**options))
    before = {name: value.detach().clone() for name, value in algorithm.stack.parameters.items()}
    assert any(name.startswith("actor.image") for name in before)
    encoded = method is IPPO or bool(own)
    assert any(name.startswith("critic.image") for name in before) == encoded
    generator = torch.Generator().manual_seed(0)
    step = shown(generator, False)
    memory = torch.zeros(ROWS * MEMBERS, AGENTS, units) if units else None
    for time in range(4):
        count = algorithm.policy.uniforms("behaviour")
        noise = algorithm.policy.noise(torch.rand(ROWS * MEMBERS, AGENTS, count, generator=generator))
        taken, after = algorithm.policy.act(step, memory, noise, "behaviour")
        following = shown(generator, time == 1)
        algorithm.observe(step, memory, taken, following)
        step, memory = following, after
    measures = algorithm.learn()
    assert all(bool(value.isfinite().all()) for value in measures.values())
    for name, value in algorithm.stack.parameters.items():
        if name.endswith("weight"):
            assert not torch.equal(value, before[name]), name
