"""What the outputs of a network of action values are: their distributions, or their expectations.

A head turns outputs [..., outputs] into values [..., action], and says how the loss of what was done changes with them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from marlbench.algorithms.categorical import Support
from marlbench.algorithms.categorical_kernel import categorical_slope


@dataclass(frozen=True)
class Lesson:
    """Transitions of single decisions.

    Attributes:
        observation, following: float [stack, sample, features].
        action: int64 [stack, sample].
        reward: float [stack, sample], of all steps that it sums.
        discount: float [stack, sample], of the value that follows; 0 where none does.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    discount: Tensor
    following: Tensor


class Head(ABC):
    """What the outputs are.

    Attributes:
        compiles: whether the compiled kernel knows them.
    """

    compiles: ClassVar[bool] = True

    def __init__(self, actions: int) -> None:
        self.actions = actions
        # Of each action; one number where it is the expectation.
        self.atoms = 1
        self.support = torch.zeros(1)

    @property
    def outputs(self) -> int:
        """Of the network."""
        return self.actions * self.atoms

    @abstractmethod
    def values(self, outputs: Tensor) -> Tensor:
        """How good the actions are, for instance expected returns: [..., outputs] -> [..., action]."""


class ReturnHead(Head):
    """A head that learns returns from transitions."""

    @abstractmethod
    def slope(self, outputs: Tensor, behind: Tensor, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """The slope of each sample's loss in its outputs, and the losses.

        Args:
            outputs: of the learning network for observations, [stack, sample, outputs].
            behind: of the older network for what followed, likewise.

        Returns:
            float [stack, sample, outputs] and [stack, sample].
        """


class ExpectedHead(ReturnHead):
    """Expectations: Q-learning, Mnih et al. 2013 (arXiv 1312.5602), with half the squared error for a loss."""

    def values(self, outputs: Tensor) -> Tensor:
        return outputs

    def slope(self, outputs: Tensor, behind: Tensor, lesson: Lesson) -> tuple[Tensor, Tensor]:
        target = torch.addcmul(lesson.reward, lesson.discount, behind.amax(-1))
        index = lesson.action.unsqueeze(-1)
        error = outputs.gather(-1, index).squeeze(-1) - target
        slope = torch.zeros_like(outputs).scatter_(-1, index, error.unsqueeze(-1))
        return slope, 0.5 * error.square()


class CategoricalHead(ReturnHead):
    """Distributions of returns by softmax over atoms: C51, with the cross-entropy for a loss."""

    def __init__(self, actions: int, support: Support) -> None:
        super().__init__(actions)
        self.returns, self.atoms, self.support = support, support.atoms, support.values

    def _split(self, outputs: Tensor) -> Tensor:
        """[..., outputs] -> [..., action, atom]."""
        return outputs.unflatten(-1, (self.actions, self.atoms))

    def values(self, outputs: Tensor) -> Tensor:
        return self.returns.mean(self._split(outputs).softmax(-1))

    def slope(self, outputs: Tensor, behind: Tensor, lesson: Lesson) -> tuple[Tensor, Tensor]:
        compiles = outputs.device.type == "cpu" and outputs.dtype == torch.float32
        return (self.slope_compiled if compiles else self.slope_of_tensors)(outputs, behind, lesson)

    def slope_compiled(self, outputs: Tensor, behind: Tensor, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """`slope` on a CPU, by a loop over transitions."""
        slope, loss = torch.empty_like(outputs), torch.empty_like(lesson.reward)
        given = (outputs, behind, lesson.action, lesson.reward, lesson.discount)
        flat = [value.contiguous().view(loss.numel(), *value.shape[2:]).numpy() for value in given]
        categorical_slope(
            *flat, self.support.numpy(), slope.view(loss.numel(), -1).numpy(), loss.view(-1).numpy()
        )
        return slope, loss

    def slope_of_tensors(self, outputs: Tensor, behind: Tensor, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """`slope` on any device."""
        shown = (-1, -1, 1, self.atoms)
        following = self._split(behind).softmax(-1)
        best = self.returns.mean(following).argmax(-1, keepdim=True).unsqueeze(-1).expand(shown)
        target = self.returns.project(following.gather(2, best).squeeze(2), lesson.reward, lesson.discount)
        index = lesson.action.view(*lesson.action.shape, 1, 1).expand(shown)
        logarithm = self._split(outputs).gather(2, index).squeeze(2).log_softmax(-1)
        loss = -(target * logarithm).sum(-1)
        # The slope of -sum m log softmax(x) is softmax(x) - m, where the m sum to one.
        change = logarithm.exp_().sub_(target).unsqueeze(2)
        slope = torch.zeros_like(self._split(outputs)).scatter_(2, index, change)
        return slope.flatten(2), loss
