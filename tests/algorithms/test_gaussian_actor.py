"""Gaussian policies: what they draw, what the environment is given, and how likely it was."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from marlbench.algorithms.agent_identity import AgentIdentity
from marlbench.algorithms.base import Setting, initialised
from marlbench.algorithms.gaussian_actor import GaussianActor, LogDeviation
from marlbench.algorithms.networks import AgentNetwork
from marlbench.algorithms.sharing import Groups, Sharing
from marlbench.algorithms.stack import ParameterStack
from marlbench.environments.contract import Continuous, EnvironmentSpecification, Step

CPU = torch.device("cpu")
AGENTS, ROWS, SIZE = 3, 4, 2
LOW, HIGH = -3.0, 1.0


def made(squash: bool, option="shared", seeds=(0, 1)) -> GaussianActor:
    names = tuple(f"agent_{agent}" for agent in range(AGENTS))
    specification = EnvironmentSpecification(names, 5, 1, Continuous(SIZE, LOW, HIGH))
    setting = Setting(specification, seeds, ROWS, 100, CPU)
    sharing = Sharing(option, AGENTS, CPU)
    network = AgentNetwork("actor", 5, (8,), SIZE)
    deviation = LogDeviation("actor.log_deviation", SIZE)
    stack = ParameterStack({**network.layout, **deviation.layout}, len(seeds) * sharing.groups, CPU)
    initialised(stack, (network, deviation), seeds, sharing.groups)
    with torch.no_grad():
        # Every learner gets deviations of its own.
        found = stack.parameters["actor.log_deviation"]
        found.copy_(torch.linspace(-2.0, 0.5, found.numel()).view_as(found))
    identity = AgentIdentity(False, sharing, CPU)
    return GaussianActor(setting, stack, sharing, network, deviation, identity, squash)


def shown(actor: GaussianActor) -> Step:
    rows = actor.members * ROWS
    nothing = torch.zeros(rows, AGENTS)
    observation = torch.randn(rows, AGENTS, 5)
    no = nothing.bool()
    return Step(
        observation, nothing, ~no.unsqueeze(-1), ~no, no, nothing, no, no, no[:, 0], False, observation,
        nothing, ~no.unsqueeze(-1),
    )  # fmt: skip


@pytest.mark.parametrize("option", ["shared", "independent", Groups(groups=2)])
@pytest.mark.parametrize("squash", [False, True])
def test_draws_have_the_learners_mean_and_deviation(squash, option) -> None:
    actor = made(squash, option)
    step = shown(actor)
    means, _ = actor.outputs(step, None)
    noise = torch.randn(actor.members * ROWS, AGENTS, SIZE)
    action, _ = actor.act(step, None, noise, "behaviour")
    log_deviation = actor.log_deviation.view(actor.members, -1, SIZE)
    for member in range(actor.members):
        for agent in range(AGENTS):
            deviation = log_deviation[member, actor.sharing.group_of(agent)].exp()
            rows = slice(member * ROWS, (member + 1) * ROWS)
            expected = means[rows, agent] + deviation * noise[rows, agent]
            torch.testing.assert_close(actor.drawn[rows, agent], expected)
    bounded = actor.drawn.tanh() if squash else actor.drawn.clamp(-1.0, 1.0)
    torch.testing.assert_close(action, LOW + (bounded + 1.0) / 2.0 * (HIGH - LOW))
    greedy, _ = actor.act(step, None, noise, "greedy")
    bounded = means.tanh() if squash else means.clamp(-1.0, 1.0)
    torch.testing.assert_close(greedy, LOW + (bounded + 1.0) / 2.0 * (HIGH - LOW))


def test_evaluation_leaves_what_was_drawn_in_training() -> None:
    actor = made(False)
    step = shown(actor)
    actor.act(step, None, torch.randn(actor.members * ROWS, AGENTS, SIZE), "behaviour")
    before = actor.drawn.clone()
    actor.act(step, None, torch.randn(actor.members * ROWS, AGENTS, SIZE), "sampled")
    assert torch.equal(actor.drawn, before)


def test_a_diverged_member_takes_legal_actions() -> None:
    actor = made(True)
    poisoned = actor.parameters()
    poisoned[1].fill_(torch.nan)
    actor.load_parameters(poisoned)
    action, _ = actor.act(shown(actor), None, torch.randn(actor.members * ROWS, AGENTS, SIZE), "behaviour")
    assert bool(((action >= LOW) & (action <= HIGH)).all())


def test_likelihood_and_entropy_are_torchs() -> None:
    actor = made(False)
    outputs, drawn = torch.randn(2, 6, SIZE), torch.randn(2, 6, SIZE)
    found, entropy = actor.likelihood(outputs, drawn, None)
    normal = Normal(outputs, actor.log_deviation.exp())
    torch.testing.assert_close(found, normal.log_prob(drawn).sum(-1))
    torch.testing.assert_close(entropy, normal.entropy().sum(-1))


def test_squashing_drops_out_of_ratios_and_enters_the_entropy() -> None:
    actor = made(True)
    means, others = torch.randn(2, 1, SIZE).expand(-1, 40_000, -1) * 0.5, torch.zeros(2, 1, SIZE)
    deviation = actor.log_deviation.exp()
    drawn = means + deviation * torch.randn(2, 40_000, SIZE)
    found, entropy = actor.likelihood(means, drawn, None)
    ratio = found - actor.likelihood(others.expand_as(means), drawn, None)[0]

    def squashed(mean: torch.Tensor) -> torch.Tensor:
        distribution = TransformedDistribution(Normal(mean.double(), deviation.double()), [TanhTransform(1)])
        density: torch.Tensor = distribution.log_prob(drawn.double().tanh().clamp(-1 + 1e-15, 1 - 1e-15))
        return density.sum(-1)

    exact = squashed(means)
    torch.testing.assert_close(ratio.double(), exact - squashed(others), atol=1e-3, rtol=1e-3)
    # The entropy is the mean of -log density: 40,000 draws leave a few thousandths.
    torch.testing.assert_close(entropy.mean(1).double(), -exact.mean(1), atol=0.03, rtol=0)


def test_the_entropy_of_squashed_actions_has_a_gradient_for_both_parameters() -> None:
    """E log(1 - tanh(m + s e)^2) by hand: d/dm = E[-2 tanh(u)], d/ds = 1/s + E[-2 tanh(u) e]."""
    actor = made(True, seeds=(0,))
    noise = torch.randn(1, 50, SIZE)
    mean = torch.full((1, 50, SIZE), 0.3, requires_grad=True)
    log_deviation = actor.log_deviation
    deviation = log_deviation.exp().detach()
    drawn = (mean + deviation * noise).detach()
    _, entropy = actor.likelihood(mean, drawn, None)
    of_mean, of_log = torch.autograd.grad(entropy.sum(), [mean, log_deviation])
    torch.testing.assert_close(of_mean, -2.0 * drawn.tanh())
    expected = (1.0 - 2.0 * drawn.tanh() * noise * deviation).sum(1, keepdim=True)
    torch.testing.assert_close(of_log, expected)
    assert math.isfinite(float(entropy.detach().sum()))
