"""Policies of different cells in one team: who plays well with partners that it was not trained with?

Hu et al. 2020, "Other-Play" for zero-shot coordination (arXiv 2003.02979): a method's self-play is the mean return of
its seeds with themselves, its cross-play that of pairs of different seeds, and the gap between the two is what its
seeds agreed on by convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from marlbench.algorithms.base import Mode, Policy
from marlbench.analysis.means import Mean, mean_of
from marlbench.catalog.cell import Cell
from marlbench.catalog.types import Protocol
from marlbench.environments.contract import Step
from marlbench.errors import UsageError, did_you_mean
from marlbench.policies.evaluating import CROSS_PLAY_STREAM, play, protocol_for
from marlbench.policies.trained import Rebuilt
from marlbench.store import naming

RESAMPLES = 2_000
# All pairings play the same episodes: what differs between them is who plays.
_EPISODES_OF = 0


class JointPolicy(Policy):
    """Each agent's action is taken by one of several policies.

    Every policy computes what it would do for all agents, and sees all of its own memory; of what it says, the
    actions of the agents that it plays are taken.

    Args:
        policies: of one member each.
        players: for each agent, the index of the policy that plays it.
    """

    def __init__(self, policies: Sequence[Policy], players: Sequence[int]) -> None:
        self.used = sorted(set(players))
        self.policies = [policies[index] for index in self.used]
        self.agents = [
            torch.tensor([agent for agent, player in enumerate(players) if player == index])
            for index in self.used
        ]
        self.memory_sizes = [policy.memory_size for policy in self.policies]
        self.memory_size = sum(self.memory_sizes)

    def uniforms(self, mode: Mode) -> int:
        return sum(policy.uniforms(mode) for policy in self.policies)

    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        action, memories = None, []
        memory_start = noise_start = 0
        for policy, agents, size in zip(self.policies, self.agents, self.memory_sizes, strict=True):
            count = policy.uniforms(mode)
            own_noise = (
                policy.noise(noise[..., noise_start : noise_start + count].clone()) if count else noise
            )
            own_memory = None
            if size:
                assert memory is not None
                own_memory = memory[..., memory_start : memory_start + size].contiguous()
            chosen, following = policy.act(step, own_memory, own_noise, mode)
            action = torch.empty_like(chosen) if action is None else action
            index = agents.to(chosen.device)
            action[:, index] = chosen[:, index]
            if following is not None:
                memories.append(following)
            memory_start, noise_start = memory_start + size, noise_start + count
        assert action is not None
        return action, torch.cat(memories, -1) if memories else None


@dataclass(frozen=True)
class CrossPlay:
    """What every pairing of policies brought on the same episodes.

    Attributes:
        cells: whose policies; one row and one column each.
        first, rest: names of the agents that the row's policy plays, and of those that the column's plays.
        metric: the task's.
        protocol: by which the pairings were evaluated.
        values: float64 [row, column, episode].
    """

    cells: tuple[Cell, ...]
    first: tuple[str, ...]
    rest: tuple[str, ...]
    metric: str
    protocol: Protocol
    values: np.ndarray

    def mean(self, row: int, column: int) -> Mean:
        """Of one pairing, over its episodes."""
        return mean_of(self.values[row, column].tolist())

    @cached_property
    def means(self) -> np.ndarray:
        """float64 [row, column]."""
        means: np.ndarray = self.values.mean(2)
        return means

    @property
    def self_play(self) -> float:
        """The mean of policies with themselves."""
        return float(np.diag(self.means).mean())

    @property
    def cross_play(self) -> float:
        """The mean of pairings of different policies."""
        return float(self.means[~np.eye(len(self.cells), dtype=bool)].mean())

    def gap(self) -> Mean:
        """Self-play minus cross-play, with its 95 % percentile bootstrap interval over policies.

        Policies are drawn with replacement; a policy drawn twice is no pair of different ones. With fewer than three
        policies there is no interval.
        """
        count = len(self.cells)
        point = self.self_play - self.cross_play
        if count < 3:
            return Mean(point, None, None, count)
        draws = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
        drawn = self.means[draws[:, :, None], draws[:, None, :]]
        different = draws[:, :, None] != draws[:, None, :]
        pairs = different.sum((1, 2))
        usable = pairs > 0
        cross = np.where(different, drawn, 0.0).sum((1, 2))[usable] / pairs[usable]
        own = np.diag(self.means)[draws].mean(1)[usable]
        low, high = np.percentile(own - cross, [2.5, 97.5])
        return Mean(point, float(low), float(high), count)


def cross_play(
    teams: Sequence[Rebuilt], first: Sequence[str] | None, mode: Mode | None, episodes: int, seed: int
) -> CrossPlay:
    """Play every pairing of the cells' policies: the row's plays the agents `first`, the column's the others.

    Args:
        teams: one cell each, all of one task.
        first: names of agents; by default the first half of them (the smaller half of an odd number).

    Raises:
        UsageError: fewer than two policies, another task, or agents that the task does not have.
    """
    cells = tuple(team.cells[0] for team in teams)
    _require_one_task(cells)
    agents = teams[0].specification.agents
    chosen = _agents(agents, first)
    protocol = protocol_for(teams[0], mode)
    if protocol.policy == "behaviour":
        protocol = protocol.model_copy(update={"policy": "sampled"})
    policies = [team.policy for team in teams]
    metric = str(cells[0].score["metric"])
    values = np.zeros((len(cells), len(cells), episodes))
    for row in range(len(cells)):
        for column in range(len(cells)):
            players = [row if agent in chosen else column for agent in agents]
            found = play(
                teams[row],
                JointPolicy(policies, players),
                protocol,
                [_EPISODES_OF],
                CROSS_PLAY_STREAM + seed,
                episodes,
            )
            if metric not in found.values:
                raise UsageError(
                    f"the pairings of '{cells[0].task}' have no {metric} in this protocol.",
                    f"There are {', '.join(found.values)}.",
                )
            values[row, column] = found.values[metric][0].numpy()
    rest = tuple(agent for agent in agents if agent not in chosen)
    return CrossPlay(cells, tuple(a for a in agents if a in chosen), rest, metric, protocol, values)


def _require_one_task(cells: Sequence[Cell]) -> None:
    if len({cell.id for cell in cells}) < 2:
        raise UsageError(
            f"cross-play needs at least two policies; there is one, {naming.name(cells[0])}.",
            "Name several cells, or all seeds of a label: SUITE/TASK/LABEL.",
        )

    def task(cell: Cell) -> tuple[object, ...]:
        return (cell.environment, cell.parameters, cell.backend, cell.simulator, cell.data)

    for cell in cells[1:]:
        if task(cell) != task(cells[0]):
            raise UsageError(
                f"{naming.name(cells[0])} and {naming.name(cell)} were not trained on the same task.",
                "Cross-play needs one environment with the same parameters.",
            )


def _agents(agents: Sequence[str], first: Sequence[str] | None) -> set[str]:
    if len(agents) < 2:
        raise UsageError("the task has a single agent: there is nobody to play with.")
    if first is None:
        return set(agents[: len(agents) // 2])
    for name in first:
        if name not in agents:
            raise UsageError(f"--assign: the task has no agent '{name}'.", did_you_mean(name, agents))
    if set(first) == set(agents):
        raise UsageError("--assign names every agent: nobody is left for the other policy.", "Name fewer.")
    return set(first)
