"""Players by rule in battles: legal, decentralised, better than chance, and refused elsewhere."""

from __future__ import annotations

import pytest
import torch

from marlbench.algorithms.base import Algorithm, Setting
from marlbench.algorithms.battle_players import FocusFire, Kiting, NearestEnemy
from marlbench.algorithms.random_policy import RandomPolicy
from marlbench.environments.contract import Discrete, EnvironmentSpecification
from marlbench.environments.keys import row_keys
from marlbench.environments.smac.smac import Smac
from marlbench.errors import ConfigurationError

CPU = torch.device("cpu")


def won(player: type[Algorithm], scenario: str, rows: int = 100) -> float:
    """Share of first battles that are won, all actions being legal."""
    environment = Smac(Smac.Parameters(scenario=scenario), rows, CPU)
    setting = Setting(environment.specification, (0,), rows, 1000, CPU)
    policy = player(setting, player.Hyperparameters()).policy
    agents = setting.agents
    memory = torch.zeros(rows, agents, policy.memory_size) if policy.memory_size else None
    step = environment.reset(row_keys([8], 0, rows, CPU))
    wins, done = torch.zeros(rows), torch.zeros(rows, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    for _ in range(environment.specification.episode_limit or 0):
        noise = torch.rand(rows, agents, policy.uniforms("greedy"), generator=generator)
        action, memory = policy.act(step, memory, noise, "greedy")
        assert bool(step.available_actions.gather(2, action.unsqueeze(2)).all())
        step = environment.step(action)
        if memory is not None:
            memory = memory * ~step.ended.view(-1, 1, 1)
        if step.any_ended:
            fresh = step.ended & ~done
            wins[fresh] = step.metrics["win_rate"][fresh]
            done |= step.ended
        if bool(done.all()):
            break
    return float(wins.mean())


def test_players_beat_chance_and_focused_fire_the_nearest() -> None:
    chance, nearest, focused = (won(player, "3m") for player in (RandomPolicy, NearestEnemy, FocusFire))
    assert chance < 0.05
    assert chance < nearest < focused


def test_who_heals_heals() -> None:
    assert won(NearestEnemy, "terran_5_vs_5", 60) > 0.1


def test_kiting_wins_what_standing_still_loses() -> None:
    assert won(FocusFire, "3s_vs_5z", 40) == 0
    assert won(Kiting, "3s_vs_5z", 40) > 0.05


def test_masks_without_ranges_are_seen_through() -> None:
    """Where the mask offers every living enemy, only what is within range is attacked."""
    rows = 16
    environment = Smac(
        Smac.Parameters(scenario="protoss_5_vs_5", extended_partial_observability=True), rows, CPU
    )
    policy = FocusFire(
        Setting(environment.specification, (0,), rows, 1000, CPU), FocusFire.Hyperparameters()
    ).policy
    names = environment.specification.features
    columns = [names.index(f"enemy_{enemy}.attackable") for enemy in range(5)]
    step, attacks = environment.reset(row_keys([8], 0, rows, CPU)), 0
    for _ in range(25):
        action, _ = policy.act(step, None, torch.zeros(rows, 5, 0), "greedy")
        attackable = step.observation[..., columns] > 0
        target = (action - 6).clamp(min=0).unsqueeze(2)
        assert bool((attackable.gather(2, target).squeeze(2) | (action < 6)).all())
        attacks += int((action >= 6).sum())
        step = environment.step(action)
    assert attacks > 50


def test_other_tasks_are_refused() -> None:
    specification = EnvironmentSpecification(("one",), 3, 3, Discrete(7))
    with pytest.raises(ConfigurationError, match="named enemies"):
        NearestEnemy(Setting(specification, (0,), 1, 1, CPU), NearestEnemy.Hyperparameters())
