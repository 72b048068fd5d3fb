"""Values of joint actions: each agent's own, of all actions, whoever shares parameters with whom."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from marlbench.algorithms.base import Setting
from marlbench.algorithms.joint_critic import CriticInput, JointCritic, joint_actions
from marlbench.algorithms.sharing import Groups, Sharing, SharingOption
from marlbench.algorithms.stack import ParameterStack
from marlbench.environments.contract import Continuous, EnvironmentSpecification

CPU = torch.device("cpu")
OPTIONS: list[SharingOption] = ["shared", "independent", Groups(groups=2)]


def build(
    sharing: SharingOption,
    critic_input: CriticInput = "observations",
    recurrent_units: int = 0,
    image: tuple[int, int, int] | None = None,
) -> tuple[JointCritic, ParameterStack, EnvironmentSpecification]:
    """A critic of three agents with random parameters, for two members."""
    size = 4 if image is None else 4 + image[0] * image[1] * image[2]
    specification = EnvironmentSpecification(("a", "b", "c"), size, 5, Continuous(2), image=image)
    setting = Setting(specification, (0, 1), rows=4, steps=1, device=CPU)
    folding = Sharing(sharing, 3, CPU)
    critic = JointCritic("critic", setting, folding, critic_input, 2, 1, (8,), "tanh", recurrent_units)
    stack = ParameterStack(critic.layout, 2 * folding.groups, CPU)
    generator = torch.Generator().manual_seed(0)
    for learner in range(stack.size):
        critic.initialise(stack.parameters, learner, generator)
    return critic, stack, specification


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_joint_actions_replace_ones_own_part() -> None:
    actions, own = random(2, 5, 3, 2), random(2, 5, 3, 2, seed=2)
    joint = joint_actions(actions, own)
    for agent in range(3):
        expected = actions.clone()
        expected[:, :, agent] = own[:, :, agent]
        assert torch.equal(joint[:, :, agent], expected.flatten(2))
    assert torch.equal(joint_actions(actions)[:, :, 1], actions.flatten(2))


@pytest.mark.parametrize("sharing", OPTIONS)
def test_values_are_those_of_each_agents_learner(sharing: SharingOption) -> None:
    """Against the head applied to one sample of one agent at a time."""
    critic, stack, _ = build(sharing)
    joint, actions = random(2, 4, 12), joint_actions(random(2, 4, 3, 2, seed=3), random(2, 4, 3, 2, seed=4))
    values = critic(stack.parameters, critic.encode(stack.parameters, joint), actions)
    assert values.shape == (2, 4, 3, 1)
    for member in range(2):
        for agent in range(3):
            learner = member * critic.sharing.groups + critic.sharing.group_of(agent)
            own = {name: value[learner : learner + 1] for name, value in stack.parameters.items()}
            identity = torch.eye(3)[agent] if critic.identity.size else torch.zeros(0)
            for row in range(4):
                features = torch.cat([joint[member, row], actions[member, row, agent], identity])
                expected = critic.head(own, features.view(1, 1, -1)).view(())
                torch.testing.assert_close(values[member, row, agent, 0], expected)


@pytest.mark.parametrize("sharing", OPTIONS)
def test_an_agents_action_gets_the_gradient_of_its_own_value_alone(sharing: SharingOption) -> None:
    critic, stack, _ = build(sharing)
    joint, others = random(2, 4, 12), random(2, 4, 3, 2, seed=3)
    own = random(2, 4, 3, 2, seed=4).requires_grad_()
    encoded = critic.encode(stack.parameters, joint)
    values = critic(stack.parameters, encoded, joint_actions(others, own))
    (gradient,) = torch.autograd.grad(values[:, :, 1].sum(), own)
    assert gradient[:, :, 1].abs().min() > 0.0
    assert not gradient[:, :, [0, 2]].any()


@pytest.mark.parametrize("sharing", OPTIONS)
def test_memory_is_of_the_past_and_ends_with_the_episode(sharing: SharingOption) -> None:
    critic, stack, _ = build(sharing, "state", recurrent_units=6)
    joint, fresh = random(2, 7, 4, 5), torch.zeros(2, 7, 4, dtype=torch.bool)
    fresh[1, 3, 2] = True
    encoded = critic.encode(stack.parameters, joint, fresh)
    groups = critic.sharing.groups
    assert encoded.shape == (2 * groups, 7, 4, 6)
    changed = joint.clone()
    changed[:, 2] += 1.0
    difference = (critic.encode(stack.parameters, changed, fresh) - encoded).abs().amax((0, 3))
    by_learner = (critic.encode(stack.parameters, changed, fresh) - encoded).abs().amax(3)
    assert not difference[:2].any()
    assert difference[2].min() > 0.0
    # Row 2 of member 1 starts again at time 3 and knows nothing of time 2.
    assert not by_learner[groups:, 3:, 2].any()
    assert by_learner[:groups, 3:, 2].min() > 0.0
    values = critic(stack.parameters, encoded, joint_actions(random(2, 7, 4, 3, 2)))
    assert values.shape == (2, 7, 4, 3, 1)


def test_images_of_all_agents_are_encoded_alike() -> None:
    critic, stack, specification = build("shared", image=(1, 6, 6))
    observation = random(2, 4, 3, specification.observation_size)
    encoded = critic.encode(stack.parameters, observation.flatten(-2))
    parts: Any = encoded.view(2, 4, 3, -1)
    swapped = critic.encode(stack.parameters, observation.flip(2).flatten(-2)).view(2, 4, 3, -1)
    torch.testing.assert_close(parts.flip(2), swapped)
    # Four features stand beside the image and pass unchanged.
    assert torch.equal(parts[..., -4:], observation[..., -4:])
