"""Memory-1 players of iterated games: how probable it is that they cooperate depends on the round before alone.

A player is five probabilities of C: at the start and after CC, CD, DC, DD, its own action first. Tit for tat (Axelrod
1984) is (1, 1, 0, 1, 0), win-stay, lose-shift (Nowak and Sigmund 1993) is (1, 1, 0, 0, 1); the tabular players of
arXiv 2602.16301 draw all five from U(0, 1) [paper].
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from marlbench.algorithms.base import Algorithm, Hyperparameters, Mode, Policy, Setting, generators
from marlbench.environments.contract import Discrete, Step
from marlbench.errors import ConfigurationError

Probabilities = tuple[float, float, float, float, float]

# What the first features of an observation tell, as an environment names them.
EVENTS = ("CC", "CD", "DC", "DD", "start")


class MemoryOnePolicy(Policy):
    """Cooperates (action 0) with the probability that belongs to the round before, whatever the mode.

    Args:
        table: probabilities of C in the order of `EVENTS`, float [member, agent, 5]; None to draw an agent's own
            from U(0, 1) at the start of every episode.
    """

    def __init__(self, setting: Setting, table: Tensor | None) -> None:
        self.members, self.agents = setting.members, setting.agents
        self.table = None if table is None else table.to(setting.device)
        self.memory_size = len(EVENTS) if table is None else 0

    def uniforms(self, mode: Mode) -> int:
        return 1 + self.memory_size

    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        event = step.observation[..., : len(EVENTS)]
        if self.table is None:
            assert memory is not None
            started = event[..., -1:] > 0.5
            memory = torch.where(started, noise[..., 1:], memory)
            table = memory
        else:
            rows = event.shape[0] // self.members
            table = self.table.repeat_interleave(rows, 0)
        probability = (table * event).sum(-1)
        return (noise[..., 0] >= probability).to(torch.int64), memory


class MemoryOneHyperparameters(Hyperparameters):
    """Settings of memory-1 players."""

    probabilities: Probabilities | None = Field(
        None,
        description="of C: at the start, then after CC, CD, DC, DD, one's own action first; null draws them",
    )
    drawn: Literal["episode", "seed"] = Field(
        "episode", description="for how long: each agent's anew for every episode, or once for each seed"
    )

    @field_validator("probabilities")
    @classmethod
    def _are_probabilities(cls, value: Probabilities | None) -> Probabilities | None:
        if value is not None and not all(0.0 <= one <= 1.0 for one in value):
            raise ValueError("probabilities lie in [0, 1]")
        return value


class ScriptedPlayer(Algorithm):
    """Base of players that learn nothing. Subclasses name their probabilities, as in the module's docstring."""

    Hyperparameters: ClassVar[type[Hyperparameters]] = Hyperparameters
    learns = False
    probabilities: ClassVar[Probabilities]

    def __init__(self, setting: Setting, hyperparameters: Any) -> None:
        specification = setting.specification
        action = specification.action
        binary = isinstance(action, Discrete) and action.count == 2
        if not binary or specification.features[: len(EVENTS)] != EVENTS:
            raise ConfigurationError(
                f"{type(self).__name__} plays games of two actions whose observations begin with a one-hot of the "
                f"round before ({', '.join(EVENTS)}), and this task's do not.",
                hint="Use it for iterated games, for instance `environment: iterated_game:prisoners_dilemma`.",
            )
        self.policy = MemoryOnePolicy(setting, self.table(setting, hyperparameters))

    def table(self, setting: Setting, hyperparameters: Any) -> Tensor | None:
        """Probabilities of C in the order of `EVENTS`, float [member, agent, 5], or None to draw them anew."""
        return _in_order(torch.tensor(self.probabilities)).expand(setting.members, setting.agents, -1)


class TitForTat(ScriptedPlayer):
    """Cooperates first, then does what the other did."""

    probabilities = (1.0, 1.0, 0.0, 1.0, 0.0)


class WinStayLoseShift(ScriptedPlayer):
    """Cooperates first; keeps its action where the other cooperated, else takes the other one."""

    probabilities = (1.0, 1.0, 0.0, 0.0, 1.0)


class AlwaysCooperate(ScriptedPlayer):
    """Cooperates."""

    probabilities = (1.0, 1.0, 1.0, 1.0, 1.0)


class AlwaysDefect(ScriptedPlayer):
    """Defects."""

    probabilities = (0.0, 0.0, 0.0, 0.0, 0.0)


class MemoryOne(ScriptedPlayer):
    """Five probabilities of one's own choice, or drawn at random."""

    Hyperparameters = MemoryOneHyperparameters

    def table(self, setting: Setting, hyperparameters: MemoryOneHyperparameters) -> Tensor | None:
        if hyperparameters.probabilities is not None:
            fixed = _in_order(torch.tensor(hyperparameters.probabilities))
            return fixed.expand(setting.members, setting.agents, -1)
        if hyperparameters.drawn == "episode":
            return None
        shape = (setting.agents, len(EVENTS))
        return torch.stack([torch.rand(shape, generator=g) for g in generators(setting.seeds, stream=0)])


def _in_order(probabilities: Tensor) -> Tensor:
    """From (start, CC, CD, DC, DD) to the order of `EVENTS`: [5]."""
    return probabilities.roll(-1)
