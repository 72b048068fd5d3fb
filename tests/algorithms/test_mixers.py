"""Mixers: monotonic where the paper proves it, and the agents' best actions make the best joint action."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marlbench.algorithms.mixers import JointChoice, Mixer
from marlbench.algorithms.qmix import MonotonicMixer
from marlbench.algorithms.qplex import DuplexMixer
from marlbench.algorithms.stack import ParameterStack
from marlbench.algorithms.vdn import Sum

AGENTS, ACTIONS, STATE, MEMBERS = 3, 3, 4, 2
MIXERS: dict[str, Mixer] = {
    "vdn": Sum(),
    "qmix": MonotonicMixer(AGENTS, STATE, units=5, hypernetwork_units=6),
    "qmix_one_layer": MonotonicMixer(AGENTS, STATE, units=5, hypernetwork_units=0),
    "qplex": DuplexMixer(AGENTS, ACTIONS, STATE, heads=2, units=6),
}


def drawn(mixer: Mixer, seed: int, scale: float) -> ParameterStack:
    stack = ParameterStack(mixer.layout, MEMBERS, torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        stack.flat.copy_(scale * torch.randn(stack.flat.shape, generator=generator))
    return stack


def every_joint_action() -> Tensor:
    """[joint action, agent]."""
    return torch.tensor(list(product(range(ACTIONS), repeat=AGENTS)))


def team_values(
    mixer: Mixer, stack: ParameterStack, values: Tensor, state: Tensor, acting: Tensor | None = None
) -> Tensor:
    """Q_tot of every joint action: values [member, agent, action], state [member, features]."""
    action = every_joint_action().expand(MEMBERS, -1, -1)
    count = action.shape[1]
    spread = values.unsqueeze(1).expand(-1, count, -1, -1)
    chosen = spread.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    acts = None if acting is None else acting.expand(MEMBERS, count, -1)
    if acts is not None:
        chosen = chosen * acts
    states = state.unsqueeze(1).expand(-1, count, -1)
    return mixer(stack.parameters, JointChoice(chosen, spread.amax(-1), action, states, acts))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(MIXERS)), st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 5.0]))
def test_the_best_actions_of_agents_make_the_best_joint_action(name: str, seed: int, scale: float) -> None:
    """Individual-global-max (eq. 1 of QPLEX), by looking at every joint action."""
    mixer, generator = MIXERS[name], torch.Generator().manual_seed(seed)
    values = torch.randn(MEMBERS, AGENTS, ACTIONS, generator=generator)
    state = torch.randn(MEMBERS, STATE, generator=generator)
    found = team_values(mixer, drawn(mixer, seed, scale), values, state).detach()
    for member in range(MEMBERS):
        best = values[member].argmax(-1)
        index = int((every_joint_action() == best).all(1).nonzero())
        assert found[member, index] >= found[member].max() - 1e-5 * found[member].abs().max()


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["vdn", "qmix", "qmix_one_layer"]),
    st.integers(0, 10**6),
    st.floats(-50, 50, allow_nan=False),
)
def test_the_teams_value_never_falls_with_an_agents(name: str, seed: int, size: float) -> None:
    mixer, generator = MIXERS[name], torch.Generator().manual_seed(seed)
    stack = drawn(mixer, seed, 1.0)
    chosen = (size * torch.randn(MEMBERS, 7, AGENTS, generator=generator)).requires_grad_()
    state = 3.0 * torch.randn(MEMBERS, 7, STATE, generator=generator)
    joint = JointChoice(chosen, None, torch.zeros(MEMBERS, 7, AGENTS, dtype=torch.int64), state, None)
    (gradient,) = torch.autograd.grad(mixer(stack.parameters, joint).sum(), chosen)
    assert (gradient >= 0).all()
    assert gradient.isfinite().all()


def test_vdn_is_the_sum() -> None:
    values = torch.randn(MEMBERS, AGENTS, ACTIONS, generator=torch.Generator().manual_seed(0))
    stack = drawn(MIXERS["vdn"], 0, 1.0)
    found = team_values(MIXERS["vdn"], stack, values, torch.zeros(MEMBERS, STATE))
    for index, (a, b, c) in enumerate(every_joint_action().tolist()):
        torch.testing.assert_close(found[:, index], values[:, 0, a] + values[:, 1, b] + values[:, 2, c])


def test_qplex_is_the_formula_of_its_paper() -> None:
    """Q_tot = sum_i (w_i V_i + b_i) + sum_i lambda_i w_i (Q_i - V_i), however it is arranged for its gradients."""
    mixer, generator = MIXERS["qplex"], torch.Generator().manual_seed(3)
    assert isinstance(mixer, DuplexMixer)
    stack = drawn(mixer, 3, 1.0)
    chosen = torch.randn(MEMBERS, 5, AGENTS, generator=generator)
    best = chosen + torch.rand(MEMBERS, 5, AGENTS, generator=generator)
    action = torch.randint(ACTIONS, (MEMBERS, 5, AGENTS), generator=generator)
    joint = JointChoice(chosen, best, action, torch.randn(MEMBERS, 5, STATE, generator=generator), None)
    weight, bias = mixer.transformation(stack.parameters, joint.state).chunk(2, -1)
    weight = weight.abs() + 1e-6
    weights = mixer.weights(stack.parameters, joint)
    assert (weights > 0).all()
    expected = (weight * best + bias).sum(-1) + (weights * weight * (chosen - best)).sum(-1)
    torch.testing.assert_close(mixer(stack.parameters, joint), expected)


@pytest.mark.parametrize("name", sorted(MIXERS))
def test_one_who_does_not_act_changes_nothing(name: str) -> None:
    mixer, generator = MIXERS[name], torch.Generator().manual_seed(5)
    stack = drawn(mixer, 5, 1.0)
    acting = torch.tensor([True, False, True])
    state = torch.randn(MEMBERS, STATE, generator=generator)
    values = torch.randn(MEMBERS, AGENTS, ACTIONS, generator=generator)
    found = team_values(mixer, stack, values, state, acting)
    values[:, 1] = 100.0
    torch.testing.assert_close(team_values(mixer, stack, values, state, acting), found)
    same = every_joint_action()[:, [0, 2]]
    for a, c in product(range(ACTIONS), repeat=2):
        alike = found[:, (same == torch.tensor([a, c])).all(1)]
        torch.testing.assert_close(alike, alike[:, :1].expand_as(alike))


@pytest.mark.parametrize("name", ["qmix", "qplex"])
def test_members_do_not_touch_each_other(name: str) -> None:
    mixer = MIXERS[name]
    stack, other = drawn(mixer, 1, 1.0), drawn(mixer, 1, 1.0)
    with torch.no_grad():
        other.flat[1] += 1.0
    values, state = torch.ones(MEMBERS, AGENTS, ACTIONS), torch.ones(MEMBERS, STATE)
    first, second = (team_values(mixer, one, values, state) for one in (stack, other))
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])
