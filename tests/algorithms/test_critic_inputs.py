"""What critics see, agent by agent."""

from __future__ import annotations

import pytest
import torch

from marlbench.algorithms.agent_identity import AgentIdentity
from marlbench.algorithms.critic_inputs import CriticInputs
from marlbench.algorithms.sharing import Sharing
from marlbench.environments.contract import Discrete, EnvironmentSpecification
from marlbench.errors import ConfigurationError

CPU = torch.device("cpu")
AGENTS, FEATURES, STATE = 3, 4, 5


def specification(image: tuple[int, int, int] | None = None) -> EnvironmentSpecification:
    names = tuple(f"agent_{agent}" for agent in range(AGENTS))
    return EnvironmentSpecification(names, FEATURES, STATE, Discrete(2), image=image)


def identity(asked: bool) -> AgentIdentity:
    return AgentIdentity(asked, Sharing("shared", AGENTS, CPU), CPU)


@pytest.mark.parametrize("sees", ["observation", "state", "state_and_observation", "observations"])
@pytest.mark.parametrize("asked", [False, True])
def test_features(sees, asked) -> None:
    inputs = CriticInputs(sees, specification(), identity(asked))
    observation, state = torch.randn(2, 7, AGENTS, FEATURES), torch.randn(2, 7, STATE)
    found = inputs(observation, state, None)
    assert found.shape == (2, 7, AGENTS, inputs.size)
    for agent in range(AGENTS):
        own = observation[1, 4, agent]
        expected = {
            "observation": own,
            "state": state[1, 4],
            "state_and_observation": torch.cat([own, state[1, 4]]),
            "observations": observation[1, 4].flatten(),
        }[sees]
        if asked:
            expected = torch.cat([expected, torch.eye(AGENTS)[agent]])
        assert torch.equal(found[1, 4, agent], expected)


@pytest.mark.parametrize("asked", [False, True])
def test_the_state_once_for_all(asked: bool) -> None:
    inputs = CriticInputs("team_state", specification(), identity(asked))
    state = torch.randn(2, 7, STATE)
    found = inputs(torch.randn(2, 7, AGENTS, FEATURES), state, None)
    assert inputs.size == STATE
    assert torch.equal(found, state.unsqueeze(2))


def test_who_does_not_act_is_zeros_and_an_identity() -> None:
    inputs = CriticInputs("state_and_observation", specification(), identity(True))
    acting = torch.tensor([[True, False, True]])
    found = inputs(torch.ones(1, AGENTS, FEATURES), torch.ones(1, STATE), acting)
    assert found[0, :, :-AGENTS].sum(-1).tolist() == [9.0, 0.0, 9.0]
    assert torch.equal(found[0, :, -AGENTS:], torch.eye(AGENTS))


def test_images() -> None:
    image = (1, 2, 2)
    assert CriticInputs("observation", specification(image), identity(False)).image == image
    assert CriticInputs("state_and_observation", specification(image), identity(False)).image == image
    assert CriticInputs("state", specification(image), identity(False)).image is None
    with pytest.raises(ConfigurationError, match="images"):
        CriticInputs("observations", specification(image), identity(False))
