"""Distributions of returns on a fixed support: C51, Bellemare et al. 2017 (arXiv 1707.06887) [paper].

A return's distribution is a probability for each of the atoms z_0 < ... < z_(n-1), evenly spaced over [low, high].
"""

from __future__ import annotations

import torch
from torch import Tensor


class Support:
    """The atoms on which returns are distributed.

    Args:
        low, high: first and last atom.
        atoms: how many, at least 2.

    Attributes:
        values: the atoms, float [atom].
    """

    def __init__(self, low: float, high: float, atoms: int, device: torch.device) -> None:
        if not low < high or atoms < 2:
            raise ValueError("a support has at least two atoms, the last above the first")
        self.low, self.high, self.atoms = low, high, atoms
        self.spacing = (high - low) / (atoms - 1)
        self.values = torch.linspace(low, high, atoms, device=device)

    def mean(self, probability: Tensor) -> Tensor:
        """Expected returns: [..., atom] -> [...]."""
        return probability @ self.values

    def project(self, probability: Tensor, reward: Tensor, discount: Tensor) -> Tensor:
        """The distribution of reward + discount Z, brought back onto the support: algorithm 1 of the paper.

        What falls between two atoms is shared by nearness, what falls outside goes to the nearest end.

        Args:
            probability: of Z, float [..., atom].
            reward, discount: float [...]; discount is 0 where the episode is over.

        Returns:
            float [..., atom].
        """
        moved = torch.addcmul(reward.unsqueeze(-1), discount.unsqueeze(-1), self.values)
        place = moved.clamp_(self.low, self.high).sub_(self.low).div_(self.spacing).clamp_(0, self.atoms - 1)
        # The last atom has no right neighbour: its share of one is 0 then, and so is what its neighbour gets.
        left = place.floor().clamp_(max=self.atoms - 2)
        share = place.sub_(left)
        index = left.to(torch.int64)
        right = probability * share
        found = torch.zeros_like(probability).scatter_add_(-1, index, probability - right)
        return found.scatter_add_(-1, index.add_(1), right)
