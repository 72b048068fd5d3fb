"""Battles know neither left from right nor one unit of a kind from another, and both sides fight by the same rules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from marlbench.environments.keys import row_keys
from marlbench.environments.smac.battle import HEALTH, Battle
from marlbench.environments.smac.scenarios import SCENARIOS, WIDTH
from marlbench.environments.smac.scripts import Script
from marlbench.environments.smac.smac import Smac
from marlbench.environments.smac.teams import Teams

CPU = torch.device("cpu")
RACES = ["terran_5_vs_5", "protoss_5_vs_5", "zerg_5_vs_5"]


def drawn(name: str, rows: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """kind [unit, row], unit [quantity, unit, row] of battles between independent teams in the two halves."""
    which = SCENARIOS[name]
    teams = Teams(which, CPU)
    kind, unit = (value.movedim(0, -1).contiguous() for value in teams.draw(row_keys([seed], 0, rows, CPU)))
    other = teams._reflected(row_keys([seed + 1], 0, rows, CPU)).permute(1, 2, 0)
    mine = teams._reflected(row_keys([seed + 2], 0, rows, CPU)).permute(1, 2, 0)
    places = torch.cat([mine[:, : which.allies], other[:, which.allies :]], 1)
    unit[:2] = (places * 4096).round() / 4096
    return kind, unit


def loaded(name: str, kind: Tensor, unit: Tensor, dtype: torch.dtype = torch.float32) -> Battle:
    battle = Battle(SCENARIOS[name], kind.shape[1], CPU, dtype)
    battle.kind.copy_(kind)
    battle.unit.copy_(unit)
    battle.restore()
    return battle


def fight(battle: Battle, ours: str, theirs: str, loops: int) -> None:
    """Both sides by rule."""
    scripts = [Script(battle, ours, "allies"), Script(battle, theirs, "enemies")]  # type: ignore[arg-type]
    goal = torch.arange(battle.units).unsqueeze(1).expand(-1, battle.rows).clone()
    course = torch.zeros(2, battle.units, battle.rows, dtype=battle.dtype)
    for loop in range(loops):
        battle.look()
        for script in scripts:
            if loop % 8 == 0:
                script.begin()
            script.decide(goal, course)
        battle.advance(goal, course)


def standing(battle: Battle) -> tuple[Tensor, Tensor]:
    """Whether anybody who fights is left of the allies, of the enemies; bool [row]."""
    fights = battle.alive if battle.heals is None else battle.alive & ~battle.heals
    return fights[: battle.allies].any(0), fights[battle.allies :].any(0)


@pytest.mark.parametrize("name", RACES)
def test_sides_changed_and_reflected_is_the_same_battle(name: str) -> None:
    kind, unit = drawn(name, 24)
    order = [*range(5, 10), *range(5)]
    mirrored = unit[:, order].clone()
    mirrored[0] = WIDTH - mirrored[0]
    one, other = loaded(name, kind, unit), loaded(name, kind[order], mirrored)
    fight(one, "nearest", "focus_fire", 240)
    fight(other, "focus_fire", "nearest", 240)
    expected = one.unit[:, order].clone()
    expected[0] = WIDTH - expected[0]
    assert torch.equal(other.unit, expected)
    assert bool((one.unit[HEALTH] <= 0).any())


@pytest.mark.parametrize("name", RACES)
def test_renumbered_units_fight_the_same_battle(name: str) -> None:
    kind, unit = drawn(name, 24)
    order = [3, 0, 4, 1, 2, 9, 7, 5, 8, 6]
    one, other = loaded(name, kind, unit), loaded(name, kind[order], unit[:, order])
    fight(one, "nearest", "retreat", 240)
    fight(other, "nearest", "retreat", 240)
    assert torch.equal(other.unit, one.unit[:, order])


@pytest.mark.parametrize("name", RACES)
def test_equal_policies_win_half_the_battles(name: str) -> None:
    kind, unit = drawn(name, 300)
    battle = loaded(name, kind, unit)
    fight(battle, "nearest", "nearest", 560)
    ours, theirs = standing(battle)
    decided = int((ours ^ theirs).sum())
    won = int((ours & ~theirs).sum())
    assert decided > 200
    # Four standard deviations of a fair coin.
    assert abs(won - decided / 2) < 4 * (decided / 4) ** 0.5


def test_focus_fire_beats_random_targets() -> None:
    """Eight marines against eight, the same walking, allies with the one, enemies with the other."""
    env = Smac(Smac.Parameters(scenario="8m"), 200, CPU)
    env.reset(row_keys([3], 0, 200, CPU))
    battle = env.battle
    scripts = [Script(battle, "focus_fire", "allies"), Script(battle, "nearest", "enemies")]
    goal = torch.arange(battle.units).unsqueeze(1).expand(-1, battle.rows).clone()
    course = torch.zeros(2, battle.units, battle.rows)
    generator = torch.Generator().manual_seed(0)
    for loop in range(480):
        battle.look()
        for script in scripts:
            script.decide(goal, course)
        if loop % 8 == 0:
            wish = torch.rand(battle.enemies, battle.allies, battle.rows, generator=generator)
        # Of those in reach, anybody; where nobody is, the nearest.
        within = battle.across.transpose(0, 1) <= 5.75
        chosen = wish.masked_fill(~within, -1).argmax(1)
        goal[battle.allies :] = torch.where(within.any(1), chosen, goal[battle.allies :])
        battle.advance(goal, course)
    ours, theirs = standing(battle)
    assert int((ours & ~theirs).sum()) > 150


def test_single_and_double_precision_agree_on_one_step() -> None:
    """From common states: they part where a distance is told from a range, or a place rounded, the other way."""
    equal = total = 0
    for name in RACES:
        kind, unit = drawn(name, 500, seed=9)
        start = loaded(name, kind, unit)
        fight(start, "nearest", "nearest", 64)
        single, double = loaded(name, kind, start.unit), loaded(name, kind, start.unit, torch.float64)
        for battle in (single, double):
            fight(battle, "nearest", "nearest", 8)
        gap = (single.unit.double() - double.unit).abs()
        same = gap.amax((0, 1)) < 2e-3
        equal, total = equal + int(same.sum()), total + len(same)
    assert equal >= 0.985 * total


@pytest.mark.parametrize("name", [*RACES, "terran_10_vs_11"])
def test_a_gpu_takes_the_same_step(name: str) -> None:
    """One step from 10,000 common states, in the middle of battles; ties of distances may be told differently."""
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU on this machine")
    rows, generator = 10_000, torch.Generator().manual_seed(0)
    ours = Smac(Smac.Parameters(scenario=name), rows, CPU)
    theirs = Smac(Smac.Parameters(scenario=name), rows, torch.device("cuda"))
    step = ours.reset(row_keys([3], 0, rows, CPU))
    for _ in range(12):
        wish = torch.rand(step.available_actions.shape, generator=generator)
        wish[..., 6:] += 0.5
        action = wish.masked_fill(~step.available_actions, -1).argmax(2)
        state = ours.state_dict()
        step = ours.step(action)
    theirs.load_state_dict(state)
    other = theirs.step(action.cuda())
    gap = (ours.memory["unit"] - theirs.memory["unit"].cpu()).abs().amax((1, 2))
    assert int((gap < 2e-3).sum()) >= 0.999 * rows
    masks = (step.available_actions == other.available_actions.cpu()).all(2).all(1)
    assert int(masks.sum()) >= 0.999 * rows
