"""Rows of the dummy packages, and the seeds that the adapter gives them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from marlbench.adapters.pettingzoo import PettingZooEnvironment
from marlbench.environments.keys import derive, row_keys

CPU = torch.device("cpu")
Make = Callable[..., PettingZooEnvironment]


def keys(rows: int = 3) -> torch.Tensor:
    return row_keys([0], 0, rows, CPU)


def seed(key: torch.Tensor, episode: int) -> int:
    return int(derive(key, episode) >> 33) & (2**31 - 1)


def same(rows: int, agents: int, action: int = 0) -> torch.Tensor:
    return torch.full((rows, agents), action)
