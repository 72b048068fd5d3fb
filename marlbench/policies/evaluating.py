"""Evaluating a trained policy on fresh episodes, or on those of its recorded absolute evaluation again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from marlbench.algorithms.base import Policy
from marlbench.catalog.types import Protocol
from marlbench.errors import UsageError
from marlbench.policies.trained import Rebuilt, StoredPolicy
from marlbench.store import naming
from marlbench.training.evaluation import Evaluator
from marlbench.training.trainer import ABSOLUTE_STREAM
from marlbench.training.watching import apart

# Streams below are those of trainings and their evaluations (see `marlbench.training.trainer`).
FIRST_STREAM = 1 << 31
CROSS_PLAY_STREAM = 3 << 31
MAXIMUM_SEED = (1 << 31) - 1
# Rows at once where the protocol does not say: enough for the batch to pay, few enough for any memory.
_ROWS = 512

Mode = Literal["greedy", "sampled", "behaviour"]


@dataclass(frozen=True)
class Evaluation:
    """What evaluated policies brought.

    Attributes:
        protocol: by which they were evaluated.
        values: name -> float64 [member, episode].
    """

    protocol: Protocol
    values: Mapping[str, Tensor]

    def of(self, member: int) -> dict[str, list[float]]:
        """name -> one value for each episode of one member."""
        return {name: value[member].tolist() for name, value in self.values.items()}


def protocol_for(rebuilt: Rebuilt, mode: Mode | None) -> Protocol:
    """How a policy is evaluated anew: as its suite says, with another choice of actions where one is asked for."""
    protocol = Protocol.model_validate(rebuilt.cells[0].protocol)
    if mode is not None:
        protocol = protocol.model_copy(update={"policy": mode})
    return apart(protocol, rebuilt.specification.continuing)


def play(
    rebuilt: Rebuilt,
    policy: Policy,
    protocol: Protocol,
    seeds: Sequence[int],
    stream: int,
    episodes: int,
    rows: int | None = None,
) -> Evaluation:
    """Evaluate a policy for `len(seeds)` members, on `episodes` episodes each of one stream of their seeds.

    Args:
        rows: rows of one member at once; by default as many as are useful.
    """
    evaluator = Evaluator(
        rebuilt.environment, rebuilt.maximum_rows, policy, protocol, seeds, rows or min(episodes, _ROWS)
    )
    try:
        evaluator.begin(stream, episodes)
        while evaluator.running:
            evaluator.advance()
        return Evaluation(protocol, evaluator.results())
    finally:
        evaluator.close()


def evaluate(rebuilt: Rebuilt, mode: Mode | None, episodes: int, seed: int) -> Evaluation:
    """Fresh episodes, which no training and no evaluation of it has seen.

    Args:
        rebuilt: one cell, or several side by side.
        mode: which actions; None for the protocol's.
        seed: in [0, MAXIMUM_SEED]; other seeds give other episodes.
    """
    if not 0 <= seed <= MAXIMUM_SEED:
        raise UsageError(f"--seed {seed}: not between 0 and {MAXIMUM_SEED}.")
    protocol = protocol_for(rebuilt, mode)
    if protocol.policy == "behaviour":
        rebuilt.algorithm.begin(_last_rollout(rebuilt))
    seeds = [cell.seed for cell in rebuilt.cells]
    return play(rebuilt, rebuilt.policy, protocol, seeds, FIRST_STREAM + seed, episodes)


def repeat(job: Sequence[StoredPolicy], stored: StoredPolicy, device: torch.device) -> tuple[Evaluation, int]:
    """The recorded absolute evaluation once more: the same policies, episodes and batch, so the same bits on a CPU.

    Args:
        job: the members that trained together, `stored` among them (see `trained.whole_job`).

    Returns:
        the evaluation, and which of its members is `stored`.

    Raises:
        UsageError: the protocol has no evaluation apart from the training.
    """
    protocol = Protocol.model_validate(stored.cell.protocol)
    if protocol.kind == "online":
        raise UsageError(
            f"the protocol of {naming.name(stored.cell)} measures the training itself: nothing can be repeated.",
            "Leave --repeat out.",
        )
    rebuilt = Rebuilt(job, "best", device)
    try:
        if protocol.policy == "behaviour":
            rebuilt.algorithm.begin(_last_rollout(rebuilt))
        seeds = [cell.seed for cell in rebuilt.cells]
        found = play(
            rebuilt,
            rebuilt.policy,
            protocol,
            seeds,
            ABSOLUTE_STREAM,
            protocol.absolute_episodes,
            protocol.episodes,
        )
    finally:
        rebuilt.close()
    return found, next(index for index, one in enumerate(job) if one is stored)


def _last_rollout(rebuilt: Rebuilt) -> int:
    """Environment steps at which the last rollout of the training began: exploration stood as it was then."""
    cell, length = rebuilt.cells[0], rebuilt.algorithm.rollout_length
    joint = -(-cell.steps // cell.rows)
    return (joint - 1) // length * length * cell.rows
