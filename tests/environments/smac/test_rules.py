"""The rules of battles against arithmetic done here, from a table of our own and loop by loop in plain Python."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from marlbench.environments.keys import row_keys
from marlbench.environments.smac.battle import COOLDOWN, ENERGY, GRID, HEALTH, SHIELD, Battle
from marlbench.environments.smac.scenarios import SCENARIOS, Scenario
from marlbench.environments.smac.scripts import Script
from marlbench.environments.smac.teams import Teams
from marlbench.environments.smac.units import KINDS

CPU = torch.device("cpu")
# health, shield, armour, speed, range, cooldown, damage, hits, bonus, bonus against, attribute, radius, in the air,
# whether the weapon reaches the air
TABLE: dict[str, tuple[Any, ...]] = {
    "marine": (45, 0, 0, 3.15, 5, 0.61, 6, 1, 0, None, "light", 0.375, False, True),
    "marauder": (125, 0, 1, 3.15, 6, 1.07, 10, 1, 10, "armoured", "armoured", 0.5625, False, False),
    "medivac": (150, 0, 1, 3.5, 4, None, 0, 0, 0, None, "armoured", 0.75, True, False),
    "stalker": (80, 80, 1, 4.13, 6, 1.34, 13, 1, 5, "armoured", "armoured", 0.625, False, True),
    "zealot": (100, 50, 1, 3.15, 0.1, 0.86, 8, 2, 0, None, "light", 0.5, False, False),
    "colossus": (200, 150, 1, 3.15, 7, 1.07, 10, 2, 5, "light", "armoured", 1.0, False, False),
    "zergling": (35, 0, 0, 4.13, 0.1, 0.497, 5, 1, 0, None, "light", 0.375, False, False),
    "hydralisk": (90, 0, 0, 3.15, 5, 0.59, 12, 1, 0, None, "light", 0.625, False, True),
    "baneling": (30, 0, 0, 3.5, 0.25, None, 16, 1, 19, "light", None, 0.375, False, False),
}
NAMES = list(TABLE)
LOOPS = 22.4


def scenario(allies: int, enemies: int, names: list[str] | None = None) -> Scenario:
    """Any kinds on either side."""
    model = SCENARIOS["protoss_5_vs_5"]
    kinds = tuple(NAMES.index(name) for name in names or NAMES)
    return Scenario(**{**model.__dict__, "kinds": kinds, "allies": allies, "enemies": enemies})


def battle_of(which: Scenario, kinds: Tensor, places: Tensor, dtype: torch.dtype = torch.float32) -> Battle:
    """kinds int64 [unit, row], places [2, unit, row]."""
    battle = Battle(which, kinds.shape[1], CPU, dtype)
    battle.kind.copy_(kinds)
    battle.unit[:2] = (places * GRID).round() / GRID
    battle.unit[HEALTH] = torch.tensor([TABLE[name][0] for name in NAMES], dtype=dtype)[kinds]
    battle.unit[SHIELD] = torch.tensor([TABLE[name][1] for name in NAMES], dtype=dtype)[kinds]
    battle.unit[ENERGY] = torch.where(kinds == NAMES.index("baneling"), 1.0, 50.0)
    battle.restore()
    return battle


def still(battle: Battle) -> tuple[Tensor, Tensor]:
    """Goals and courses of units that do nothing."""
    goal = torch.arange(battle.units).unsqueeze(1).expand(-1, battle.rows).clone()
    return goal, torch.zeros(2, battle.units, battle.rows)


def loops_to_kill(attacker: str, target: str) -> float:
    """The loop, from 0, in which the target dies, hit by hit; infinite where it never does."""
    health, shield, armour = TABLE[target][:3]
    period, damage, hits, bonus, against = TABLE[attacker][5:10]
    if (TABLE[target][12] and not TABLE[attacker][13]) or damage == 0:
        return math.inf
    damage += bonus if against is not None and against == TABLE[target][10] else 0
    for attack in range(1 if attacker == "baneling" else 1000):
        for _ in range(hits):
            absorbed = min(shield, damage)
            shield -= absorbed
            if damage > absorbed:
                health -= max(0.5, damage - absorbed - armour)
        if health <= 0:
            return math.floor(attack * (period or 0) * LOOPS)
    return math.inf


def test_the_table_of_units_is_that_of_the_specification() -> None:
    for kind in KINDS:
        row = TABLE[kind.name]
        told = (
            kind.health,
            kind.shield,
            kind.armour,
            kind.speed,
            kind.reach,
            kind.period,
            kind.damage,
            kind.hits,
        )
        assert told == row[:8], kind.name
        assert (kind.bonus, kind.radius, kind.flies, kind.hits_air) == (row[8], row[11], row[12], row[13])


def test_time_to_kill_of_all_pairs() -> None:
    pairs = [(attacker, target) for attacker in NAMES for target in NAMES]
    kinds = torch.tensor([[NAMES.index(name) for name in pair] for pair in pairs]).T
    apart = torch.tensor([TABLE[a][11] + TABLE[b][11] + 0.05 for a, b in pairs])
    places = torch.full((2, 2, len(pairs)), 16.0)
    places[0, 1] += apart
    battle = battle_of(scenario(1, 1), kinds, places)
    goal, course = still(battle)
    goal[0] = 1
    died = torch.full((len(pairs),), math.inf)
    for loop in range(900):
        battle.look()
        battle.advance(goal, course)
        dead = (battle.unit[HEALTH, 1] <= 0) & died.isinf()
        died[dead] = loop
    expected = torch.tensor([loops_to_kill(*pair) for pair in pairs])
    wrong = [(pair, float(a), float(b)) for pair, a, b in zip(pairs, died, expected, strict=True) if a != b]
    assert not wrong
    assert int(expected.isfinite().sum()) > 50


def test_shields_come_back_after_ten_seconds() -> None:
    kinds = torch.tensor([[NAMES.index("marine")], [NAMES.index("stalker")]])
    places = torch.tensor([[[16.0], [20.0]], [[16.0], [16.0]]])
    battle = battle_of(scenario(1, 1), kinds, places)
    goal, course = still(battle)
    goal[0] = 1
    battle.advance(goal, course)
    assert float(battle.unit[SHIELD, 1]) == 74
    goal[0] = 0
    shields = []
    for _ in range(400):
        battle.look()
        battle.advance(goal, course)
        shields.append(float(battle.unit[SHIELD, 1]))
    first = next(loop for loop, shield in enumerate(shields) if shield > 74)
    assert first == pytest.approx(10 * LOOPS, abs=2)
    assert shields[first + 10] - shields[first] == pytest.approx(10 * 2 / LOOPS, rel=1e-4)
    assert shields[-1] == 80


def test_medivacs_heal_for_energy_and_do_not_add_up() -> None:
    names = ["medivac", "medivac", "marauder", "marauder"]
    kinds = torch.tensor([[NAMES.index(name)] for name in names])
    places = torch.tensor([[[14.0], [18.0], [16.0], [30.0]], [[16.0], [16.0], [16.0], [30.0]]])
    which = scenario(3, 1, ["marine", "marauder", "medivac"])
    one, two = battle_of(which, kinds, places), battle_of(which, kinds, places)
    for battle, healers in ((one, 1), (two, 2)):
        battle.unit[HEALTH, 2] = 50
        goal, course = still(battle)
        goal[:healers] = 2
        for _ in range(224):
            battle.look()
            battle.advance(goal, course)
    # 12.6 a second, for a third of it in energy, of which 0.7875 a second come back.
    assert float(one.unit[HEALTH, 2]) == pytest.approx(50 + 75)
    assert float(two.unit[HEALTH, 2]) == pytest.approx(50 + 75)
    back = 0.7875 * 10
    assert float(one.unit[ENERGY, 0]) == pytest.approx(50 - 75 / 3 + back, abs=0.01)
    assert float(two.unit[ENERGY, 0]) == pytest.approx(50 - 75 / 6 + back, abs=0.01)


def test_an_explosion_hurts_all_enemies_near_it_once_even_after_death() -> None:
    names = ["baneling", "zergling", "zergling", "hydralisk"]
    kinds = torch.tensor([[NAMES.index(name)] for name in names])
    # One zergling touches it, one stands 2 away, the hydralisk 6 away shoots.
    places = torch.tensor([[[16.0], [16.8], [18.0], [22.0]], [[16.0], [16.0], [16.0], [16.0]]])
    battle = battle_of(scenario(1, 3, ["zergling", "hydralisk", "baneling"]), kinds, places)
    goal, course = still(battle)
    goal[0] = 1
    battle.advance(goal, course)
    assert battle.unit[HEALTH].flatten().tolist() == [0, 0, 0, 90]
    shot = battle_of(scenario(1, 3, ["zergling", "hydralisk", "baneling"]), kinds, places)
    goal[0], goal[3] = 0, 0
    shot.unit[HEALTH, 0] = 12
    shot.advance(goal, course)
    assert shot.unit[HEALTH].flatten().tolist() == [0, 35, 35, 90]
    for _ in range(3):
        shot.look()
        shot.advance(goal, course)
    assert shot.unit[HEALTH].flatten().tolist() == [0, 0, 0, 90]


# One step of a battle, written plainly


class Unit:
    def __init__(self, kind: int, values: list[float], ally: bool) -> None:
        self.name, self.ally = NAMES[kind], ally
        self.x, self.y, self.health, self.shield, self.cooldown, self.energy, self.calm = values
        row = TABLE[self.name]
        self.full_shield, self.armour, self.speed, self.range = row[1], row[2], row[3] / LOOPS, row[4]
        self.full_health, self.radius, self.flies = row[0], row[11], row[12]
        self.period = (row[5] or 0) * LOOPS
        self.goal: Unit | None = None
        self.mixed = False


def hit(attacker: Unit, target: Unit) -> float:
    damage, _, bonus, against = TABLE[attacker.name][6:10]
    if target.flies and not TABLE[attacker.name][13]:
        return 0
    return float(damage + (bonus if against is not None and against == TABLE[target.name][10] else 0))


def apart(one: Unit, other: Unit) -> float:
    return math.hypot(one.x - other.x, one.y - other.y)


def reference_loop(units: list[Unit]) -> None:
    living = [unit for unit in units if unit.health > 0]
    blows: list[tuple[Unit, float]] = []
    healers: list[tuple[Unit, Unit]] = []
    moves: dict[Unit, tuple[float, float]] = {}
    fired, burst = [], []
    for unit in living:
        goal = unit.goal
        moves[unit] = (0.0, 0.0)
        if goal is None or goal.health <= 0:
            continue
        distance, reach = apart(unit, goal), unit.range + unit.radius + goal.radius
        if distance > reach:
            stride = min(unit.speed, distance - reach + 2 / GRID)
            moves[unit] = ((goal.x - unit.x) / distance * stride, (goal.y - unit.y) / distance * stride)
        elif unit.name == "medivac":
            healers.append((unit, goal))
        elif unit.cooldown < 1:
            fired.append(unit)
            if unit.name == "baneling":
                burst.append(unit)
                continue
            blows += [(goal, hit(unit, goal))] * TABLE[unit.name][7]
            if unit.name == "colossus":
                ahead = ((goal.x - unit.x) / distance, (goal.y - unit.y) / distance)
                for other in living:
                    if other.ally == unit.ally or other is goal:
                        continue
                    dx, dy = other.x - goal.x, other.y - goal.y
                    depth = abs(dx * ahead[0] + dy * ahead[1])
                    side = abs(dy * ahead[0] - dx * ahead[1])
                    if depth <= other.radius + 0.15 and side <= other.radius + 1.4:
                        blows += [(other, hit(unit, other))] * 2
    burst += [unit for unit in units if unit.name == "baneling" and unit.health <= 0 and unit.energy > 0]
    for unit in burst:
        unit.health, unit.energy = 0, 0
        blows += [
            (other, hit(unit, other))
            for other in living
            if other.ally != unit.ally and apart(unit, other) <= 2.2 + other.radius
        ]
    gained: dict[Unit, float] = {}
    helped = {goal: [h for h, g in healers if g is goal and h.energy > 0] for _, goal in healers}
    for goal, helpers in helped.items():
        if helpers:
            gained[goal] = min(12.6 / LOOPS, goal.full_health - goal.health)
            for helper in helpers:
                helper.energy -= gained[goal] / len(helpers) / 3
    shoved = {unit: [0.0, 0.0] for unit in living}
    for first in living:
        for second in living:
            touching = first.radius + second.radius
            distance = max(apart(first, second), 1 / GRID)
            if first is second or first.flies != second.flies or distance >= touching:
                continue
            share = 0.25 * (touching / distance - 1)
            shoved[first][0] += round((first.x - second.x) * share * GRID) / GRID
            shoved[first][1] += round((first.y - second.y) * share * GRID) / GRID
    for unit in living:
        x, y = (round(part * GRID) / GRID for part in moves[unit])
        unit.x = min(max(unit.x + x + shoved[unit][0], 0), 32)
        unit.y = min(max(unit.y + y + shoved[unit][1], 0), 32)
    for unit in units:
        received = sorted((damage for target, damage in blows if target is unit), reverse=True)
        unit.health += gained.get(unit, 0) if unit.health > 0 else 0
        unit.calm = 0 if received else unit.calm + 1
        # Which of several hits meets the last of a shield is not decided by the rules.
        unit.mixed |= 0 < unit.shield < sum(received) and len(set(received)) > 1
        for damage in received:
            absorbed = min(unit.shield, damage)
            unit.shield -= absorbed
            if damage > absorbed:
                unit.health -= max(0.5, damage - absorbed - unit.armour)
        unit.health = max(unit.health, 0)
        if unit.calm > 224 and unit in living:
            unit.shield = min(unit.shield + 2 / LOOPS, unit.full_shield)
        if unit.name == "medivac":
            unit.energy = min(unit.energy + 0.7875 / LOOPS, 200)
        unit.cooldown = max(unit.cooldown + (unit.period if unit in fired else 0) - 1, 0)


@pytest.mark.parametrize("name", ["terran_5_vs_5", "protoss_5_vs_5", "zerg_5_vs_5", "terran_10_vs_11"])
def test_one_step_against_a_plain_reference(name: str) -> None:
    """The middle of battles, in which both sides attack the nearest whom they can hit."""
    rows, which = 12, SCENARIOS[name]
    battle = Battle(which, rows, CPU)
    kind, unit = Teams(which, CPU).draw(row_keys([7], 0, rows, CPU))
    battle.kind.copy_(kind.T)
    battle.unit.copy_(unit.permute(1, 2, 0))
    # Nearer to each other, so that much happens.
    battle.unit[:2] = ((battle.unit[:2] - 16) * 0.5 * GRID).round() / GRID + 16
    battle.unit[HEALTH].mul_(0.7).round_()
    battle.restore()
    scripts = [Script(battle, "nearest", side) for side in ("allies", "enemies")]  # type: ignore[arg-type]
    goal, course = still(battle)
    busy = 0
    for step in range(6):
        battle.look()
        for script in scripts:
            script.begin()
        worlds = []
        for row in range(rows):
            values = battle.unit[:, :, row].T.tolist()
            kinds = battle.kind[:, row].tolist()
            worlds.append(
                [Unit(k, v, n < which.allies) for n, (k, v) in enumerate(zip(kinds, values, strict=True))]
            )
        for script in scripts:
            script.decide(goal, course)
        before = battle.unit.clone()
        for loop in range(8):
            if loop:
                battle.look()
            battle.advance(goal, course)
        for row, world in enumerate(worlds):
            for number, one in enumerate(world):
                target = int(goal[number, row])
                one.goal = None if target == number else world[target]
            for _ in range(8):
                reference_loop(world)
            for number, one in enumerate(world):
                got = battle.unit[:, number, row].tolist()
                where = (name, step, row, number, one.name)
                assert got[0] == pytest.approx(one.x, abs=4 / GRID), where
                assert got[1] == pytest.approx(one.y, abs=4 / GRID), where
                assert got[2] == pytest.approx(one.health, abs=1.5 if one.mixed else 1e-3), where
                assert got[3] == pytest.approx(one.shield, abs=1e-3), where
                assert got[COOLDOWN] == pytest.approx(one.cooldown, abs=1e-3), where
                if one.name == "medivac":
                    assert got[ENERGY] == pytest.approx(one.energy, abs=1e-3), where
        busy += int((before[HEALTH : SHIELD + 1] > battle.unit[HEALTH : SHIELD + 1]).sum())
    assert busy > 60
