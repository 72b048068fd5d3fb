"""What agents observe, what they may do, and the global state: the layout of smacv2's contract.

Observation of an agent, zeros when it is dead:
    whether it may move north, south, east, west
    of each enemy:      attackable, distance, x, y (relative, over the sight range), health, [shield], type
    of each other ally: visible, distance, x, y, health, [shield], type
    of itself:          health, [shield], [x, y over the map's size], type
State:
    of each ally:  health, loops until the weapon is ready (medivac: energy), x, y from the centre, [shield], type
    of each enemy: health, x, y, [shield], type
    each agent's last action as a one-hot
"""

from __future__ import annotations

import torch
from torch import Tensor

from marlbench.environments.smac.battle import COOLDOWN, ENERGY, HEALTH, SHIELD, Battle, length
from marlbench.environments.smac.scenarios import HEIGHT, WIDTH, Scenario
from marlbench.environments.smac.units import ENERGY_LIMIT, KINDS

# A move is available where the point one map unit ahead lies on the map.
_STEP_AHEAD = 1.0
# North, south, east, west: actions 2 to 5.
DIRECTIONS = ((0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0))
NO_OPERATION, STOP, MOVES, TARGETS = 0, 1, 2, 6
NOBODY = -1


def observation_names(scenario: Scenario) -> tuple[str, ...]:
    """What each feature of an observation is; units are numbered, other allies without oneself."""
    names = [f"move_{direction}" for direction in ("north", "south", "east", "west")]
    types = _types(scenario)
    for enemy in range(scenario.enemies):
        parts = ["attackable", "distance", "x", "y", "health", *["shield"] * scenario.enemy_shield, *types]
        names += [f"enemy_{enemy}.{part}" for part in parts]
    for ally in range(scenario.allies - 1):
        parts = ["visible", "distance", "x", "y", "health", *["shield"] * scenario.ally_shield, *types]
        names += [f"ally_{ally}.{part}" for part in parts]
    own = ["health", *["shield"] * scenario.ally_shield, *["x", "y"] * scenario.own_position, *types]
    return tuple(names + [f"own.{part}" for part in own])


def state_names(scenario: Scenario) -> tuple[str, ...]:
    """What each feature of the state is."""
    names, types = [], _types(scenario)
    for ally in range(scenario.allies):
        parts = ["health", "cooldown", "x", "y", *["shield"] * scenario.ally_shield, *types]
        names += [f"ally_{ally}.{part}" for part in parts]
    for enemy in range(scenario.enemies):
        parts = ["health", "x", "y", *["shield"] * scenario.enemy_shield, *types]
        names += [f"enemy_{enemy}.{part}" for part in parts]
    for ally in range(scenario.allies):
        names += [f"ally_{ally}.action_{action}" for action in range(scenario.actions)]
    return tuple(names)


def _types(scenario: Scenario) -> list[str]:
    return [f"type_{KINDS[kind].name}" for kind in scenario.kinds] if scenario.types else []


class View:
    """Writes observations, masks and states of a battle's rows.

    Args:
        extended: extended partial observability: only whoever of the allies sees an enemy first goes on to see it,
            until that ally dies, and attacks are available on every living enemy (medivac: healing on every ally).
    """

    def __init__(self, battle: Battle, extended: bool) -> None:
        self.battle, self.extended = battle, extended
        scenario = self.scenario = battle.scenario
        allies, enemies, rows = battle.allies, battle.enemies, battle.rows

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, rows, dtype=battle.dtype, device=battle.device)

        names = observation_names(scenario)
        self._observation = zeros(allies, len(names))
        per_enemy = 5 + scenario.enemy_shield + scenario.types
        per_ally = 5 + scenario.ally_shield + scenario.types
        end = 4 + enemies * per_enemy
        self._enemy = self._observation[:, 4:end].view(allies, enemies, per_enemy, rows)
        last = end + (allies - 1) * per_ally
        self._other = self._observation[:, end:last].view(allies, allies - 1, per_ally, rows)
        self._self = self._observation[:, last:]
        self._available = torch.zeros(allies, scenario.actions, rows, dtype=torch.bool, device=battle.device)
        self._state = zeros(len(state_names(scenario)))
        of_allies = allies * (4 + scenario.ally_shield + scenario.types)
        of_enemies = enemies * (3 + scenario.enemy_shield + scenario.types)
        self._state_ally = self._state[:of_allies].view(allies, -1, rows)
        self._state_enemy = self._state[of_allies : of_allies + of_enemies].view(enemies, -1, rows)
        self._state_action = self._state[of_allies + of_enemies :].view(allies, scenario.actions, rows)
        # Everybody's other allies, [ally, ally - 1].
        others = [[other for other in range(allies) if other != ally] for ally in range(allies)]
        self.others = torch.tensor(others, dtype=torch.int64, device=battle.device).view(allies, -1)
        self._kinds = torch.tensor(scenario.kinds, device=battle.device).view(1, -1, 1)
        self._number = torch.arange(allies, device=battle.device).view(-1, 1, 1)
        self._everybody = torch.arange(allies, device=battle.device).unsqueeze(1)

    def restore(self) -> None:
        """Derive what follows from the kinds, after those of the battle were replaced."""
        battle, scenario = self.battle, self.scenario
        traits = battle.traits
        allies = slice(0, battle.allies)
        one_range = torch.ones_like(traits["sight"][allies])
        self.sight = traits["sight"][allies] if scenario.sight is None else one_range * scenario.sight
        self.shoot = traits["shoot"][allies] if scenario.shoot is None else one_range * scenario.shoot
        self._share_of_sight = self.sight.reciprocal()
        self._share_of_health = traits["health"].reciprocal()
        self._share_of_shield = traits["shield"].clamp(min=1).reciprocal()
        self._types = (battle.kind.unsqueeze(1) == self._kinds).to(battle.dtype)

    def translated(self, action: Tensor) -> Tensor:
        """Actions [ally, row] as actions of the contract, which they are."""
        return action

    def enemies_in(self, observation: Tensor) -> Tensor:
        """What an observation [row, ally, feature] shows of the enemies: [row, ally, enemy, feature]."""
        end = 4 + self._enemy.shape[1] * self._enemy.shape[2]
        return observation[..., 4:end].unflatten(2, self._enemy.shape[1:3])

    def allies_in(self, observation: Tensor) -> Tensor:
        """What an observation [row, ally, feature] shows of the other allies: [row, ally, other ally, feature]."""
        begin = 4 + self._enemy.shape[1] * self._enemy.shape[2]
        end = begin + self._other.shape[1] * self._other.shape[2]
        return observation[..., begin:end].unflatten(2, self._other.shape[1:3])

    def write(self, last_action: Tensor, sighted: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """What the rows show, after `battle.look`.

        Args:
            last_action: int64 [ally, row]; NOBODY before the first.
            sighted: int64 [enemy, row], which ally goes on to see an enemy; brought up to date here. None unless
                extended.

        Returns:
            observation [row, ally, feature], state [row, feature], available [row, ally, action], as new tensors.
        """
        battle, scenario = self.battle, self.scenario
        allies, alive = battle.allies, battle.alive
        ours, theirs = alive[:allies], alive[allies:]
        across, gap = battle.across, battle.across_gap
        # The dead are far from everybody, so distances alone tell who is there.
        visible = across < self.sight.unsqueeze(1)
        in_range = across <= self.shoot.unsqueeze(1)
        share = self._share_of_sight.unsqueeze(1)
        place = battle.unit[:2, :allies]
        among_gap = battle.place[:, self.others] - battle.place[:, :allies].unsqueeze(2)
        among = length(among_gap)
        near = (among < self.sight.unsqueeze(1)) & ours.unsqueeze(1)
        available, shootable = self._write_actions(ours, theirs, place, in_range, among)
        if sighted is not None:
            visible = self._first_seen(visible, sighted, ours, theirs)

        self._observation[:, :4] = available[:, MOVES:TARGETS]
        seen = visible.to(battle.dtype)
        enemy = self._enemy
        torch.mul(shootable, seen, out=enemy[:, :, 0])
        seen_share = seen * share
        torch.mul(across, seen_share, out=enemy[:, :, 1])
        torch.mul(gap[0], seen_share, out=enemy[:, :, 2])
        torch.mul(gap[1], seen_share, out=enemy[:, :, 3])
        health = battle.unit[HEALTH] * self._share_of_health
        torch.mul(seen, health[allies:], out=enemy[:, :, 4])
        shield = None
        if scenario.ally_shield or scenario.enemy_shield:
            shield = battle.unit[SHIELD] * self._share_of_shield
        if scenario.enemy_shield and shield is not None:
            torch.mul(seen, shield[allies:], out=enemy[:, :, 5])
        if scenario.types:
            torch.mul(seen.unsqueeze(2), self._types[allies:], out=enemy[:, :, -scenario.types :])

        other, near_share = self._other, near.to(battle.dtype)
        other[:, :, 0] = near_share
        if scenario.types:
            torch.mul(near_share.unsqueeze(2), self._types[self.others], out=other[:, :, -scenario.types :])
        torch.mul(near_share, health[self.others], out=other[:, :, 4])
        if scenario.ally_shield and shield is not None:
            torch.mul(near_share, shield[self.others], out=other[:, :, 5])
        near_share = near_share * share
        torch.mul(among, near_share, out=other[:, :, 1])
        torch.mul(among_gap[0], near_share, out=other[:, :, 2])
        torch.mul(among_gap[1], near_share, out=other[:, :, 3])

        there = ours.to(battle.dtype)
        own = [health[:allies]]
        if scenario.ally_shield and shield is not None:
            own.append(shield[:allies] * there)
        if scenario.own_position:
            own += [place[0] * there / WIDTH, place[1] * there / HEIGHT]
        for feature, value in enumerate(own):
            self._self[:, feature] = value
        if scenario.types:
            torch.mul(there.unsqueeze(1), self._types[:allies], out=self._self[:, -scenario.types :])
        self._write_state(health, shield, alive, last_action)
        return (
            _by_row(self._observation).view(battle.rows, allies, -1),
            _by_row(self._state),
            _by_row(available).view(battle.rows, allies, -1),
        )

    def _write_actions(
        self, ours: Tensor, theirs: Tensor, place: Tensor, in_range: Tensor, among: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mask bool [ally, action, row], and whether "attack enemy j" is within range, [ally, enemy, row]."""
        battle, available = self.battle, self._available
        allies, enemies = battle.allies, battle.enemies
        torch.logical_not(ours, out=available[:, NO_OPERATION])
        available[:, STOP] = ours
        for number, (x, y) in enumerate(DIRECTIONS):
            axis, sign = (0, x) if x else (1, y)
            limit = (WIDTH, HEIGHT)[axis]
            inside = place[axis] < limit - _STEP_AHEAD if sign > 0 else place[axis] > _STEP_AHEAD
            torch.logical_and(inside, ours, out=available[:, MOVES + number])
        truly = in_range
        offered = theirs.unsqueeze(0) & ours.unsqueeze(1) if self.extended else in_range
        targets = available[:, TARGETS:]
        targets[:, :enemies] = offered
        if battle.heals is None:
            return available, truly
        healer = battle.heals[:allies]
        # Healing within range, [ally, ally, row]; nobody heals those who fly, nor themselves.
        patients = ours & ~healer
        reachable = torch.zeros(allies, allies, battle.rows, dtype=torch.bool, device=battle.device)
        index = self.others.unsqueeze(2).expand(-1, -1, battle.rows)
        reachable.scatter_(1, index, among <= self.shoot.unsqueeze(1))
        reachable &= patients.unsqueeze(0)
        all_patients = patients.unsqueeze(0) & ours.unsqueeze(1) if self.extended else reachable
        heals = healer.unsqueeze(1)
        targets[:, :enemies] &= ~heals
        targets[:, :allies] |= all_patients & heals
        # Of a medivac, "attackable" tells of the action with the enemy's number, as in smacv2.
        truly = truly & ~heals
        truly[:, : min(allies, enemies)] |= (reachable & heals)[:, : min(allies, enemies)]
        return available, truly

    def _first_seen(self, visible: Tensor, sighted: Tensor, ours: Tensor, theirs: Tensor) -> Tensor:
        """Restrict sight to whoever saw an enemy first; who is dead has forgotten it."""
        keeper = sighted.clamp(min=0)
        keeps = (sighted != NOBODY) & ours.gather(0, keeper) & theirs
        first = torch.where(visible, self._number, self.battle.allies).amin(0)
        newly = torch.where(first < self.battle.allies, first, torch.full_like(first, NOBODY))
        torch.where(keeps, sighted, newly, out=sighted)
        return visible & (sighted.unsqueeze(0) == self._number)

    def _write_state(self, health: Tensor, shield: Tensor | None, alive: Tensor, last_action: Tensor) -> None:
        battle, scenario = self.battle, self.scenario
        allies = battle.allies
        there = alive.to(battle.dtype)
        unit = battle.unit
        weapon = unit[COOLDOWN] / battle.traits["cooldown_scale"]
        if battle.heals is not None:
            weapon = torch.where(battle.heals, unit[ENERGY] / ENERGY_LIMIT, weapon)
        x = (unit[0] - WIDTH / 2) * there / WIDTH
        y = (unit[1] - HEIGHT / 2) * there / HEIGHT
        ally, enemy = self._state_ally, self._state_enemy
        ally[:, 0], enemy[:, 0] = health[:allies], health[allies:]
        torch.mul(weapon[:allies], there[:allies], out=ally[:, 1])
        ally[:, 2], enemy[:, 1] = x[:allies], x[allies:]
        ally[:, 3], enemy[:, 2] = y[:allies], y[allies:]
        if scenario.ally_shield and shield is not None:
            torch.mul(shield[:allies], there[:allies], out=ally[:, 4])
        if scenario.enemy_shield and shield is not None:
            torch.mul(shield[allies:], there[allies:], out=enemy[:, 3])
        if scenario.types:
            types = self._types * there.unsqueeze(1)
            ally[:, -scenario.types :], enemy[:, -scenario.types :] = types[:allies], types[allies:]
        self._state_action.zero_()
        # Before the first action nothing is written: the one is added to no action at all.
        index = last_action.clamp(min=0).unsqueeze(1)
        self._state_action.scatter_(1, index, (last_action >= 0).to(battle.dtype).unsqueeze(1))


def _by_row(values: Tensor) -> Tensor:
    """[..., row] -> [row, all the rest], as a new tensor."""
    return values.reshape(-1, values.shape[-1]).t().clone(memory_format=torch.contiguous_format)
