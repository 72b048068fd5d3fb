"""Prioritised replay: what surprised more is sampled more often.

Schaul et al. 2016 (arXiv 1511.05952), the proportional variant of section 3.3 and the importance weights of 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor


class Priorities:
    """A tree of sums over the priorities of one ring of leaves for each member.

    Node k has the children 2 k and 2 k + 1; the leaves are the second half. A parent is always summed anew from its
    children, so the tree depends on its leaves alone, whatever the order in which they came.

    Args:
        members: leading axis.
        leaves: of each member.
        device: where the tree lives.
    """

    def __init__(self, members: int, leaves: int, device: torch.device) -> None:
        self.depth = max(1, (leaves - 1).bit_length())
        self.size = 1 << self.depth
        self.tree = torch.zeros(members, 2 * self.size, dtype=torch.float64, device=device)
        self.largest = torch.ones(members, 1, dtype=torch.float64, device=device)

    def set(self, leaf: Tensor, priority: Tensor) -> None:
        """leaf: int64 [member, k]; priority: float64 [member, k], not negative."""
        node = leaf + self.size
        self.tree.scatter_(1, node, priority)
        for _ in range(self.depth):
            node = node // 2
            self.tree.scatter_(1, node, self.tree.gather(1, 2 * node) + self.tree.gather(1, 2 * node + 1))

    def update(self, leaf: Tensor, priority: Tensor) -> None:
        """Set the priorities of leaves that were sampled, and remember the largest one for those to come."""
        priority = priority.to(torch.float64)
        # A member that diverges must not spoil its tree with numbers that cannot be compared.
        priority = torch.nan_to_num(priority, nan=1e-6, posinf=1e6)
        self.largest = torch.maximum(self.largest, priority.amax(1, keepdim=True))
        self.set(leaf, priority)

    def draw(self, generators: Sequence[Generator], batch: int) -> tuple[Tensor, Tensor]:
        """Sample leaves in proportion to their priorities, one from each of `batch` equal parts of the sum.

        Returns:
            leaf, int64 [member, batch], and its probability, float64 [member, batch].
        """
        device = self.tree.device
        drawn = torch.stack([torch.rand(batch, generator=g, dtype=torch.float64) for g in generators])
        drawn = (drawn + torch.arange(batch, dtype=torch.float64)) / batch
        total = self.tree[:, 1:2]
        mass = drawn.to(device) * total
        node = torch.ones(mass.shape, dtype=torch.int64, device=device)
        for _ in range(self.depth):
            left, right = self.tree.gather(1, 2 * node), self.tree.gather(1, 2 * node + 1)
            # Rounding may leave a mass at the edge of a part that weighs nothing; nothing there is ever drawn.
            goes_right = (mass >= left) & (right > 0)
            mass = torch.where(goes_right, mass - left, mass)
            node = 2 * node + goes_right
        return node - self.size, self.tree.gather(1, node) / total

    def state_dict(self) -> dict[str, Any]:
        return {"leaves": self.tree[:, self.size :].clone(), "largest": self.largest.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.tree[:, self.size :] = state["leaves"].to(self.tree.device)
        for level in range(self.depth - 1, -1, -1):
            first = 1 << level
            children = self.tree[:, 2 * first : 4 * first].view(self.tree.shape[0], first, 2)
            self.tree[:, first : 2 * first] = children[..., 0] + children[..., 1]
        self.largest = state["largest"].to(self.tree.device)
