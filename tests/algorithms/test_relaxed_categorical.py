"""Straight-through samples: legal one-hots with the gradient of the relaxation, whatever is available."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from marlbench.algorithms.base import Setting
from marlbench.algorithms.networks import AgentNetwork
from marlbench.algorithms.relaxed_categorical import (
    ExploringCategoricalActor,
    standard_gumbel,
    straight_through,
)
from marlbench.algorithms.sharing import Sharing
from marlbench.algorithms.stack import ParameterStack
from marlbench.environments.contract import Discrete, EnvironmentSpecification, Step

CPU = torch.device("cpu")


@given(st.lists(st.booleans(), min_size=2, max_size=6), st.integers(0, 10_000))
def test_samples_are_available_one_hots(available: list[bool], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(available), generator=generator) * 10.0
    mask = torch.tensor(available)
    chosen = straight_through(logits, mask, standard_gumbel(torch.rand(len(available), generator=generator)))
    assert chosen.sum() == 1.0
    assert chosen.max() == 1.0
    assert bool(mask[chosen.argmax()]) or not mask.any()


def test_samples_have_the_policys_probabilities() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 3.0]).expand(40_000, 4)
    available = torch.tensor([True, True, True, False]).expand(40_000, 4)
    uniforms = torch.rand(40_000, 4, generator=torch.Generator().manual_seed(0))
    frequency = straight_through(logits, available, standard_gumbel(uniforms)).mean(0)
    expected = torch.softmax(torch.tensor([1.0, 0.0, -1.0, -torch.inf]), -1)
    torch.testing.assert_close(frequency, expected, atol=0.01, rtol=0.0)


def test_the_gradient_is_that_of_the_relaxation() -> None:
    logits = torch.tensor([0.3, -0.2, 0.9], requires_grad=True)
    gumbel, worth = torch.tensor([0.1, 0.5, -0.4]), torch.tensor([1.0, -2.0, 0.5])
    (straight_through(logits, None, gumbel, temperature=0.5) * worth).sum().backward()
    relaxed = torch.softmax((logits.detach() + gumbel) / 0.5, -1)
    expected = relaxed * (worth - (relaxed * worth).sum()) / 0.5
    torch.testing.assert_close(logits.grad, expected)


def test_where_nothing_is_available_the_gradient_is_a_number() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    available = torch.tensor([[False, False, False], [False, True, False]])
    chosen = straight_through(logits, available, torch.zeros(2, 3))
    (chosen * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert torch.equal(logits.grad[1], torch.zeros(3))


def test_exploring_takes_available_actions_alike() -> None:
    specification = EnvironmentSpecification(("a",), 1, 1, Discrete(4), masks_actions=True)
    setting = Setting(specification, (0,), rows=20_000, steps=1, device=CPU)
    network = AgentNetwork("actor", 1, (), 4)
    stack = ParameterStack(network.layout, 1, CPU)
    # The policy itself always takes action 0.
    stack.parameters["actor.0.bias"].data[0, 0, 0] = 100.0
    policy = ExploringCategoricalActor(setting, stack, Sharing("shared", 1, CPU), network)
    flags = torch.zeros(20_000, 1, dtype=torch.bool)
    available = torch.tensor([True, True, False, True]).expand(20_000, 1, 4)
    observation, state = torch.zeros(20_000, 1, 1), torch.zeros(20_000, 1)
    finals = (observation, state, available)
    step = Step(
        *finals, ~flags, flags, flags.float(), flags, flags, flags[:, 0], False, *finals
    )  # fmt: skip
    uniforms = torch.rand(20_000, 1, 6, generator=torch.Generator().manual_seed(1))
    policy.exploration = 0.6
    action, _ = policy.act(step, None, policy.noise(uniforms), "behaviour")
    frequency = torch.bincount(action.flatten(), minlength=4) / 20_000
    torch.testing.assert_close(frequency, torch.tensor([0.6, 0.2, 0.0, 0.2]), atol=0.015, rtol=0.0)
    policy.exploration = 0.0
    assert not policy.act(step, None, policy.noise(uniforms), "behaviour")[0].any()
    assert not policy.act(step, None, policy.noise(uniforms[..., :4]), "sampled")[0].any()
