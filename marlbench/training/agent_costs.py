"""What the agents of one system cost it: memory, and time of decisions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from marlbench.algorithms.base import Algorithm, Mode
from marlbench.environments.contract import Step


def agent_costs(
    algorithm: Algorithm,
    step: Step,
    memory: Tensor | None,
    mode: Mode,
    clock: Callable[[], float],
    repeats: int = 20,
) -> dict[str, float]:
    """What a system needs of the agents, where the method tells it.

    Args:
        step, memory: what the policy decides on.
        clock: gives seconds.

    Returns:
        `agent_bytes`, and `decision_microseconds` of the policy for one row while all rows decide together, the least
        of `repeats`; nothing where the method does not tell.
    """
    if not algorithm.agent_bytes():
        return {}
    policy, device = algorithm.policy, step.observation.device
    noise = policy.noise(torch.zeros(*step.acting.shape, policy.uniforms(mode), device=device))
    found = []
    for _ in range(repeats):
        began = clock()
        policy.act(step, memory, noise, mode)
        found.append(clock() - began)
    return {
        "agent_bytes": algorithm.agent_bytes(),
        "decision_microseconds": 1e6 * min(found) / len(step.ended),
    }
