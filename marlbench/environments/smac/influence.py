"""Observations, actions and state that are the same in every scenario: influence maps.

"Scenario-independent representation" of arXiv 2402.08184, so that what was learnt in one scenario serves in another
[paper; details unverified]. An influence map is a grid of fixed size, whatever the number of units:

    I(c) = sum over units u of sign(u) x (health + shield)(u) / (its most health + shield) x decay^distance(u, c)

with sign 1 for allies and -1 for enemies. Distance is |x| + |y| in map units [ours: so that a map is a product of a
factor for columns and one for rows].

Observation of an agent, zeros when it is dead:
    whether it may move north, south, east, west, and attack
    health, shield, [x, y over the map's size, where the scenario shows them], its kind as a one-hot over all kinds
    the map of the units that it sees, without itself, around it: the sides are twice its range of sight
State:
    the share of allies and of enemies that live
    the map of all living units over the whole battlefield
Actions:
    0 nothing (the dead only), 1 stop, 2 north, 3 south, 4 east, 5 west, 6 attack the nearest enemy in range; for those
    who heal, the most hurt ally in range [ours]
"""

from __future__ import annotations

import torch
from torch import Tensor

from marlbench.environments.smac.battle import HEALTH, SHIELD
from marlbench.environments.smac.scenarios import HEIGHT, WIDTH
from marlbench.environments.smac.units import KINDS
from marlbench.environments.smac.view import MOVES, TARGETS, View

ATTACK = TARGETS
ACTIONS = TARGETS + 1
_OWN = ("health", "shield", "x", "y")


def observation_names(size: int) -> tuple[str, ...]:
    """What each feature of an observation is, for maps of size x size cells."""
    names = [f"move_{direction}" for direction in ("north", "south", "east", "west")] + ["attack"]
    names += [f"own.{part}" for part in (*_OWN, *(f"type_{kind.name}" for kind in KINDS))]
    return tuple(names + _cells(size))


def state_names(size: int) -> tuple[str, ...]:
    """What each feature of the state is, for maps of size x size cells."""
    return ("allies", "enemies", *_cells(size))


def _cells(size: int) -> list[str]:
    return [f"map_{row}_{column}" for row in range(size) for column in range(size)]


class InfluenceView:
    """Writes influence maps of a battle's rows, from what the units' own view shows.

    Args:
        units: the view of the scenario's contract: what is seen here was seen there.
        size: cells of a side of a map.
        decay: of influence over one map unit.
    """

    def __init__(self, units: View, size: int, decay: float) -> None:
        self.units, self.size = units, size
        battle = self.battle = units.battle
        self._fall = torch.tensor(decay).log().item()
        self._cells = torch.linspace(-1.0, 1.0, size, device=battle.device)
        self._kinds = torch.arange(len(KINDS), device=battle.device)
        # Everybody's action "attack" as an action of the contract, [ally, row].
        self.chosen = torch.full((battle.allies, battle.rows), TARGETS, device=battle.device)

    @property
    def shoot(self) -> Tensor:
        """The range of attacks, [ally, row]."""
        return self.units.shoot

    def restore(self) -> None:
        """Derive what follows from the kinds, after those of the battle were replaced."""
        self.units.restore()
        battle = self.battle
        self._most = (battle.traits["health"] + battle.traits["shield"]).reciprocal()

    def translated(self, action: Tensor) -> Tensor:
        """Actions [ally, row] as actions of the contract."""
        return torch.where(action == ATTACK, self.chosen, action)

    def write(self, last_action: Tensor, sighted: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """As `View.write`; `last_action` is one of the contract."""
        battle, units = self.battle, self.units
        seen, _, offered = units.write(last_action, sighted)
        offered = offered.permute(1, 2, 0)
        self._choose(offered[:, TARGETS:])
        available = torch.cat([offered[:, :TARGETS], offered[:, TARGETS:].any(1, keepdim=True)], 1)

        strength = (battle.unit[HEALTH] + battle.unit[SHIELD]) * self._most
        alive = battle.alive.to(battle.dtype)
        strength = strength * alive
        allies, rows = battle.allies, battle.rows
        own = [available[:, MOVES:].to(battle.dtype), *self._own(alive)]
        features = torch.cat([torch.cat(own, 1).permute(2, 0, 1), self._around(seen, strength)], 2)
        features *= alive[:allies].T.unsqueeze(2)
        shares = torch.stack([alive[:allies].mean(0), alive[allies:].mean(0)], 1)
        state = torch.cat([shares, self._battlefield(strength)], 1)
        return features, state, available.permute(2, 0, 1).contiguous().view(rows, allies, ACTIONS)

    def _choose(self, offered: Tensor) -> None:
        """Whom everybody would attack or heal, of those whom the contract offers, bool [ally, target, row]."""
        battle = self.battle
        allies, enemies = battle.allies, battle.enemies
        far = torch.full_like(battle.across, float("inf"))
        distance = torch.where(offered[:, :enemies], battle.across, far)
        chosen = distance.argmin(1)
        if battle.heals is not None:
            health = (battle.unit[HEALTH, :allies] / battle.traits["health"][:allies]).expand(allies, -1, -1)
            hurt = torch.where(offered[:, :allies], health, torch.full_like(health, float("inf")))
            chosen = torch.where(battle.heals[:allies], hurt.argmin(1), chosen)
        torch.add(chosen, TARGETS, out=self.chosen)

    def _own(self, alive: Tensor) -> list[Tensor]:
        """Of every agent itself: parts [ally, feature, row]."""
        battle = self.battle
        allies, traits = slice(0, battle.allies), battle.traits
        unit = battle.unit[:, allies]
        health = unit[HEALTH] / traits["health"][allies]
        shield = unit[SHIELD] / traits["shield"][allies].clamp(min=1)
        known = float(battle.scenario.own_position)
        place = [unit[0] / WIDTH * known, unit[1] / HEIGHT * known]
        kind = (battle.kind[allies].unsqueeze(1) == self._kinds.view(1, -1, 1)).to(battle.dtype)
        return [torch.stack([health, shield, *place], 1), kind]

    def _around(self, seen: Tensor, strength: Tensor) -> Tensor:
        """The maps around every agent, [row, ally, cell]: of those whom its observation `seen` shows."""
        battle, units = self.battle, self.units
        allies = battle.allies
        # What is not seen is written as zeros: health of enemies, and the first feature of allies.
        enemy, other = units.enemies_in(seen), units.allies_in(seen)
        across = strength[allies:].T.unsqueeze(1) * -(enemy[..., 4] > 0).to(battle.dtype)
        among = strength[:allies][units.others].permute(2, 0, 1) * other[..., 0]
        weight = torch.cat([across, among], 2)
        x = torch.cat([enemy[..., 2], other[..., 2]], 2)
        y = torch.cat([enemy[..., 3], other[..., 3]], 2)
        # Both are shares of the range of sight, which a map spans on either side.
        fall = (self._fall * units.sight).T.unsqueeze(2)
        return self._map(weight, x, y, fall)

    def _battlefield(self, strength: Tensor) -> Tensor:
        """The map of everybody, [row, cell]."""
        battle = self.battle
        weight = torch.cat([strength[: battle.allies], -strength[battle.allies :]]).T
        x, y = battle.unit[0].T / (WIDTH / 2) - 1.0, battle.unit[1].T / (HEIGHT / 2) - 1.0
        fall = torch.full((1, 1), self._fall * WIDTH / 2, device=battle.device)
        return self._map(weight, x, y, fall)

    def _map(self, weight: Tensor, x: Tensor, y: Tensor, fall: Tensor) -> Tensor:
        """Influence of units [..., unit] at x, y in [-1, 1] on the cells of a map, [..., cell].

        Args:
            fall: logarithm of the decay over half a side of the map, [..., 1].
        """
        fall = fall.unsqueeze(-1)
        columns = torch.exp((x.unsqueeze(-1) - self._cells).abs_() * fall)
        rows = torch.exp((y.unsqueeze(-1) - self._cells).abs_() * fall) * weight.unsqueeze(-1)
        return (rows.transpose(-1, -2) @ columns).flatten(-2)
