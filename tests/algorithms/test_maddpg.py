"""MADDPG's targets and gradients against closed forms, with linear critics and actors tanh(w o)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from marlbench.algorithms.base import Setting
from marlbench.algorithms.joint_batch import Batch, Moment
from marlbench.algorithms.maddpg import MADDPG, MADDPGHyperparameters
from marlbench.environments.contract import Continuous, Discrete, EnvironmentSpecification

CPU = torch.device("cpu")
# Q = 2 s + 3 a_0 + 5 a_1 + 1 of agent 0, and s - a_0 + 4 a_1 of agent 1.
WEIGHTS = torch.tensor([[2.0, 3.0, 5.0], [1.0, -1.0, 4.0]])
BIASES = torch.tensor([1.0, 0.0])
ACTORS = torch.tensor([0.5, -0.8])


def build(**options: Any) -> MADDPG:
    specification = EnvironmentSpecification(("a", "b"), 1, 1, Continuous(1))
    given = {"sharing": "independent", "hidden": (), "discount": 0.9, "output_penalty": 0.0, **options}
    method = MADDPG(
        Setting(specification, (0,), rows=4, steps=100, device=CPU), MADDPGHyperparameters(**given)
    )
    with torch.no_grad():
        for number in range(len(method.critics)):
            critic = method.stacks["critic"].parameters
            critic[f"critic{number}.value.0.weight"].copy_(WEIGHTS.unsqueeze(-1))
            # A second critic says 10 more.
            critic[f"critic{number}.value.0.bias"].copy_((BIASES + 10.0 * number).view(2, 1, 1))
        method.stacks["actor"].parameters["actor.0.weight"].copy_(ACTORS.view(2, 1, 1))
        method.stacks["actor"].parameters["actor.0.bias"].zero_()
        for name, target in method.targets.items():
            target.copy_(method.stacks[name].flat)
    return method


def moment(seed: int, acting: torch.Tensor | None = None) -> Moment:
    generator = torch.Generator().manual_seed(seed)
    observation = torch.randn(1, 6, 2, 1, generator=generator)
    return Moment(observation, torch.randn(1, 6, 1, generator=generator), None, acting)


def batch(acting: torch.Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(9)
    return Batch(
        now=moment(1, acting),
        following=moment(2),
        action=torch.rand(1, 6, 2, 1, generator=generator) * 2.0 - 1.0,
        reward=torch.randn(1, 6, 2, generator=generator),
        discount=0.9 * (torch.arange(12).view(1, 6, 2) % 5 > 0).float(),
        weight=None,
    )


def linear(state: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """[6, 2]: both agents' values of joint actions [6, 2]."""
    return state * WEIGHTS[:, 0] + actions @ WEIGHTS[:, 1:].T + BIASES


@pytest.mark.parametrize("twin", [False, True])
def test_target_is_the_reward_and_the_discounted_value_of_the_target_policies(twin: bool) -> None:
    # The smaller of two target critics is the first.
    given = batch()
    found = build(twin_critics=twin)._target(given)
    policies = torch.tanh(given.following.observation[0, :, :, 0] * ACTORS)
    expected = given.reward[0] + given.discount[0] * linear(given.following.joint[0], policies)
    torch.testing.assert_close(found[0], expected)


def test_target_noise_is_clipped_and_stays_in_the_range() -> None:
    given = batch()
    calm, noisy = build(), build(target_noise=100.0, target_noise_bound=0.25)
    difference = (noisy._target(given) - calm._target(given)).abs()
    # Each action moves by a quarter, or less where it meets the bound of the range.
    assert difference.max() <= 0.9 * 0.25 * 8.0 + 1e-5
    assert difference.max() > 0.1


def test_critics_learn_the_mean_squared_error() -> None:
    given, method = batch(), build(maximum_gradient_norm=1e9)
    target = method._target(given)
    measures = method._update_critics(given, target)
    error = linear(given.now.joint[0], given.action[0, :, :, 0]) - target[0]
    torch.testing.assert_close(measures["critic_loss"], error.square().mean(0))
    gradient = method.stacks["critic"].flat.grad
    assert gradient is not None
    features = torch.cat([given.now.joint[0], given.action[0, :, :, 0], torch.ones(6, 1)], -1)
    torch.testing.assert_close(gradient, 2.0 * (error.T @ features) / 6)


def test_actors_follow_the_gradient_of_their_own_critic_by_their_own_action() -> None:
    given, method = batch(), build(maximum_gradient_norm=1e9, output_penalty=0.1)
    method._update_actors(given)
    gradient = method.stacks["actor"].flat.grad
    assert gradient is not None
    observation = given.now.observation[0, :, :, 0]
    before = observation * ACTORS
    of_action = torch.tensor([WEIGHTS[0, 1], WEIGHTS[1, 2]]) * (1.0 - torch.tanh(before).square())
    of_output = 0.1 * 2.0 * before - of_action
    expected = torch.stack([(of_output * observation).mean(0), of_output.mean(0)], 1)
    torch.testing.assert_close(gradient, expected)


def test_who_does_not_act_learns_nothing_and_acts_nothing() -> None:
    acting = torch.ones(1, 6, 2)
    acting[..., 1] = 0.0
    given, method = batch(acting), build(maximum_gradient_norm=1e9)
    target = torch.zeros(1, 6, 2)
    measures = method._update_critics(given, target)
    alone = given.action[0, :, :, 0] * torch.tensor([1.0, 0.0])
    torch.testing.assert_close(measures["critic_loss"], linear(given.now.joint[0], alone).square().mean(0))
    method._update_actors(given)
    gradient = method.stacks["actor"].flat.grad
    assert gradient is not None
    assert gradient[0].abs().max() > 0.0
    assert not gradient[1].any()


def test_actors_and_targets_wait_for_their_interval() -> None:
    method = build(actor_interval=3, target_rate=0.5)
    for update in range(6):
        actor, target = method.stacks["actor"].flat.detach().clone(), method.targets["critic"].clone()
        measures = method.learn_from(batch())
        method.updates += 1
        moves = update % 3 == 0
        assert ("actor_loss" in measures) == moves
        assert torch.equal(actor, method.stacks["actor"].flat) != moves
        assert torch.equal(target, method.targets["critic"]) != moves


def test_exploration_falls_along_its_schedule() -> None:
    method = build(exploration_start=0.8, exploration_end=0.2, exploration_fraction=0.5)
    for steps, expected in ((0, 0.8), (25, 0.5), (50, 0.2), (90, 0.2)):
        method.begin(steps)
        assert method.actor.exploration == pytest.approx(expected)


def test_discrete_actors_raise_the_better_action() -> None:
    """With Q_0 = 3 for action 1 and 0 for action 0, whatever the others do, the probability of action 1 rises."""
    specification = EnvironmentSpecification(("a", "b"), 1, 1, Discrete(2))
    options = MADDPGHyperparameters(hidden=(), sharing="independent", actor_learning_rate=0.1)
    method = MADDPG(Setting(specification, (0,), rows=4, steps=100, device=CPU), options)
    critic = method.stacks["critic"].parameters["critic0.value.0.weight"]
    with torch.no_grad():
        critic.zero_()
        critic[0, 2] = 3.0
        critic[1, 3] = 3.0
        method.stacks["actor"].flat.zero_()
    ones = torch.ones(1, 32, 2, 1)
    now = Moment(ones, torch.zeros(1, 32, 1), None, None)
    action = torch.tensor([1.0, 0.0]).expand(1, 32, 2, 2)
    given = Batch(now, now, action, torch.zeros(1, 32, 2), torch.zeros(1, 32, 2), None)
    for _ in range(20):
        method._update_actors(given)
    logits = method.actor_outputs(method.stacks["actor"].parameters, given, following=False)[0, 0]
    probability = torch.softmax(logits, -1)
    assert probability[0, 1] > 0.9
    assert probability[1, 0] > 0.9


def test_images_reach_actors_and_critics() -> None:
    """Observations of 2 numbers after an image of 1 x 5 x 5, for two agents that share what they learn."""
    specification = EnvironmentSpecification(("a", "b"), 27, 1, Continuous(1), image=(1, 5, 5))
    options = MADDPGHyperparameters(hidden=(8,), critic_input="observations")
    method = MADDPG(Setting(specification, (0, 1), rows=4, steps=100, device=CPU), options)
    observation = torch.rand(2, 6, 2, 27, generator=torch.Generator().manual_seed(0))
    now = Moment(observation, observation.flatten(-2), None, None)
    action, reward = torch.zeros(2, 6, 2, 1), torch.ones(2, 6, 2)
    method.learn_from(Batch(now, now, action, reward, 0.9 * reward, None))
    for stack in method.stacks.values():
        assert stack.flat.grad is not None
        gradient = stack.view(stack.flat.grad)
        images = [value for name, value in gradient.items() if ".image.0.weight" in name]
        assert len(images) == 1
        assert images[0].abs().amax((1, 2, 3, 4)).min() > 0.0
