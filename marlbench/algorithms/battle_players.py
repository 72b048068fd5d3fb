"""Players by rule for tasks whose observations are named like those of smacv2: the floor that learners must pass.

They see what a learner sees, and nothing else: each agent its own observation and its own mask. Who heals attends to
the most hurt ally within reach, walks to hurt ones that it sees, and else follows the nearest ally.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from marlbench.algorithms.base import Algorithm, Hyperparameters, Mode, Policy, Setting
from marlbench.environments.contract import Step
from marlbench.errors import ConfigurationError

_STOP, _NORTH, _WEST, _TARGETS = 1, 2, 5, 6
_FAR = 1e3
_HEALERS = ("type_medivac",)
# Their weapons reach no farther than their arms: stepping back wins them nothing.
_AT_ARMS_LENGTH = ("type_zealot", "type_zergling", "type_baneling")


class BattlePolicy(Policy):
    """Reads observations by the names of their features, and leaves the choice of a target to `choose`.

    Raises:
        ConfigurationError: the task's observations are not named so.
    """

    def __init__(self, setting: Setting) -> None:
        self.members = setting.members
        specification = setting.specification
        self._index = {name: index for index, name in enumerate(specification.features)}
        self.enemies = self._count("enemy_{}.attackable")
        self.others = self._count("ally_{}.visible")
        if not self.enemies:
            raise ConfigurationError(
                "this player needs observations with named enemies, as in the tasks of `smac`.",
                hint="Leave it out on this task: `tasks: [...]` in its entry of the suite.",
            )
        self.device = setting.device
        # Agent i's other allies in the order of their actions.
        agents = setting.agents
        others = [[other for other in range(agents) if other != agent] for agent in range(agents)]
        self._others = torch.tensor(others, dtype=torch.int64, device=setting.device).view(agents, -1)

    def _count(self, name: str) -> int:
        number = 0
        while name.format(number) in self._index:
            number += 1
        return number

    def uniforms(self, mode: Mode) -> int:
        return 0

    def of(self, observation: Tensor, who: str, part: str) -> Tensor:
        """A feature of all `enemy`s or other `ally`s, [row, agent, unit]; zeros where there is no such feature."""
        count = self.enemies if who == "enemy" else self.others
        found = [self._index.get(f"{who}_{number}.{part}") for number in range(count)]
        if not found or found[0] is None:
            return observation.new_zeros(*observation.shape[:2], count)
        return observation[..., [index for index in found if index is not None]]

    def own(self, observation: Tensor, parts: tuple[str, ...]) -> Tensor:
        """Whether the agent itself has one of these features, bool [row, agent]."""
        found = [index for part in parts if (index := self._index.get(f"own.{part}")) is not None]
        if not found:
            return torch.zeros_like(observation[..., 0], dtype=torch.bool)
        return observation[..., found].sum(-1) > 0

    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        observation, available = step.observation, step.available_actions
        x, y = self.of(observation, "enemy", "x"), self.of(observation, "enemy", "y")
        distance = self.of(observation, "enemy", "distance")
        seen = self.of(observation, "enemy", "health") > 0
        distance = distance.masked_fill(~seen, _FAR)
        # Without masks of range, the mask offers attacks that would miss.
        attackable = available[..., _TARGETS : _TARGETS + self.enemies] & (
            self.of(observation, "enemy", "attackable") > 0
        )
        # Who only heals is no danger, and not every weapon reaches it.
        harmless = sum((self.of(observation, "enemy", part) for part in _HEALERS), torch.zeros_like(distance))
        target = self.choose(observation, distance + harmless * (_FAR / 10), attackable)
        nearest, index = distance.min(-1, keepdim=True)
        way = torch.cat([x.gather(-1, index), y.gather(-1, index)], -1)
        action = torch.where(nearest.squeeze(-1) < _FAR, self._towards(way, available), _STOP)
        action = torch.where(attackable.any(-1), _TARGETS + target, action)
        action, memory = self.withdraw(observation, available, way, nearest.squeeze(-1), action, memory)
        action = torch.where(self.own(observation, _HEALERS), self._attend(observation, available), action)
        # The dead have but one action.
        return torch.where(available[..., 0], 0, action), memory

    @abstractmethod
    def choose(self, observation: Tensor, distance: Tensor, attackable: Tensor) -> Tensor:
        """Which of the attackable enemies, int64 [row, agent], from float and bool [row, agent, enemy]."""

    def withdraw(
        self,
        observation: Tensor,
        available: Tensor,
        way: Tensor,
        nearest: Tensor,
        action: Tensor,
        memory: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Whether to do something else than `action`, the nearest enemy lying in the direction `way`."""
        return action, memory

    def _towards(self, way: Tensor, available: Tensor) -> Tensor:
        """The move that leads farthest in the direction [row, agent, 2], of those there are; else stop."""
        x, y = way.unbind(-1)
        gain = torch.stack([y, -y, x, -x], -1).masked_fill(~available[..., _NORTH : _WEST + 1], -_FAR)
        most, move = gain.max(-1)
        return torch.where(most > 0, _NORTH + move, _STOP)

    def _attend(self, observation: Tensor, available: Tensor) -> Tensor:
        agents = observation.shape[1]
        if agents == 1:
            return torch.full_like(observation[..., 0], _STOP, dtype=torch.int64)
        health = self.of(observation, "ally", "health")
        distance = self.of(observation, "ally", "distance")
        flies = sum((self.of(observation, "ally", part) for part in _HEALERS), torch.zeros_like(health)) > 0
        visible = (self.of(observation, "ally", "visible") > 0) & ~flies
        action_of = (_TARGETS + self._others).expand(len(observation), -1, -1)
        last = available.shape[-1] - 1
        reachable = (
            available.gather(-1, action_of.clamp(max=last)) & (action_of <= last) & visible & (health < 1)
        )
        # The most hurt within reach, the nearest of the hurt that are seen, the nearest.
        urgency = torch.where(reachable, health, distance + torch.where(health < 1, 2.0, 4.0))
        least, index = urgency.masked_fill(~visible, _FAR).min(-1, keepdim=True)
        way = [self.of(observation, "ally", axis).gather(-1, index) for axis in "xy"]
        walk = self._towards(torch.cat(way, -1), available)
        walk = torch.where(least.squeeze(-1) < _FAR, walk, _STOP)
        return torch.where(
            reachable.gather(-1, index), action_of.gather(-1, index), walk.unsqueeze(-1)
        ).squeeze(-1)


class NearestPolicy(BattlePolicy):
    """Attacks the nearest enemy in range, or walks to the nearest that it sees."""

    def choose(self, observation: Tensor, distance: Tensor, attackable: Tensor) -> Tensor:
        return distance.masked_fill(~attackable, 2 * _FAR).argmin(-1)


class FocusPolicy(BattlePolicy):
    """Attacks, of the enemies in range, whoever has the smallest share of health and shield left."""

    def choose(self, observation: Tensor, distance: Tensor, attackable: Tensor) -> Tensor:
        left = self.of(observation, "enemy", "health") + self.of(observation, "enemy", "shield")
        harmless = distance >= _FAR / 10
        # Among equals the nearest; distances are shares of the range of sight.
        left = left + 1e-3 * distance.clamp(max=1) + 10.0 * harmless
        return left.masked_fill(~attackable, _FAR).argmin(-1)


class KitingPolicy(FocusPolicy):
    """Focuses fire, and after each attack steps back from enemies that are near while the weapon reloads."""

    memory_size = 1

    def __init__(self, setting: Setting, steps: int, distance: float) -> None:
        super().__init__(setting)
        self._steps, self._distance = steps, distance

    def withdraw(
        self,
        observation: Tensor,
        available: Tensor,
        way: Tensor,
        nearest: Tensor,
        action: Tensor,
        memory: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        assert memory is not None
        left = memory[..., 0]
        back = self._towards(-way, available)
        backs = (
            (left > 0)
            & (nearest < self._distance)
            & ~self.own(observation, _AT_ARMS_LENGTH)
            & (back != _STOP)
        )
        action = torch.where(backs, back, action)
        left = torch.where(action >= _TARGETS, float(self._steps), (left - 1).clamp(min=0))
        return action, left.unsqueeze(-1)


class NearestEnemy(Algorithm):
    """Every agent attacks the nearest enemy; nothing is learnt."""

    revision = 1
    Hyperparameters = Hyperparameters
    learns = False

    def __init__(self, setting: Setting, hyperparameters: Any) -> None:
        self.policy = NearestPolicy(setting)


class FocusFire(Algorithm):
    """Every agent attacks the weakest enemy in range; nothing is learnt."""

    revision = 1
    Hyperparameters = Hyperparameters
    learns = False

    def __init__(self, setting: Setting, hyperparameters: Any) -> None:
        self.policy = FocusPolicy(setting)


class KitingHyperparameters(Hyperparameters):
    reload_steps: int = Field(3, ge=1, description="steps of walking back after an attack")
    distance: float = Field(
        0.4, gt=0, le=1, description="only from enemies nearer than this, a share of the range of sight"
    )


class Kiting(Algorithm):
    """Every agent attacks the weakest enemy in range and steps back while its weapon reloads; nothing is learnt."""

    revision = 1
    Hyperparameters = KitingHyperparameters
    learns = False

    def __init__(self, setting: Setting, hyperparameters: KitingHyperparameters) -> None:
        self.policy = KitingPolicy(setting, hyperparameters.reload_steps, hyperparameters.distance)
