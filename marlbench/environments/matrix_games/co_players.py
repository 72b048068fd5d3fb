"""Players with fixed rules for the second seat of a repeated game.

A rule answers to the event before: the joint action of the last round, or the start. Events are numbered as
the game numbers them, `first's action * actions + second's action`, and the start comes last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from marlbench.environments.matrix_games.games import Payoffs


def constant(actions: int, action: int) -> Tensor:
    """Always the same action: int64 [event]."""
    return torch.full((actions * actions + 1,), action)


def tit_for_tat(actions: int) -> Tensor:
    """Action 0 first, then what the other did last: int64 [event] (Axelrod 1984)."""
    events = torch.arange(actions * actions + 1)
    return torch.where(events < actions * actions, events // actions, 0)


def win_stay_lose_shift(payoffs: Payoffs) -> Tensor:
    """Action 0 first; keeps its action after a good payoff, else takes the other one: int64 [event].

    For games of two actions, after Nowak and Sigmund 1993, who let the two better of the four payoffs count
    as a win; here those above the mean of the four do, which is the same for the dilemmas' usual payoffs.
    """
    own = torch.tensor([pair[1] for line in payoffs for pair in line], dtype=torch.float64)
    action = torch.tensor([0, 1, 0, 1])
    return torch.cat([torch.where(own > own.mean(), action, 1 - action), torch.tensor([0])])


def tabular(probabilities: Sequence[float]) -> Tensor:
    """The probability of action 0 after each event: float32 [5], for games of two actions.

    Args:
        probabilities: of action 0 at the start and after 00, 01, 10, 11, the tabular player's own action
            first: the order of arXiv 2602.16301's memory-1 players.
    """
    return order_by_event(torch.tensor(probabilities))


def order_by_event(probabilities: Tensor) -> Tensor:
    """From [..., (start, 00, 01, 10, 11)] in the player's own view to [..., event]."""
    start, both, alone, exploited, neither = probabilities.unbind(-1)
    return torch.stack([both, exploited, alone, neither, start], dim=-1)
