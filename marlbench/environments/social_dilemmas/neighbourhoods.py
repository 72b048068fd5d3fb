"""Who meets whom: the neighbours of every agent, as indices."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from marlbench.environments.keys import derive, uniform


def lattice(side: int) -> Tensor:
    """Up, right, down, left of each cell of a periodic square lattice: int64 [agent, 4]."""
    agent = torch.arange(side * side)
    row, column = agent // side, agent % side
    moves = [(-1, 0), (0, 1), (1, 0), (0, -1)]
    return torch.stack([((row + down) % side) * side + (column + right) % side for down, right in moves], 1)


def random_regular(agents: int, degree: int, key: int) -> Tensor:
    """A random simple graph in which everybody has `degree` neighbours: int64 [agent, degree], in rising order.

    The pairing of Steger and Wormald 1999: stubs are joined two at a time at random, never twice the same pair nor one
    with itself, and from anew where no legal pair is left; nearly uniform among all such graphs for a small degree.
    """
    generator = np.random.default_rng(key % (1 << 64))
    while True:
        edges: set[tuple[int, int]] = set()
        stubs = np.repeat(np.arange(agents), degree)
        while len(stubs):
            generator.shuffle(stubs)
            left: list[int] = []
            for first, second in stubs.reshape(-1, 2).tolist():
                pair = (min(first, second), max(first, second))
                if first == second or pair in edges:
                    left += [first, second]
                else:
                    edges.add(pair)
            if len(left) == len(stubs) and not _joinable(left, edges):
                break
            stubs = np.array(left, dtype=np.int64)
        if len(edges) == agents * degree // 2:
            neighbours: list[list[int]] = [[] for _ in range(agents)]
            for first, second in edges:
                neighbours[first].append(second)
                neighbours[second].append(first)
            return torch.tensor([sorted(found) for found in neighbours])


def _joinable(stubs: list[int], edges: set[tuple[int, int]]) -> bool:
    """Whether any two of the stubs may still be joined."""
    ends = sorted(set(stubs))
    return any(
        (first, second) not in edges for place, first in enumerate(ends) for second in ends[place + 1 :]
    )


def well_mixed(keys: Tensor, agents: int, meetings: int) -> Tensor:
    """For each row, `meetings` others of each agent, drawn independently: int64 [row, agent, meetings]."""
    drawn = uniform(derive(keys, 0), agents * meetings).view(-1, agents, meetings)
    other = (drawn * (agents - 1)).long()
    return other + (other >= torch.arange(agents, device=keys.device).view(1, -1, 1))
