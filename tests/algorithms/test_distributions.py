"""Sampling from given uniforms: exact frequencies, and never an unavailable action."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from marlbench.algorithms.actors import CategoricalActor
from marlbench.algorithms.base import Setting
from marlbench.algorithms.distributions import (
    epsilon_greedy,
    gaussian_log_probability,
    inverse_cumulative,
    mask_logits,
    squash_correction,
    standard_normal,
)
from marlbench.algorithms.networks import AgentNetwork
from marlbench.algorithms.sharing import Sharing
from marlbench.algorithms.stack import ParameterStack
from marlbench.environments.contract import Discrete, EnvironmentSpecification, Step


def test_frequencies_over_a_grid_of_uniforms_are_the_probabilities() -> None:
    probability = torch.tensor([0.125, 0.0, 0.5, 0.375])
    grid = (torch.arange(8000) + 0.5) / 8000
    drawn = inverse_cumulative(probability.expand(8000, 4), grid)
    assert torch.bincount(drawn, minlength=4).tolist() == [1000, 0, 4000, 3000]


@given(
    st.lists(st.booleans(), min_size=1, max_size=12).filter(any),
    st.integers(0, 2**24 - 1),
    st.integers(0, 99),
)
def test_an_unavailable_action_is_never_drawn(available: list[bool], uniform: int, seed: int) -> None:
    mask = torch.tensor([available])
    logits = torch.randn(1, len(available), generator=torch.Generator().manual_seed(seed)) * 30
    u = torch.tensor([uniform * 2.0**-24])
    probability = torch.softmax(mask_logits(logits, mask), -1)
    assert available[int(inverse_cumulative(probability, u))]
    for epsilon in (0.0, 0.5, 1.0):
        both = torch.stack([u, u], -1)
        assert available[int(epsilon_greedy(logits, mask, epsilon, both))]


def test_logits_that_are_not_numbers_still_give_legal_actions() -> None:
    mask = torch.tensor([[False, False, True, True]])
    broken = torch.full((1, 4), torch.nan)
    probability = torch.softmax(mask_logits(broken, mask), -1)
    assert int(inverse_cumulative(probability, torch.tensor([0.3]))) == 2
    assert int(epsilon_greedy(broken, mask, 0.0, torch.zeros(1, 2))) == 2


def test_epsilon_is_the_share_of_explored_actions() -> None:
    values = torch.tensor([0.0, 3.0, 1.0]).expand(30_000, 3)
    uniforms = torch.rand(30_000, 2, generator=torch.Generator().manual_seed(0))
    drawn = torch.bincount(epsilon_greedy(values, None, 0.3, uniforms), minlength=3) / 30_000
    # Standard error .003: four of them.
    torch.testing.assert_close(drawn, torch.tensor([0.1, 0.8, 0.1]), atol=0.012, rtol=0)


def test_sampled_actions_have_the_softmax_probabilities() -> None:
    specification = EnvironmentSpecification(("a",), 2, 2, Discrete(4), masks_actions=True)
    setting = Setting(specification, (0,), 200_000, 1, torch.device("cpu"))
    network = AgentNetwork("actor", 2, (), 4)
    stack = ParameterStack(network.layout, 1, torch.device("cpu"))
    with torch.no_grad():
        stack.parameters["actor.0.bias"].copy_(torch.tensor([0.0, 1.0, 5.0, -1.0]))
    actor = CategoricalActor(setting, stack, Sharing("shared", 1, torch.device("cpu")), network)
    rows = 200_000
    no, available = torch.zeros(rows, 1, dtype=torch.bool), torch.tensor([True, True, False, True])
    shown = Step(
        torch.zeros(rows, 1, 2),
        torch.zeros(rows, 2),
        available.expand(rows, 1, 4),
        ~no,
        no,
        torch.zeros(rows, 1),
        no,
        no,
        no[:, 0],
        False,
        torch.zeros(rows, 1, 2),
        torch.zeros(rows, 2),
        available.expand(rows, 1, 4),
    )
    uniforms = torch.rand(rows, 1, actor.uniforms("sampled"), generator=torch.Generator().manual_seed(1))
    action, _ = actor.act(shown, None, actor.noise(uniforms), "sampled")
    expected = torch.softmax(torch.tensor([0.0, 1.0, -torch.inf, -1.0]), 0)
    frequency = torch.bincount(action.flatten(), minlength=4) / rows
    # Standard error at most .0011: four of them.
    torch.testing.assert_close(frequency, expected, atol=0.0045, rtol=0)


def test_gaussian_log_probabilities_are_those_of_torch_distributions():
    mean, log_deviation, action = torch.randn(5, 3), torch.randn(5, 3), torch.randn(5, 3)
    torch_normal = torch.distributions.Normal(mean, log_deviation.exp())
    torch.testing.assert_close(
        gaussian_log_probability(action, mean, log_deviation), torch_normal.log_prob(action).sum(-1)
    )
    transform = torch.distributions.TanhTransform()
    squashed = torch.distributions.TransformedDistribution(torch_normal, [transform])
    before = torch.randn(5, 3).clamp(-2, 2)
    torch.testing.assert_close(
        gaussian_log_probability(before, mean, log_deviation) - squash_correction(before),
        squashed.log_prob(torch.tanh(before)).sum(-1),
        rtol=1e-4,
        atol=1e-4,
    )


def test_standard_normal_of_every_extreme_uniform_is_finite_and_symmetric():
    ends = torch.tensor([0.0, 2.0**-24, 0.5, 1.0 - 2.0**-24])
    found = standard_normal(ends)
    assert found.isfinite().all()
    assert found[0] == -found[3]
    grid = standard_normal((torch.arange(4096) + 0.5) / 4096)
    assert abs(float(grid.mean())) < 1e-4
    assert abs(float(grid.std()) - 1) < 2e-3
