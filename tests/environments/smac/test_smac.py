"""The tasks of SMAC: shapes, masks, rewards, ends, who fights where, partial observability, pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from marlbench.algorithms.battle_players import KitingHyperparameters
from marlbench.environments.contract import Step
from marlbench.environments.keys import row_keys
from marlbench.environments.smac.battle import HEALTH, SHIELD
from marlbench.environments.smac.scenarios import SCENARIOS
from marlbench.environments.smac.smac import Smac
from marlbench.environments.smac.teams import Teams
from marlbench.environments.smac.units import KINDS, NUMBER

CPU = torch.device("cpu")
# observation, state, actions, limit: of the contract, and of the first SMAC.
SHAPES = {
    "terran_5_vs_5": (82, 120, 11, 200),
    "protoss_5_vs_5": (92, 130, 11, 200),
    "zerg_5_vs_5": (82, 120, 11, 200),
    "zerg_10_vs_11": (170, 306, 17, 200),
    "terran_10_vs_11": (170, 306, 17, 200),
    "3m": (30, 48, 9, 60),
    "8m": (80, 168, 14, 120),
    "2s3z": (80, 120, 11, 120),
    "5m_vs_6m": (55, 98, 12, 70),
    "3s_vs_5z": (48, 68, 11, 250),
    "6h_vs_8z": (78, 140, 14, 150),
    "corridor": (156, 282, 30, 400),
    "MMM2": (176, 322, 18, 180),
    "3s5z_vs_3s6z": (136, 230, 15, 170),
    "27m_vs_30m": (285, 1170, 36, 180),
}


def environment(name: str, rows: int = 1, **options: object) -> Smac:
    return Smac(Smac.Parameters.model_validate({"scenario": name, **options}), rows, CPU)


def legal(step: Step, generator: torch.Generator, fierce: float = 0.0) -> Tensor:
    """Random actions that there are; with `fierce`, attacks rather than moves."""
    wish = torch.rand(step.available_actions.shape, generator=generator)
    wish[..., 6:] += fierce
    return wish.masked_fill(~step.available_actions, -1).argmax(2)


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_shapes_of_every_scenario(name: str) -> None:
    built = environment(name)
    step = built.reset(row_keys([0], 0, 1, CPU))
    specification = built.specification
    assert step.observation.shape[2] == specification.observation_size == len(specification.features)
    assert step.state.shape[1] == specification.state_size
    if name in SHAPES:
        told = (specification.observation_size, specification.state_size, step.available_actions.shape[2])
        assert (*told, specification.episode_limit) == SHAPES[name]
    assert len(specification.agents) == SCENARIOS[name].allies


def test_there_are_fifteen_scenarios_and_the_maps() -> None:
    assert sum(scenario.drawn for scenario in SCENARIOS.values()) == 15
    assert len(SCENARIOS) == 29
    with pytest.raises(ValidationError, match="there is no scenario '4m'"):
        environment("4m")


def test_observations_are_what_their_names_say() -> None:
    built = environment("terran_10_vs_11", rows=16)
    step = built.reset(row_keys([2], 0, 16, CPU))
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        step = built.step(legal(step, generator, 0.5))
    names = {name: index for index, name in enumerate(built.specification.features)}
    unit, kind = built.memory["unit"], built.memory["kind"]
    seen = 0
    for row in range(16):
        x, y, health = unit[row, 0], unit[row, 1], unit[row, HEALTH]
        for agent in range(10):
            observed = step.observation[row, agent]
            if health[agent] == 0:
                assert not observed.any()
                continue
            sight = {0: 9.0, 1: 10.0, 2: 11.0}[int(kind[row, agent])]
            assert observed[names["own.x"]] == pytest.approx(float(x[agent]) / 32)
            for enemy in range(11):
                other = 10 + enemy
                distance = float(torch.hypot(x[other] - x[agent], y[other] - y[agent]))
                visible = distance < sight and health[other] > 0
                part = {
                    p: float(observed[names[f"enemy_{enemy}.{p}"]]) for p in ("distance", "x", "y", "health")
                }
                if not visible:
                    assert not any(part.values())
                    continue
                seen += 1
                assert part["distance"] == pytest.approx(distance / sight, abs=1e-4)
                assert part["x"] == pytest.approx(float(x[other] - x[agent]) / sight, abs=1e-4)
                assert part["y"] == pytest.approx(float(y[other] - y[agent]) / sight, abs=1e-4)
                share = float(health[other]) / {0: 45, 1: 125, 2: 150}[int(kind[row, other])]
                assert part["health"] == pytest.approx(share, abs=1e-4)
                if int(kind[row, agent]) != NUMBER["medivac"]:
                    within = distance <= {0: 5, 1: 6}[int(kind[row, agent])]
                    assert bool(step.available_actions[row, agent, 6 + enemy]) == within
    assert seen > 200


@pytest.mark.parametrize("name", ["zerg_5_vs_5", "3m"])
def test_rewards_add_up_to_at_most_twenty(name: str) -> None:
    """To twenty for a battle that is won, where nobody heals and nobody has a shield."""
    built = environment(name, rows=64)
    step = built.reset(row_keys([4], 0, 64, CPU))
    # So weak that random legal play wins some.
    generator, total, wins = torch.Generator().manual_seed(0), torch.zeros(64), 0
    for time in range(60):
        if time == 10:
            theirs = slice(built.battle.allies, None)
            built.battle.unit[HEALTH, theirs] = built.battle.unit[HEALTH, theirs].clamp(max=1)
            built.battle.look()
        step = built.step(legal(step, generator, 0.8))
        total += step.reward[:, 0]
        assert bool((step.reward >= 0).all())
        assert bool((total <= 20 + 1e-3).all())
        wins += int(step.metrics["win_rate"][step.ended].sum()) if step.any_ended else 0
        total[step.ended] = 0
    assert wins > 0


def test_a_win_pays_two_hundred_and_what_the_enemies_lost() -> None:
    built = environment("3m")
    built.reset(row_keys([0], 0, 1, CPU))
    unit = built.battle.unit
    unit[0] = torch.tensor([10.0, 10.0, 10.0, 14.0, 14.0, 14.0]).unsqueeze(1)
    unit[1] = torch.tensor([10.0, 12.0, 14.0, 10.0, 12.0, 14.0]).unsqueeze(1)
    unit[HEALTH, 3:] = 6
    built.battle.look()
    step = built.step(torch.tensor([[6, 7, 8]]))
    most = 10 * 3 + 200 + 3 * 45
    assert bool(step.terminated.all())
    assert not bool(step.truncated.any())
    assert float(step.reward[0, 0]) == pytest.approx((18 + 30 + 200) * 20 / most)
    assert float(step.metrics["win_rate"]) == 1
    assert float(step.metrics["dead_enemies"]) == 3


@pytest.mark.parametrize(
    ("ours", "theirs", "won", "reward"), [(0, 0, 0, 0.0), (0, 9, 0, -1.0), (9, 0, 1, 1.0)]
)
def test_both_sides_dead_is_not_a_win(ours: int, theirs: int, won: int, reward: float) -> None:
    built = environment("3m", sparse_reward=True)
    built.reset(row_keys([0], 0, 1, CPU))
    built.battle.unit[HEALTH, :3], built.battle.unit[HEALTH, 3:] = float(ours), float(theirs)
    built.battle.look()
    step = built.step(torch.tensor([[1, 1, 1]]))
    assert bool(step.ended[0])
    assert float(step.metrics["win_rate"]) == won
    assert float(step.reward[0, 0]) == reward


def test_only_medivacs_left_is_a_defeat() -> None:
    built = environment("MMM2")
    built.reset(row_keys([0], 0, 1, CPU))
    built.battle.unit[HEALTH, 9 + 1 : -1] = 0
    built.battle.look()
    step = built.step(torch.ones(1, 10, dtype=torch.int64))
    assert float(step.metrics["win_rate"]) == 1


def test_an_episode_is_cut_at_its_limit() -> None:
    built = environment("3m", rows=4, episode_limit=3)
    step = built.reset(row_keys([0], 0, 4, CPU))
    for _ in range(3):
        step = built.step(torch.where(step.available_actions[..., 0], 0, 1))
    assert bool(step.truncated.all())
    assert not bool(step.terminated.any())
    assert bool((step.metrics["win_rate"] == 0).all())


def test_the_dead_have_one_action_and_the_living_never_that() -> None:
    built = environment("protoss_5_vs_5", rows=32)
    step, generator = built.reset(row_keys([1], 0, 32, CPU)), torch.Generator().manual_seed(0)
    dead = 0
    for _ in range(25):
        step = built.step(legal(step, generator))
        gone = built.memory["unit"][:, HEALTH, :5] <= 0
        assert torch.equal(step.available_actions[..., 0], gone)
        assert torch.equal(step.available_actions[..., 1:].any(2), ~gone)
        dead += int(gone.sum())
    assert dead > 0


def test_teams_are_drawn_by_weight_and_never_of_the_exception_alone() -> None:
    rows = 20_000
    for name, exception in (("terran_10_vs_11", "medivac"), ("zerg_5_vs_5", "baneling")):
        which = SCENARIOS[name]
        kind, _ = Teams(which, CPU).draw(row_keys([5], 0, rows, CPU))
        allies, enemies = kind[:, : which.allies], kind[:, which.allies :]
        assert torch.equal(enemies[:, : which.allies], allies)
        for number, weight in zip(which.kinds, (0.45, 0.45, 0.1), strict=True):
            share = float((allies == number).float().mean())
            assert share == pytest.approx(weight, abs=4 * (0.25 / (rows * which.allies)) ** 0.5)
        assert not bool((allies == NUMBER[exception]).all(1).any())
        further = enemies[:, which.allies :]
        if further.shape[1]:
            # One further unit: never the exception, so that the other two share it.
            assert not bool((further == NUMBER[exception]).any())
            assert float((further == which.kinds[0]).float().mean()) == pytest.approx(0.5, abs=0.015)


def test_start_positions_follow_their_distributions() -> None:
    rows, which = 8000, SCENARIOS["protoss_10_vs_11"]
    _, unit = Teams(which, CPU).draw(row_keys([6], 0, rows, CPU))
    x, y = unit[:, 0], unit[:, 1]
    assert bool(((x >= 0) & (x <= 32) & (y >= 0) & (y <= 32)).all())
    mirrored = (x[:, 10:20] - (32 - x[:, :10])).abs().amax(1) < 1e-3
    mirrored &= (y[:, 10:20] == y[:, :10]).all(1)
    assert float(mirrored.float().mean()) == pytest.approx(0.5, abs=0.025)
    left = x[mirrored][:, :10]
    assert float(left.mean()) == pytest.approx(7.5, abs=0.1)
    assert float(left.max()) <= 15
    assert float(x[mirrored][:, 20].mean()) == pytest.approx(24, abs=0.3)
    ours, theirs = unit[~mirrored][:, :2, :10], unit[~mirrored][:, :2, 10:]
    # Allies in a spiral about the centre, enemies about points of the diagonals.
    assert float((ours - 16).norm(dim=1).max()) < 0.75 * 3 + 0.01
    assert float(((theirs - 16).abs().amax(1)).mean()) == pytest.approx(9, abs=0.5)
    off_diagonal = ((theirs[:, 0] - 16).abs() - (theirs[:, 1] - 16).abs()).abs()
    assert float(off_diagonal.max()) < 2 * 0.75 * 11**0.5
    # No two units in one place.
    gaps = (unit[:, :2].unsqueeze(3) - unit[:, :2].unsqueeze(2)).norm(dim=1) + torch.eye(21)
    assert float((gaps.amin((1, 2)) > 0).float().mean()) > 0.99


def test_only_whoever_saw_an_enemy_first_goes_on_to_see_it() -> None:
    built = environment("zerg_5_vs_5", extended_partial_observability=True)
    built.reset(row_keys([0], 0, 1, CPU))
    unit = built.battle.unit
    unit[0] = torch.tensor([5.0, 6.0, 7.0, 8.0, 9.0, 30.0, 30.0, 30.0, 30.0, 9.0]).unsqueeze(1)
    unit[1] = torch.tensor([5.0, 5.0, 5.0, 5.0, 5.0, 10.0, 14.0, 18.0, 22.0, 9.0]).unsqueeze(1)
    built._sighted.fill_(-1)
    built.battle.look()
    health = built.specification.features.index("enemy_4.health")
    observation, _ = built.observe()
    assert (observation[0, :, health] > 0).tolist() == [True, False, False, False, False]
    # Attacks on all the living are offered, whatever the distance.
    assert bool(built.available_actions()[0, :, 6:].all())
    unit[HEALTH, 0] = 0
    built.battle.look()
    observation, _ = built.observe()
    assert (observation[0, :, health] > 0).tolist() == [False, True, False, False, False]
    # An attack out of range does nothing.
    before = unit[:2].clone()
    built._order(torch.full((5, 1), 6))
    assert torch.equal(built._goal[:5, 0], torch.arange(5))
    assert torch.equal(unit[:2], before)


def test_wounded_step_back_and_the_weakest_draws_fire() -> None:
    built = environment("3m", enemies="focus_fire")
    built.reset(row_keys([0], 0, 1, CPU))
    unit = built.battle.unit
    unit[0] = torch.tensor([10.0, 11.0, 12.0, 14.0, 14.0, 14.0]).unsqueeze(1)
    unit[1] = torch.tensor([10.0, 11.0, 12.0, 10.0, 12.0, 14.0]).unsqueeze(1)
    unit[HEALTH, 0] = 20
    built.battle.look()
    built.step(torch.ones(1, 3, dtype=torch.int64))
    assert float(unit[HEALTH, 0]) < 20
    assert unit[HEALTH, 1:3].flatten().tolist() == [45, 45]
    retreating = environment("3m", enemies="retreat")
    retreating.reset(row_keys([0], 0, 1, CPU))
    unit = retreating.battle.unit
    unit[0] = torch.tensor([10.0, 10.0, 10.0, 14.0, 14.0, 14.0]).unsqueeze(1)
    unit[HEALTH, 3] = 10
    retreating.battle.look()
    retreating.step(torch.ones(1, 3, dtype=torch.int64))
    assert float(unit[0, 3]) > 14.3
    assert float(unit[0, 4]) < 14.3


def test_a_battle_can_be_drawn() -> None:
    built = environment("protoss_5_vs_5", rows=2)
    step, generator = built.reset(row_keys([0], 0, 2, CPU)), torch.Generator().manual_seed(0)
    first = built.render(1)
    for _ in range(3):
        step = built.step(legal(step, generator))
    later = built.render(1)
    assert first.shape == later.shape == (512, 512, 3)
    assert (first != later).any()
    assert float(built.memory["unit"][:, SHIELD].max()) <= 150


def test_the_page_lists_the_parameters() -> None:
    page = (Path(__file__).parents[3] / "docs" / "smac.md").read_text(encoding="utf-8")
    for name, model in (("smac", Smac.Parameters), ("kiting", KitingHyperparameters)):
        for field, found in model.model_fields.items():
            default = "required" if found.is_required() else json.dumps(found.default).strip('"')
            assert f"| `{field}` | `{default}` | {found.description} |" in page, name
    for kind in KINDS:
        assert f"| {kind.name} | {kind.health:g} | {kind.shield:g} | {kind.armour:g} |" in page


def test_episodes_that_were_drawn_ahead_are_those_of_their_keys() -> None:
    """After a reset to other keys what follows is theirs, though an episode of that number was drawn already."""

    def second_episode(built: Smac, seed: int) -> Tensor:
        step = built.reset(row_keys([seed], 0, 8, CPU))
        for _ in range(3):
            step = built.step(legal(step, torch.Generator().manual_seed(0)))
        assert step.any_ended
        return step.observation.clone()

    used = environment("terran_5_vs_5", rows=8, episode_limit=3)
    first, second = second_episode(used, 1), second_episode(used, 2)
    assert not torch.equal(first, second)
    assert torch.equal(second, second_episode(environment("terran_5_vs_5", rows=8, episode_limit=3), 2))
