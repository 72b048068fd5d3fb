"""MASAC's soft values against closed forms; the temperature moves towards its target entropy."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from marlbench.algorithms.base import Setting
from marlbench.algorithms.continuous_actors import squashed_sample
from marlbench.algorithms.joint_batch import Batch, Moment
from marlbench.algorithms.masac import MASAC, MASACHyperparameters
from marlbench.environments.contract import Continuous, Discrete, EnvironmentSpecification

CPU = torch.device("cpu")


def build(action: Continuous | Discrete, **options: Any) -> MASAC:
    """Two agents that learn apart; every parameter is zero but the second critics' bias, 100."""
    specification = EnvironmentSpecification(
        ("a", "b"), 1, 1, action, masks_actions=isinstance(action, Discrete)
    )
    given = {"sharing": "independent", "hidden": (), "discount": 0.9, **options}
    method = MASAC(Setting(specification, (0,), rows=4, steps=100, device=CPU), MASACHyperparameters(**given))
    with torch.no_grad():
        for name in ("actor", "critic"):
            method.stacks[name].flat.zero_()
        method.stacks["critic"].parameters["critic1.value.0.bias"].fill_(100.0)
        method.targets["critic"].copy_(method.stacks["critic"].flat)
    return method


def set_target(method: MASAC, name: str, value: list[Any]) -> None:
    """Put numbers [agent, ...] into the target critics."""
    given = torch.tensor(value)
    target = method.stacks["critic"].view(method.targets["critic"])[name]
    target.copy_(given.view_as(target))


def batch(
    rows: int, width: int, available: torch.Tensor | None = None, acting: torch.Tensor | None = None
) -> Batch:
    moment = Moment(torch.ones(1, rows, 2, 1), torch.ones(1, rows, 1), available, acting)
    action = torch.zeros(1, rows, 2, width)
    action[..., 0] = 1.0
    reward = torch.tensor([1.0, -1.0]).expand(1, rows, 2)
    return Batch(moment, moment, action, reward, torch.full((1, rows, 2), 0.9), None)


def test_target_of_discrete_actions_is_the_expected_soft_value() -> None:
    method = build(Discrete(3), temperature=0.5)
    # Own values 1, 2, 6 of agent 0 and 0, 0, 3 of agent 1; any action of the other adds 10 for agent 0.
    set_target(method, "critic0.value.0.bias", [[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
    weight = torch.zeros(2, 7, 3)
    weight[0, 4:] = 10.0
    set_target(method, "critic0.value.0.weight", weight.tolist())
    found = method._target(batch(5, 3))
    bonus = 0.5 * math.log(3.0)
    expected = torch.tensor([1.0 + 0.9 * (13.0 + bonus), -1.0 + 0.9 * (1.0 + bonus)])
    torch.testing.assert_close(found, expected.expand(1, 5, 2))


def test_unavailable_actions_have_no_part_in_the_value() -> None:
    method = build(Discrete(3), temperature=0.5)
    set_target(method, "critic0.value.0.bias", [[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
    available = torch.tensor([[True, True, False], [False, False, True]]).expand(1, 4, 2, 3)
    found = method._target(batch(4, 3, available))
    expected = torch.tensor([1.0 + 0.9 * (1.5 + 0.5 * math.log(2.0)), -1.0 + 0.9 * 3.0])
    torch.testing.assert_close(found, expected.expand(1, 4, 2))


def test_who_does_not_act_is_paid_no_entropy() -> None:
    method = build(Discrete(3), temperature=0.5)
    acting = torch.tensor([1.0, 0.0]).expand(1, 4, 2)
    found = method._target(batch(4, 3, acting=acting))
    torch.testing.assert_close(found[0, 0], torch.tensor([1.0 + 0.9 * 0.5 * math.log(3.0), -1.0]))


def test_target_of_continuous_actions_is_the_value_and_the_entropy() -> None:
    method = build(Continuous(1), temperature=0.5)
    set_target(method, "critic0.value.0.bias", [3.0, -2.0])
    found = method._target(batch(20_000, 1)).mean((0, 1))
    # The entropy of tanh of a standard normal number, by integration.
    normal = torch.linspace(-9.0, 9.0, 10_001).unsqueeze(-1)
    _, log_probability = squashed_sample(torch.zeros(10_001, 2), normal)
    density = torch.exp(-0.5 * normal.squeeze(-1).square()) / math.sqrt(2.0 * math.pi)
    entropy = -torch.trapezoid(density * log_probability, normal.squeeze(-1))
    expected = torch.tensor([1.0 + 0.9 * (3.0 + 0.5 * entropy), -1.0 + 0.9 * (-2.0 + 0.5 * entropy)])
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.0)


def test_the_best_discrete_policy_is_the_softmax_of_values() -> None:
    """With fixed values the actors' loss is least at softmax(Q / alpha) (arXiv 1812.05905, eq. 4)."""
    method = build(
        Discrete(3), temperature=0.5, learn_temperature=False, actor_learning_rate=0.05, target_rate=1e-9
    )
    with torch.no_grad():
        bias = method.stacks["critic"].parameters["critic0.value.0.bias"]
        bias.copy_(torch.tensor([[[0.0, 0.5, 1.0]], [[1.0, 1.0, -1.0]]]))
    given = batch(4, 3)
    for _ in range(400):
        method._update_actors(given)
    logits = method.actor_outputs(method.parameters_of("actor"), given, following=False)[0, 0]
    expected = torch.softmax(bias.detach().squeeze(1) / 0.5, -1)
    torch.testing.assert_close(torch.softmax(logits, -1), expected, atol=0.01, rtol=0.0)


def test_continuous_actors_climb_their_own_value() -> None:
    method = build(Continuous(1), temperature=1e-3, learn_temperature=False, actor_learning_rate=0.05)
    with torch.no_grad():
        for critic in ("critic0", "critic1"):
            weight = method.stacks["critic"].parameters[f"{critic}.value.0.weight"]
            # Agent 0 is better off with a large action of its own, agent 1 with a small one.
            weight.copy_(torch.tensor([[0.0, 1.0, -5.0], [0.0, 5.0, -1.0]]).unsqueeze(-1))
    given = batch(64, 1)
    for _ in range(100):
        method._update_actors(given)
    outputs = method.actor_outputs(method.parameters_of("actor"), given, following=False)[0, 0]
    assert outputs[0, 0] > 1.0
    assert outputs[1, 0] < -1.0


@pytest.mark.parametrize(("target", "rises"), [(-5.0, False), (5.0, True)])
def test_temperature_moves_towards_the_target_entropy(target: float, rises: bool) -> None:
    method = build(Continuous(1), temperature=0.5, target_entropy=target)
    measures = method._update_actors(batch(32, 1))
    assert bool((measures["temperature"] > 0.5).all()) == rises
    assert bool((measures["temperature"] < 0.5).all()) != rises


def test_discrete_target_entropy_is_a_share_of_what_is_available() -> None:
    available = torch.tensor([[True, True, False], [False, False, True]]).expand(1, 4, 2, 3)
    method = build(Discrete(3), target_entropy_share=0.4)
    expected = torch.tensor([0.4 * math.log(2.0), 0.0]).expand(1, 4, 2)
    torch.testing.assert_close(method._target_entropy(batch(4, 3, available)), expected)
    assert float(method._target_entropy(batch(4, 3))) == pytest.approx(0.4 * math.log(3.0))


def test_temperature_stays_where_it_is_not_learnt() -> None:
    method = build(Continuous(1), temperature=0.25, learn_temperature=False)
    for _ in range(3):
        measures = method._update_actors(batch(8, 1))
    torch.testing.assert_close(measures["temperature"], torch.full((2,), 0.25))
