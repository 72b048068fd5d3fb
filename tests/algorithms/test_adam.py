"""Adam against torch's own."""

from __future__ import annotations

import pytest
import torch

from marlbench.algorithms.adam import Adam
from marlbench.algorithms.stack import ParameterStack


@pytest.mark.parametrize("epsilon", [1e-8, 1e-5])
def test_it_takes_the_steps_of_torch(epsilon: float) -> None:
    generator = torch.Generator().manual_seed(0)
    stack = ParameterStack({"weight": (3, 4), "bias": (1, 4)}, 2, torch.device("cpu"))
    with torch.no_grad():
        stack.flat.copy_(torch.randn(stack.flat.shape, generator=generator))
    twin = torch.nn.Parameter(stack.flat.detach().clone())
    ours, theirs = Adam(stack, 3e-3, epsilon), torch.optim.Adam([twin], lr=3e-3, eps=epsilon)
    for update in range(200):
        gradient = torch.randn(stack.flat.shape, generator=generator) * 10 ** ((update % 5) - 3)
        stack.flat.grad = gradient.clone()
        twin.grad = gradient.clone()
        if update == 100:
            ours.learning_rate = theirs.param_groups[0]["lr"] = 1e-3
        ours.step()
        theirs.step()
        torch.testing.assert_close(stack.flat.detach(), twin.detach(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.first_moment, theirs.state[twin]["exp_avg"])
    torch.testing.assert_close(ours.second_moment, theirs.state[twin]["exp_avg_sq"])


def test_a_restored_one_goes_on_as_before() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(10, 1, 6, generator=generator)
    ends = []
    for interrupted in (False, True):
        stack = ParameterStack({"weight": (2, 3)}, 1, torch.device("cpu"))
        adam = Adam(stack, 1e-2)
        for number, gradient in enumerate(gradients):
            if interrupted and number == 4:
                state = adam.state_dict()
                adam = Adam(stack, 1.0)
                adam.load_state_dict(state)
            stack.flat.grad = gradient.clone()
            adam.step()
        ends.append(stack.flat.detach().clone())
    assert torch.equal(ends[0], ends[1])
