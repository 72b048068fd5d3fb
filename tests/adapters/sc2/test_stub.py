"""The `sc2` backend against stubs of smacv2 and smac with their documented contract, and its awkward parts."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from marlbench.adapters.sc2.environment import Sc2
from marlbench.adapters.workers import SimulatorFailure
from marlbench.algorithms.base import Setting
from marlbench.algorithms.random_policy import RandomPolicy
from marlbench.catalog.types import Protocol
from marlbench.environments.contract import Step
from marlbench.environments.keys import row_keys
from marlbench.environments.smac.smac import Smac, SmacParameters
from marlbench.training.evaluation import Evaluator
from marlbench.training.tally import Tally

CPU = torch.device("cpu")
Faults = Callable[[list[dict[str, Any]]], Path]
Make = Callable[..., Sc2]


def keys(rows: int = 1, seed: int = 0) -> torch.Tensor:
    return row_keys([seed], 0, rows, CPU)


def attack(step: Step) -> torch.Tensor:
    """The last available action of every agent: the enemy with the highest number that lives."""
    numbers = torch.arange(step.available_actions.shape[2])
    return (step.available_actions * numbers).argmax(2)


def stop(step: Step) -> torch.Tensor:
    return torch.ones(step.available_actions.shape[:2], dtype=torch.int64)


def launches(folder: Path) -> int:
    return len(list(folder.glob("launch-*")))


@pytest.mark.parametrize("scenario", ["terran_5_vs_5", "protoss_10_vs_11", "zerg_10_vs_10", "3m"])
def test_names_and_layout_are_those_of_builtin(stubs: Faults, make: Make, scenario: str) -> None:
    told, ours = (
        make(scenario).specification,
        Smac(SmacParameters(scenario=scenario), 1, CPU).specification,
    )
    for name in (
        "agents",
        "observation_size",
        "state_size",
        "action",
        "episode_limit",
        "features",
        "masks_actions",
    ):
        assert getattr(told, name) == getattr(ours, name), name
    assert told.metrics == (*ours.metrics, "lost_games")


def test_what_is_drawn_follows_from_the_seed(stubs: Faults, make: Make) -> None:
    first, second = make(rows=2), make(rows=2)
    shown = [environment.reset(keys(2)).observation for environment in (first, second)]
    assert torch.equal(*shown)
    assert not torch.equal(shown[0][0], shown[0][1])
    for _ in range(4):
        steps = [environment.step(attack(environment._show())) for environment in (first, second)]
        assert torch.equal(steps[0].observation, steps[1].observation)
    other = make(rows=2).reset(keys(2, seed=1)).observation
    assert not torch.equal(other, shown[0])


def test_a_second_reset_starts_no_second_game_and_keeps_the_scale(stubs: Faults, make: Make) -> None:
    folder = stubs([])
    environment = make()
    environment.reset(keys())
    scale = environment._shared["kept"].clone()
    step = environment.reset(keys(seed=7))
    step = environment.reset(keys(seed=8))
    assert launches(folder) == 1
    assert torch.equal(environment._shared["kept"], scale)
    rewards = 0.0
    while not step.any_ended:
        step = environment.step(attack(step))
        rewards += float(step.reward[0, 0])
    assert rewards == pytest.approx((5 * 40 + 200) * 20 / float(scale))


def test_the_limit_is_told_from_an_end(stubs: Faults, make: Make) -> None:
    environment = make(episode_limit=3)
    step = environment.reset(keys())
    for _ in range(3):
        step = environment.step(stop(step))
    assert step.truncated.all()
    assert not step.terminated.any()
    assert step.completed.all()
    assert step.metrics["win_rate"].item() == 0
    environment = make(episode_limit=5)
    step = environment.reset(keys())
    for _ in range(5):
        step = environment.step(attack(step))
    # The battle is won at the very step at which the time runs out.
    assert step.terminated.all()
    assert not step.truncated.any()
    assert step.metrics["win_rate"].item() == 1


@pytest.mark.parametrize("fault", ["crash", "tells", "hang"])
@pytest.mark.parametrize("scenario", ["terran_5_vs_5", "3m"])
def test_a_lost_game_ends_its_episode_and_counts_in_nothing(
    stubs: Faults, make: Make, scenario: str, fault: str
) -> None:
    folder = stubs([{fault: 2}])
    environment = make(scenario, patience=1.0)
    step = environment.reset(keys())
    before = environment.step(stop(step))
    lost = environment.step(stop(before))
    assert lost.ended.all()
    assert lost.truncated.all()
    assert not lost.terminated.any()
    assert not lost.completed.any()
    assert torch.equal(lost.final_observation, before.observation)
    assert torch.equal(lost.final_state, before.state)
    assert lost.reward.abs().sum() == 0
    assert launches(folder) == 2
    step = lost
    while not step.completed.any():
        step = environment.step(attack(step))
    assert step.metrics["win_rate"].item() == 1
    assert step.metrics["lost_games"].item() == 1
    # What rewards are divided by outlives the game.
    assert float(environment._shared["kept"]) > 0
    step = environment.step(stop(step))
    assert not step.any_ended


@pytest.mark.parametrize("fault", [{"start": True}, {"none": True}])
def test_a_game_that_shows_no_battle_is_replaced(stubs: Faults, make: Make, fault: dict[str, Any]) -> None:
    folder = stubs([fault, fault])
    environment = make()
    step = environment.reset(keys())
    assert launches(folder) == 3
    while not step.any_ended:
        step = environment.step(attack(step))
    assert step.metrics["lost_games"].item() == 2


def test_games_that_never_come_are_an_error_that_says_why(stubs: Faults, make: Make) -> None:
    stubs([{"start": True}] * 3)
    with pytest.raises(SimulatorFailure, match=r"3 games in succession were lost .* the game did not come"):
        make().reset(keys())


def test_games_that_all_break_off_are_an_error(stubs: Faults, make: Make) -> None:
    folder = stubs([{"tells": 1}] * 20)
    environment = make()
    step = environment.reset(keys())
    for _ in range(10):
        step = environment.step(stop(step))
        assert step.dropped is not None
        assert step.dropped.all()
    with pytest.raises(SimulatorFailure, match="more than 10 games in succession"):
        environment.step(stop(step))
    assert launches(folder) == 11


def test_illegal_actions_are_errors_and_no_lost_games(stubs: Faults, make: Make) -> None:
    environment = make()
    environment.reset(keys())
    with pytest.raises(SimulatorFailure, match="cannot perform action 2"):
        environment.step(torch.full((1, 5), 2))


def test_a_hundred_faults_lose_no_episode_and_are_no_losses(stubs: Faults) -> None:
    """Every battle here is won; so it stays, whatever happens to games, and all evaluations are complete."""
    drawn = random.Random(3)
    kinds = ["crash", "tells", "crash", "start", "tells", "none"]
    suffered = [{kinds[k % 6]: drawn.randint(1, 5), "after": drawn.randint(0, 2)} for k in range(104)]
    folder = stubs(suffered)

    def build(rows: int) -> Sc2:
        return Sc2(Sc2.Parameters(scenario="terran_5_vs_5"), rows, CPU)

    probe = Smac(SmacParameters(scenario="terran_5_vs_5"), 1, CPU).specification
    policy = RandomPolicy(Setting(probe, (0,), 1, 1, CPU, Path()), RandomPolicy.Hyperparameters()).policy
    protocol = Protocol(kind="episodic", policy="greedy", evaluations=1, episodes=8)
    evaluator = Evaluator(build, 1, policy, protocol, (0,), 8)
    lost = 0.0
    try:
        for stream in range(100):
            evaluator.begin(stream, 8)
            while evaluator.running:
                evaluator.advance()
            results = evaluator.results()
            assert results["win_rate"].shape == (1, 8)
            assert (results["win_rate"] == 1).all()
            lost += float(results["lost_games"].sum())
            if launches(folder) > len(suffered):
                break
    finally:
        evaluator.close()
    assert lost == len(suffered)


def test_training_counts_no_lost_episode(stubs: Faults, make: Make) -> None:
    stubs([{"crash": 3}])
    environment = make()
    tally = Tally(environment.specification, 1, 1, None, 100, CPU)
    step = environment.reset(keys())
    while not step.any_ended:
        step = environment.step(attack(step))
        tally.count(step, 0)
    assert not step.completed.any()
    assert tally.since_record.means() == [{}]
    step = environment.step(attack(step))
    tally.count(step, 0)
    while not step.any_ended:
        step = environment.step(attack(step))
        tally.count(step, 0)
    told = tally.since_record.means()[0]
    assert (told["win_rate"], told["lost_games"], told["episode_length"]) == (1.0, 1.0, 5.0)


def test_the_scale_of_rewards_is_saved_with_the_environment(stubs: Faults, make: Make) -> None:
    environment = make()
    environment.reset(keys())
    state = environment.state_dict()
    other = make()
    step = other.load_state_dict(state)
    assert torch.equal(other._shared["kept"], environment._shared["kept"])
    step = other.step(attack(step))
    assert float(step.reward[0, 0]) == pytest.approx(40 * 20 / float(state["kept"]))  # type: ignore[arg-type]


def test_fix_obs_shows_enemies_beside_unseen_ones(stubs: Faults, make: Make) -> None:
    """Of five enemies at distances of four, the first team sees the first few and never the last (issue 50)."""
    seen = make(fix_obs=True).reset(keys()).observation[0, :, :5]
    wiped = make(fix_obs=False).reset(keys()).observation[0, :, :5]
    assert seen.any(1).all()
    assert not wiped.any()
