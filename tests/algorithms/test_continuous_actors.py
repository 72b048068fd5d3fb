"""Squashed Gaussians against torch.distributions and by integration; actions in the task's range."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from marlbench.algorithms.base import Setting, StackPolicy
from marlbench.algorithms.continuous_actors import (
    DeterministicActor,
    SquashedGaussianActor,
    normalised,
    squashed_sample,
)
from marlbench.algorithms.networks import AgentNetwork
from marlbench.algorithms.sharing import Sharing
from marlbench.algorithms.stack import ParameterStack
from marlbench.environments.contract import Continuous, EnvironmentSpecification, Step
from marlbench.errors import ConfigurationError

CPU = torch.device("cpu")
BOX = Continuous(2, low=-1.0, high=3.0)
SPECIFICATION = EnvironmentSpecification(("a", "b"), observation_size=3, state_size=1, action=BOX)


def actor(made: type[Any], outputs: int, specification: EnvironmentSpecification = SPECIFICATION) -> Any:
    """An actor without hidden layers, all parameters zero, four rows."""
    setting = Setting(specification, (0,), rows=4, steps=1, device=CPU)
    network = AgentNetwork("actor", 3, (), outputs)
    stack = ParameterStack(network.layout, 1, CPU)
    return made(setting, stack, Sharing("shared", 2, CPU), network)


def shown(observation: torch.Tensor) -> Step:
    flags = torch.zeros(4, 2, dtype=torch.bool)
    return Step(
        observation=observation,
        state=torch.zeros(4, 1),
        available_actions=torch.ones(4, 2, 1, dtype=torch.bool),
        acting=~flags,
        new_occupant=flags,
        reward=torch.zeros(4, 2),
        terminated=flags,
        truncated=flags,
        ended=flags[:, 0],
        any_ended=False,
        final_observation=observation,
        final_state=torch.zeros(4, 1),
        final_available_actions=torch.ones(4, 2, 1, dtype=torch.bool),
    )


def test_squashed_log_probability_is_that_of_the_transformed_normal() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(50, 6, dtype=torch.float64, generator=generator).clamp(max=1.9)
    normal = torch.randn(50, 3, dtype=torch.float64, generator=generator)
    action, log_probability = squashed_sample(outputs, normal)
    mean, log_deviation = outputs.chunk(2, -1)
    expected = TransformedDistribution(Normal(mean, log_deviation.exp()), [TanhTransform(cache_size=1)])
    torch.testing.assert_close(log_probability, expected.log_prob(action).sum(-1))


def test_squashed_density_integrates_to_one() -> None:
    normal = torch.linspace(-8.0, 8.0, 20_001, dtype=torch.float64).unsqueeze(-1)
    outputs = torch.tensor([0.4, -0.3], dtype=torch.float64).expand(len(normal), 2)
    action, log_probability = squashed_sample(outputs, normal)
    assert torch.trapezoid(log_probability.exp(), action.squeeze(-1)) == pytest.approx(1.0, abs=1e-6)


def test_log_probabilities_of_extreme_outputs_are_numbers() -> None:
    outputs = torch.tensor([[1e4, 50.0], [-1e4, -50.0], [0.0, 1e30]], requires_grad=True)
    action, log_probability = squashed_sample(outputs, torch.tensor([[5.0], [-5.0], [0.5]]))
    assert action.abs().max() <= 1.0
    assert log_probability.isfinite().all()
    log_probability.sum().backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize(("made", "outputs"), [(DeterministicActor, 2), (SquashedGaussianActor, 4)])
def test_actions_lie_in_the_tasks_range(made: type[Any], outputs: int) -> None:
    policy = actor(made, outputs)
    policy.stack.flat.data.normal_(generator=torch.Generator().manual_seed(1))
    policy.exploration = 1.0
    step = shown(torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(2)) * 5.0)
    uniforms = torch.rand(4, 2, policy.uniforms("behaviour"), generator=torch.Generator().manual_seed(3))
    action, memory = policy.act(step, None, policy.noise(uniforms), "behaviour")
    assert memory is None
    assert action.shape == (4, 2, 2)
    assert action.min() >= BOX.low
    assert action.max() <= BOX.high
    greedy, _ = policy.act(step, None, torch.zeros(0), "greedy")
    torch.testing.assert_close(normalised(greedy, BOX), torch.tanh(policy.outputs(step, None)[0][..., :2]))


def test_noise_of_the_deterministic_actor_has_the_deviation_asked_for() -> None:
    policy = actor(DeterministicActor, 2)
    policy.exploration = 0.1
    step = shown(torch.zeros(4, 2, 3))
    uniforms = torch.rand(500, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    noise = policy.noise(uniforms)
    actions = torch.stack([policy.act(step, None, noise[time], "behaviour")[0] for time in range(500)])
    # All parameters are zero, so the action without noise is the middle of the range, 1; half of it is 2.
    assert actions.mean() == pytest.approx(1.0, abs=0.02)
    assert actions.std() == pytest.approx(0.2, abs=0.01)
    sampled, _ = policy.act(step, None, torch.zeros(0), "sampled")
    assert torch.equal(sampled, torch.ones(4, 2, 2))


def test_a_diverged_policy_still_acts_within_the_range() -> None:
    policy: StackPolicy = actor(SquashedGaussianActor, 4)
    policy.stack.flat.data.fill_(torch.nan)
    action, _ = policy.act(shown(torch.ones(4, 2, 3)), None, torch.zeros(4, 2, 2), "behaviour")
    assert torch.equal(action, torch.ones(4, 2, 2))


def test_actions_without_bounds_are_refused() -> None:
    unbounded = replace(SPECIFICATION, action=Continuous(2, -float("inf"), float("inf")))
    with pytest.raises(ConfigurationError, match="bounded"):
        actor(SquashedGaussianActor, 4, unbounded)
