"""Players by rule: what the enemies do, or either side.

All of them attack-move: they shoot at whom they reach and walk towards the nearest otherwise, over any distance.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from marlbench.environments.smac.battle import COOLDOWN, FAR, HEALTH, SHIELD, Battle, length

Tactic = Literal["nearest", "focus_fire", "retreat"]
# Below this share of health and shield, `retreat` steps back while the weapon reloads.
_WOUNDED = 1 / 3


class Script:
    """One side, played by rule.

    Attributes:
        tactic: `nearest` attacks the nearest, measured to its edge; `focus_fire`, of those in reach, whoever has the
            least health and shield left; `retreat` the nearest, but its wounded step back while they reload.
    """

    def __init__(self, battle: Battle, tactic: Tactic, side: Literal["allies", "enemies"]) -> None:
        self.battle, self.tactic = battle, tactic
        allies, enemies = slice(0, battle.allies), slice(battle.allies, battle.units)
        self.own, self.other = (allies, enemies) if side == "allies" else (enemies, allies)
        # In the block [ally, enemy, row], the axis of the opponents.
        self._axis = 1 if side == "allies" else 0
        self._self = torch.arange(battle.units, device=battle.device).unsqueeze(1)
        self._patients: Tensor | None = None

    def begin(self) -> None:
        """A step begins, after a look: those who heal choose their patients for all of it."""
        battle = self.battle
        if battle.heals is None:
            return
        place, health = battle.place[:, self.own], battle.unit[HEALTH, self.own]
        gap = place.unsqueeze(1) - place.unsqueeze(2)
        distance = length(gap)
        # The nearest of the hurt, or else whoever is nearest; never one that flies, nor oneself.
        distance += (health >= battle.traits["health"][self.own]).unsqueeze(0) * 100.0
        distance += battle.heals[self.own].unsqueeze(0) * 1e4
        self._patients = self._chosen(distance, 1, self.own)

    def decide(self, goal: Tensor, course: Tensor) -> None:
        """Write the side's goals int64 [unit, row] and courses float [2, unit, row] for one loop, after a look."""
        battle = self.battle
        edge = battle.across - battle.traits["radius"][self.other].unsqueeze(1 - self._axis)
        if battle.barred is not None:
            edge += battle.barred[1 - self._axis]
        chosen = (
            self._weakest(edge) if self.tactic == "focus_fire" else self._chosen(edge, self._axis, self.other)
        )
        if battle.heals is not None:
            assert self._patients is not None
            chosen = torch.where(battle.heals[self.own], self._patients, chosen)
        if self.tactic == "retreat":
            chosen = self._retreat(edge, chosen, course)
        goal[self.own] = chosen

    def _chosen(self, measure: Tensor, axis: int, among: slice) -> Tensor:
        """Whoever measures least along an axis; the chooser itself where that is too far to be alive."""
        least, index = measure.min(axis)
        return torch.where(least < FAR, index + among.start, self._self[self.own])

    def _weakest(self, edge: Tensor) -> Tensor:
        battle = self.battle
        own = battle.traits["radius"][self.own].unsqueeze(self._axis)
        reach = battle.traits["reach"][self.own].unsqueeze(self._axis)
        left = (battle.unit[HEALTH] + battle.unit[SHIELD])[self.other].unsqueeze(1 - self._axis)
        # Nobody has a thousand health, so those in reach come first.
        measure = torch.where(edge <= reach + own, left * (FAR / 2000), edge + FAR / 2)
        return self._chosen(measure, self._axis, self.other)

    def _retreat(self, edge: Tensor, chosen: Tensor, course: Tensor) -> Tensor:
        battle = self.battle
        left = (battle.unit[HEALTH] + battle.unit[SHIELD])[self.own]
        full = (battle.traits["health"] + battle.traits["shield"])[self.own]
        flees = (left < full * _WOUNDED) & (battle.unit[COOLDOWN, self.own] >= 1)
        nearest = self._chosen(edge, self._axis, self.other)
        place = battle.place
        away = place[:, self.own] - place.gather(1, nearest.expand(2, -1, -1))
        distance = length(away).clamp_(min=1e-3)
        course[:, self.own] = away * (battle.traits["speed"][self.own] * flees / distance)
        return torch.where(flees, self._self[self.own], chosen)
