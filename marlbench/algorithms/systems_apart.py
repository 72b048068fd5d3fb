"""Which learner has which rows: every row, a system, one of its own as in the papers, or all rows of a seed one."""

from __future__ import annotations

import torch
from torch import Tensor


class Apart:
    """Folds [member x row, ...] into [stack, lane, ...] and back, stack = member x learner.

    Args:
        members: seeds.
        learners: of each member; row r belongs to learner r modulo so many, also where an evaluation has more rows.
    """

    def __init__(self, members: int, learners: int) -> None:
        self.members, self.learners = members, learners
        self.stack = members * learners

    def fold(self, values: Tensor) -> Tensor:
        """[member x row, features] -> [stack, lane, features]; where rows do not come out even, zeros fill up."""
        rows = values.shape[0] // self.members
        if rows == self.learners or self.learners == 1:
            return values.reshape(self.stack, -1, values.shape[-1])
        lanes = -(-rows // self.learners)
        split = values.view(self.members, rows, -1)
        if lanes * self.learners != rows:
            filling = split.new_zeros(self.members, lanes * self.learners - rows, split.shape[-1])
            split = torch.cat([split, filling], 1)
        split = split.view(self.members, lanes, self.learners, -1).transpose(1, 2)
        return split.reshape(self.stack, lanes, -1)

    def unfold(self, values: Tensor, rows: int) -> Tensor:
        """[stack, lane, features] -> [member x row, features]; `rows` counts those of all members."""
        each = rows // self.members
        if each == self.learners or self.learners == 1:
            return values.reshape(rows, -1)
        split = values.view(self.members, self.learners, values.shape[1], -1).transpose(1, 2)
        return split.reshape(self.members, -1, values.shape[-1])[:, :each].reshape(rows, -1)
