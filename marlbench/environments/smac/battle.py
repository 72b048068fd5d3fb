"""Battles of two teams, game loop by game loop: movement, weapons, healing, explosions and collisions.

A row is a column here: tensors are [unit, row] with the allies before the enemies, so that every operation runs over
contiguous rows. Everything within one loop happens at the same time: what is decided rests on the positions, health and
cooldowns at its beginning.

Positions lie on the grid of 1/4096 map units, as the game's do, and damage is whole: sums over units are then exact in
float32, whatever their order. So a row is the same alone and among others, and renumbering units renumbers results.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from marlbench.environments.smac import units
from marlbench.environments.smac.scenarios import HEIGHT, WIDTH, Scenario
from marlbench.environments.smac.units import BANELING, COLOSSUS, KINDS, MEDIVAC, UnitTables

GRID = 4096.0
# What changes of a unit: its place, health, shield, loops until its weapon is ready, energy (of a baneling: whether
# its charge is still there), loops since its last damage.
QUANTITIES = ("x", "y", "health", "shield", "cooldown", "energy", "calm")
X, Y, HEALTH, SHIELD, COOLDOWN, ENERGY, CALM = range(len(QUANTITIES))
# Whoever is dead stands far away from all others while a loop is computed; whatever is farther than FAR is dead.
_GRAVEYARD = -1000.0
_PLOT = -16.0
FAR = 500.0
# Units that overlap move apart by this share of the overlap in a loop, each of the two.
_PUSH = 0.25
_ACROSS_THE_EDGE = 2 / GRID


def length(way: Tensor) -> Tensor:
    """sqrt(x^2 + y^2) of [2, ...], without fused operations: a GPU rounds them otherwise than a CPU."""
    square = way * way
    return square[0].add_(square[1]).sqrt_()


class Battle:
    """The battles of all rows.

    Attributes:
        unit: float [quantity, unit, row], see QUANTITIES; the dead have health 0 and stay where they fell.
        kind: int64 [unit, row].
        traits: name -> float [unit, row], the values of the kinds, see `UnitTables`.
        heals, explodes: bool [unit, row]; None where the scenario has no such unit.
        barred: float [ally, enemy, row], for allies' and for enemies' attacks: huge where the weapon cannot hit;
            None where every weapon hits everything.
    """

    def __init__(
        self, scenario: Scenario, rows: int, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.scenario, self.rows, self.device, self.dtype = scenario, rows, device, dtype
        self.allies, self.enemies = scenario.allies, scenario.enemies
        self.units = self.allies + self.enemies
        self.tables = UnitTables(device, dtype)
        kinds = set(scenario.ally_kinds) | set(scenario.enemy_kinds)
        self._has_healers = MEDIVAC in kinds
        self._has_lines = COLOSSUS in kinds
        self._has_blasts = BANELING in kinds
        self._has_shields = scenario.regenerates

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, rows, dtype=dtype, device=device)

        self.unit = zeros(len(QUANTITIES), self.units)
        self.kind = torch.zeros(self.units, rows, dtype=torch.int64, device=device)
        self.traits: dict[str, Tensor] = {}
        self.heals: Tensor | None = None
        self.explodes: Tensor | None = None
        self.barred: tuple[Tensor, Tensor] | None = None
        # Pairs of units: allies with enemies first, so that they are one block [ally, enemy, row].
        cross = [(ally, self.allies + enemy) for ally in range(self.allies) for enemy in range(self.enemies)]
        own = list(combinations(range(self.allies), 2))
        theirs = list(combinations(range(self.allies, self.units), 2))
        pairs = torch.tensor(cross + own + theirs, dtype=torch.int64, device=device)
        self._first, self._second = pairs.T.contiguous()
        count = len(pairs)
        # The second of a pair is pushed along the difference of positions, the first against it.
        push = torch.zeros(self.units, count, dtype=dtype, device=device)
        push[self._first, torch.arange(count, device=device)] = -1
        push[self._second, torch.arange(count, device=device)] = 1
        self._push = push
        self._gap = zeros(2, count)
        self._distance = zeros(count)
        self._contact = zeros(count)
        self._scratch = zeros(count)
        self._shove = zeros(2, count)
        self._cross = (2, self.allies, self.enemies, rows)
        self._own = torch.arange(self.units, device=device).unsqueeze(1).expand(self.units, rows)
        self._graveyard = _GRAVEYARD + _PLOT * torch.arange(self.units, dtype=dtype, device=device).unsqueeze(
            1
        )
        self._zero = zeros(self.units)

    def restore(self) -> None:
        """Derive what follows from the kinds, after `kind` and `unit` were replaced."""
        kind = self.kind
        self.traits = self.tables.look_up(kind)
        self.heals = kind == MEDIVAC if self._has_healers else None
        self.explodes = kind == BANELING if self._has_blasts else None
        self._burns = kind == COLOSSUS if self._has_lines else None
        radius = self.traits["radius"]
        torch.add(radius[self._first], radius[self._second], out=self._contact)
        if self.heals is not None:
            self._recharge = self.heals * units.ENERGY_REGENERATION
            # Those who fly and those who walk do not touch.
            layer = self.heals[self._first] == self.heals[self._second]
            self._contact.mul_(layer)
            ours, theirs = kind[: self.allies], kind[self.allies :]
            self.barred = (self._bars(ours, theirs), self._bars(theirs, ours).transpose(0, 1))
        self._speed = self.traits["speed"]
        self._weapon_period = self.traits["period"]
        self._health_limit, self._shield_limit = self.traits["health"], self.traits["shield"]
        self._code = kind * len(KINDS)
        self.look()

    def _bars(self, attackers: Tensor, targets: Tensor) -> Tensor:
        code = attackers.unsqueeze(1) * len(KINDS) + targets.unsqueeze(0)
        return (~self.tables.pair_allowed[code]).to(self.dtype) * 1e4

    # What the sides see

    @property
    def alive(self) -> Tensor:
        """bool [unit, row]."""
        return self.unit[HEALTH] > 0

    def look(self) -> None:
        """Bring places and distances up to date, before a loop, a decision or an observation."""
        self._alive = self.unit[HEALTH] > 0
        self._place = torch.where(self._alive, self.unit[:2], self._graveyard)
        torch.sub(self._place[:, self._second], self._place[:, self._first], out=self._gap)
        torch.mul(self._gap, self._gap, out=self._shove)
        torch.add(self._shove[0], self._shove[1], out=self._distance).sqrt_()

    @property
    def across(self) -> Tensor:
        """Distances between the living, [ally, enemy, row]; more than FAR where either is dead."""
        return self._distance[: self.allies * self.enemies].view(self._cross[1:])

    @property
    def across_gap(self) -> Tensor:
        """Enemy's minus ally's place, [2, ally, enemy, row]."""
        return self._gap[:, : self.allies * self.enemies].view(self._cross)

    @property
    def place(self) -> Tensor:
        """[2, unit, row], the dead far away; of the last look."""
        return self._place

    # One game loop

    def advance(self, goal: Tensor, course: Tensor) -> None:
        """One game loop; `look` was called since positions changed.

        Args:
            goal: int64 [unit, row], whom a unit attacks or heals; itself for nobody.
            course: float [2, unit, row], how far it walks in this loop where it has no goal.
        """
        place, alive, kind = self._place, self._alive, self.kind
        code = self._code + kind.gather(0, goal)
        way = place.gather(1, goal.expand(2, -1, -1)) - place
        distance = length(way)
        reach = self.tables.pair_reach.take(code)
        active = (goal != self._own) & alive & (distance < FAR)
        close = active & (distance <= reach)

        fires = close & (self.unit[COOLDOWN] < 1)
        healing = None
        if self.heals is not None:
            healing = close & self.heals
            fires = fires & ~self.heals
        inflicted = torch.zeros(2, self.units, self.rows, dtype=self.dtype, device=self.device)
        shots = torch.stack([self.tables.pair_damage.take(code), self.traits["hits"]]).mul_(fires)
        if self.explodes is not None:
            # A baneling's attack is its explosion.
            shots.mul_(~self.explodes)
        inflicted.scatter_add_(1, goal.expand(2, -1, -1), shots)
        if self._burns is not None:
            self._burn_lines(inflicted, goal, way, distance, fires & self._burns)
        if self.explodes is not None:
            self._explode(inflicted, fires & self.explodes)

        self._walk(way, distance, reach, active & ~close, course)
        healed = self._heal(healing, goal) if healing is not None else None
        self._suffer(inflicted, healed)
        reloaded = self.unit[COOLDOWN]
        reloaded.addcmul_(fires.to(self.dtype), self._weapon_period).sub_(1).clamp_(min=0)

    def _walk(self, way: Tensor, distance: Tensor, reach: Tensor, chases: Tensor, course: Tensor) -> None:
        """Follow goals and courses, then be pushed by those that stand too near."""
        # A little farther than to the edge of reach, lest rounding to the grid leaves them just short of it.
        stride = torch.minimum(self._speed, distance - reach + _ACROSS_THE_EDGE)
        stride.div_(distance.clamp(min=1 / GRID)).mul_(chases)
        moved = (way * stride).add_(course).mul_(self._alive)
        nearness = torch.clamp(self._distance, min=1 / GRID, out=self._scratch)
        torch.div(self._contact, nearness, out=nearness).sub_(1).clamp_(min=0).mul_(_PUSH * GRID)
        torch.mul(self._gap, nearness, out=self._shove).round_()
        moved.mul_(GRID).round_()
        for axis, limit in ((X, WIDTH), (Y, HEIGHT)):
            shift = torch.addmm(moved[axis], self._push, self._shove[axis]).div_(GRID)
            self.unit[axis].add_(shift).clamp_(0, limit)

    def _suffer(self, inflicted: Tensor, healed: Tensor | None) -> None:
        """Damage meets the shield first; armour is taken from each hit that comes through.

        With hits of one size this is exact, hit by hit; where hits of different size meet a shield's end in one loop,
        they count as so many average ones.
        """
        damage, hits = inflicted
        health, armour = self.unit[HEALTH], self.traits["armour"]
        if self._has_shields:
            shield, calm = self.unit[SHIELD], self.unit[CALM]
            rest = (damage - shield).clamp_(min=0)
            shield.sub_(damage).clamp_(min=0)
            calm.add_(1).mul_(damage == 0)
            recovers = (calm > units.SHIELD_DELAY).logical_and_(self._alive)
            shield.add_(recovers, alpha=units.SHIELD_REGENERATION)
            torch.minimum(shield, self._shield_limit, out=shield)
            # Some hits come through whole, and of one what the shield left of it.
            each = (damage / hits.clamp(min=1)).clamp_(min=1)
            whole = (rest / each).floor_()
            part = torch.addcmul(rest, whole, each, value=-1)
            loss = (each - armour).clamp_(min=units.LEAST_DAMAGE).mul_(whole)
            loss.add_((part - armour).clamp_(min=units.LEAST_DAMAGE).mul_(part > 0))
        else:
            # No hit is smaller than armour and the least damage together.
            loss = torch.addcmul(damage, armour, hits, value=-1)
        if healed is not None:
            health.add_(healed)
        health.sub_(loss).clamp_(min=0)

    def _heal(self, healing: Tensor, goal: Tensor) -> Tensor:
        """Health that everybody is given, [unit, row]; healing of several does not add up, and they share its cost."""
        energy = self.unit[ENERGY]
        healing = healing & (energy > 0)
        helpers = torch.zeros_like(energy).scatter_add_(0, goal, healing.to(self.dtype))
        missing = self._health_limit - self.unit[HEALTH]
        healed = missing.clamp_(max=units.HEALING).mul_(helpers > 0)
        cost = (healed / helpers.clamp(min=1)).gather(0, goal).mul_(healing).div_(units.HEALTH_PER_ENERGY)
        energy.sub_(cost).add_(self._recharge).clamp_(0, units.ENERGY_LIMIT)
        return healed

    def _sides(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        allies, enemies = slice(0, self.allies), slice(self.allies, self.units)
        return (allies, enemies), (enemies, allies)

    def _burn_lines(
        self, inflicted: Tensor, goal: Tensor, way: Tensor, distance: Tensor, fires: Tensor
    ) -> None:
        """Colossi hurt all whom the line across their fire touches, besides the goal, which was counted already."""
        ahead = way / distance.clamp(min=1 / GRID)
        place, radius = self._place, self.traits["radius"]
        for attackers, targets in self._sides():
            # From the attacker's goal to everybody on the other side, [2, attacker, target, row].
            aim = place[:, attackers] + way[:, attackers]
            offset = place[:, targets].unsqueeze(1) - aim.unsqueeze(2)
            along = ahead[:, attackers].unsqueeze(2)
            depth = (offset[0] * along[0]).add_(offset[1] * along[1]).abs_()
            across = (offset[1] * along[0]).sub_(offset[0] * along[1]).abs_()
            width = radius[targets]
            burnt = (depth <= width + units.LINE_HALF_WIDTH) & (across <= width + units.LINE_HALF_LENGTH)
            burnt &= fires[attackers].unsqueeze(1)
            burnt &= goal[attackers].unsqueeze(1) != self._own[targets].unsqueeze(0)
            code = self._code[attackers].unsqueeze(1) + self.kind[targets].unsqueeze(0)
            inflicted[0, targets] += (self.tables.pair_damage.take(code) * burnt).sum(0)
            inflicted[1, targets] += (self.traits["hits"][attackers].unsqueeze(1) * burnt).sum(0)

    def _explode(self, inflicted: Tensor, fires: Tensor) -> None:
        """Banelings that attack, or were killed in the loop before, hurt all enemies around them, once."""
        assert self.explodes is not None
        health, charge = self.unit[HEALTH], self.unit[ENERGY]
        bursts = (fires | (self.explodes & (health <= 0))) & (charge > 0)
        health.masked_fill_(fires, 0)
        charge.masked_fill_(bursts, 0)
        radius = self.traits["radius"]
        for attackers, targets in self._sides():
            gap = self._place[:, targets].unsqueeze(1) - self.unit[:2, attackers].unsqueeze(2)
            distance = length(gap)
            hit = (distance <= radius[targets] + units.BLAST_RADIUS) & bursts[attackers].unsqueeze(1)
            code = self._code[attackers].unsqueeze(1) + self.kind[targets].unsqueeze(0)
            inflicted[0, targets] += (self.tables.pair_blast.take(code) * hit).sum(0)
            inflicted[1, targets] += hit.sum(0)
