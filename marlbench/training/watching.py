"""One episode of a policy, step by step, for whoever looks on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from marlbench.algorithms.base import Policy
from marlbench.catalog.types import Protocol
from marlbench.environments.contract import BatchedEnvironment, Step
from marlbench.environments.keys import derive, uniform
from marlbench.training.evaluation import cut_memory

# Evaluations and plays are told apart, so that what is looked at is not what is counted.
PLAY_STREAM = 1 << 32


@dataclass(frozen=True)
class Moment:
    """What the rows show at one time of their first episode.

    Attributes:
        time: joint steps since the start.
        returned: float64 [row]; rewards so far, averaged over agents.
        over: bool [row]; the row's episode ended in this step or before.
    """

    step: Step
    time: int
    returned: Tensor
    over: Tensor


def apart(protocol: Protocol, continuing: bool) -> Protocol:
    """A protocol for a policy that is done: one of kind `online` measures the training itself.

    Such a policy is measured over a window of that length where the task never ends (`continuing`), and over whole
    episodes elsewhere.
    """
    if protocol.kind != "online":
        return protocol
    changes: dict[str, object] = {"kind": "episodic", "window": None, "warm_up": None}
    if continuing:
        changes = {"kind": "continuing", "length": protocol.window, "window": None}
    return protocol.model_copy(update=changes)


def watch(
    environment: BatchedEnvironment, policy: Policy, protocol: Protocol, keys: Tensor
) -> Iterator[Moment]:
    """From the start of the rows' episodes until each of them has ended once.

    Exploration of the training is no part of it: what would act by `behaviour` is sampled.

    Args:
        protocol: not one of kind `online`, see `apart`.
        keys: int64 [row].
    """
    mode = "sampled" if protocol.policy == "behaviour" else protocol.policy
    step = environment.reset(keys)
    rows, agents = len(keys), len(environment.specification.agents)
    device = environment.device
    memory = torch.zeros(rows, agents, policy.memory_size, device=device) if policy.memory_size else None
    noise, time = torch.zeros(0, device=device), 0
    returned = torch.zeros(rows, dtype=torch.float64, device=device)
    over = torch.zeros(rows, dtype=torch.bool, device=device)
    yield Moment(step, 0, returned.clone(), over.clone())
    while not bool(over.all()):
        if count := policy.uniforms(mode):
            drawn = uniform(derive(keys, time + (1 << 40)), agents * count)
            noise = policy.noise(drawn.view(rows, agents, count))
        action, memory = policy.act(step, memory, noise, mode)
        step = environment.step(action)
        memory = cut_memory(memory, step)
        time += 1
        returned += torch.where(over, 0.0, step.reward.to(torch.float64).mean(1))
        over |= step.ended
        if protocol.kind == "continuing" and time == protocol.length:
            over.fill_(True)
        yield Moment(step, time, returned.clone(), over.clone())
