"""The `sc2` backend with the real packages, through the real launch path and protocol, on a stand-in for the game.

Skipped where smacv2, smac, pysc2 or a protobuf that fits is missing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from marlbench.adapters.sc2 import scenarios
from marlbench.adapters.sc2.checks import check
from marlbench.adapters.sc2.environment import Sc2
from marlbench.adapters.workers import SimulatorFailure
from marlbench.checks import Status
from marlbench.environments.contract import Step
from marlbench.environments.keys import row_keys

HERE = Path(__file__).parent
CPU = torch.device("cpu")
Faults = Callable[[list[dict[str, Any]]], Path]
Make = Callable[..., Sc2]


def keys(rows: int = 1) -> torch.Tensor:
    return row_keys([0], 0, rows, CPU)


def chosen(step: Step) -> torch.Tensor:
    """The last available action of even agents, the first of odd ones; the rule of `alone.py`."""
    mask = step.available_actions
    last = (mask * torch.arange(mask.shape[2])).argmax(2)
    first = mask.to(torch.int64).argmax(2)
    even = torch.arange(mask.shape[1]) % 2 == 0
    return torch.where(even, last, first)


def starts(folder: Path) -> int:
    return len(list(folder.glob("start-*")))


@pytest.mark.parametrize(
    ("scenario", "extended", "sparse"),
    [
        ("terran_5_vs_5", False, False),
        ("protoss_10_vs_11", True, False),
        ("zerg_5_vs_5", False, True),
        ("3m", False, False),
        ("2s3z", False, False),
        ("MMM2", False, True),
    ],
)
def test_episodes_are_the_package_s_own_step_for_step(
    packages: Faults, make: Make, tmp_path: Path, scenario: str, extended: bool, sparse: bool
) -> None:
    episodes = 3
    environment = make(scenario, extended_partial_observability=extended, sparse_reward=sparse, fix_obs=False)
    step = environment.reset(keys())
    seeds = [int(environment._shared[name][0]) for name in ("seed", "upcoming")]
    shown = [(step.observation, step.state, step.available_actions)]
    rewards, ends = [], []
    while True:
        step = environment.step(chosen(step))
        rewards.append(float(step.reward[0, 0]))
        if step.any_ended:
            assert step.completed.all()
            shown.append((step.final_observation, step.final_state, step.final_available_actions))
            ends.append({name: float(value[0]) for name, value in step.metrics.items()})
            ends[-1]["cut"] = float(step.truncated[0, 0])
            if len(ends) == episodes:
                break
            seeds.append(int(environment._shared["upcoming"][0]))
        shown.append((step.observation, step.state, step.available_actions))
    arguments = json.dumps(scenarios.arguments(scenario, "7", extended, sparse))
    out = tmp_path / "alone.npz"
    subprocess.run(
        [sys.executable, HERE / "alone.py", scenario, arguments, out, *map(str, seeds[:episodes])],
        check=True,
        timeout=300,
    )
    alone = np.load(out)
    for place, name in enumerate(("observation", "state", "available")):
        ours = torch.cat([one[place] for one in shown]).numpy()
        assert np.array_equal(ours, alone[name].astype(ours.dtype)), name
    assert np.array_equal(np.float32(rewards), alone["reward"].astype(np.float32))
    over = alone["over"][alone["over"][:, 0] == 1]
    assert [one["win_rate"] for one in ends] == over[:, 1].tolist()
    assert [one["dead_allies"] for one in ends] == over[:, 2].tolist()
    assert [one["dead_enemies"] for one in ends] == over[:, 3].tolist()
    limit = environment.specification.episode_limit
    assert limit is not None
    lengths = np.diff(np.flatnonzero(alone["over"][:, 0]), prepend=-1)
    assert all(one["cut"] <= float(length == limit) for one, length in zip(ends, lengths, strict=True))


def test_fix_obs_agrees_with_what_the_units_say(packages: Faults, make: Make) -> None:
    """With it, who is within sight is seen, and nothing else; without it, smacv2 loses some of these."""
    seen, known = [], []
    for fix in (True, False):
        environment = make("terran_10_vs_10", fix_obs=fix, extended_partial_observability=False)
        step = environment.reset(keys())
        names = environment.specification.features
        columns = [names.index(f"enemy_{enemy}.health") for enemy in range(10)]
        both = []
        for _ in range(60):
            step = environment.step(chosen(step))
            if step.any_ended:
                break
            both.append((step.observation[0, :, columns] > 0, within_sight(step, environment)))
        seen.append(torch.stack([one for one, _ in both]))
        known.append(torch.stack([one for _, one in both]))
    assert torch.equal(seen[0], known[0])
    assert torch.equal(known[0], known[1])
    lost = (known[1] & ~seen[1]).sum() / known[1].sum()
    assert not (seen[1] & ~known[1]).any()
    assert 0.01 < lost < 0.9


def within_sight(step: Step, environment: Sc2) -> torch.Tensor:
    """bool [agent, enemy] from the state: places, types and health of all."""
    agents, enemies, types = 10, 10, 3
    state = step.state[0]
    ally = state[: agents * 7].view(agents, 7)
    enemy = state[agents * 7 : agents * 7 + enemies * 6].view(enemies, 6)
    sight = ally[:, 4:] @ torch.tensor([9.0, 10.0, 11.0])
    apart = 32 * (ally[:, None, 2:4] - enemy[None, :, 1:3]).norm(dim=2)
    assert types == ally.shape[1] - 4
    return (apart < sight[:, None]) & (ally[:, :1] > 0) & (enemy[:, 0] > 0)


def test_a_crash_in_the_middle_of_a_step(packages: Faults, make: Make) -> None:
    folder = packages([{"crash": 60}])
    environment = make("terran_5_vs_5")
    step = environment.reset(keys())
    scale = float(environment._shared["kept"])
    lost = 0
    for _ in range(400):
        step = environment.step(chosen(step))
        if step.any_ended:
            assert step.dropped is not None
            lost += int(step.dropped.sum())
            if step.completed.any():
                break
    assert lost == 1
    assert step.metrics["lost_games"].item() == 1
    assert starts(folder) == 2
    assert float(environment._shared["kept"]) == scale


@pytest.mark.parametrize("scenario", ["zerg_5_vs_5", "3m"])
def test_faults_at_the_start(packages: Faults, make: Make, scenario: str) -> None:
    folder = packages([{"exit": 3}, {"spawn": False}, {"slow": 3}])
    environment = make(scenario, patience=30.0)
    step = environment.reset(keys())
    assert starts(folder) == 3
    assert (step.observation != 0).any()


def test_a_game_that_goes_silent_is_replaced(packages: Faults, make: Make) -> None:
    folder = packages([{"hang": 30}])
    environment = make("3m", patience=20.0)
    step = environment.reset(keys())
    while not step.any_ended:
        step = environment.step(chosen(step))
    assert step.dropped is not None
    assert step.dropped.all()
    assert starts(folder) == 2


def test_a_binary_that_leaves_at_once_is_told_soon(packages: Faults, make: Make) -> None:
    packages([{"exit": 7}] * 3)
    # Where the machine is so busy that leaving takes it half a second, pysc2 is the one who notices.
    with pytest.raises(SimulatorFailure, match=r"left at once with exit code 7|Failed to connect to the SC2"):
        make("3m").reset(keys())


def test_a_map_that_disappears_is_told(packages: Faults, make: Make, game: Path) -> None:
    environment = make("3m")
    (game / "Maps" / "SMAC_Maps" / "3m.SC2Map").unlink()
    with pytest.raises(SimulatorFailure, match=r"3m\.SC2Map not found"):
        environment.reset(keys())


def test_games_end_with_their_environment(packages: Faults, make: Make) -> None:
    environment = make("3m", rows=2)
    environment.reset(keys(2))
    workers = [psutil.Process(process) for process in environment.workers.process_ids]
    games = [child for worker in workers for child in worker.children(recursive=True)]
    assert len(games) == 2
    # One worker is killed: its game dies with it, without a word.
    workers[0].kill()
    psutil.wait_procs(games[:1], timeout=10)
    environment.close()
    _, alive = psutil.wait_procs([*workers, *games], timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_doctor_begins_a_battle_of_each_package(packages: Faults) -> None:
    told = {one.name: one for one in check()}
    assert {one.status for one in told.values()} == {Status.OK}
    assert {"battle (smacv2)", "battle (smac)"} <= set(told)


@pytest.mark.slow
@pytest.mark.parametrize("quarter", range(4))
def test_a_hundred_faults(packages: Faults, make: Make, quarter: int) -> None:
    """Crashes, silence, refusals and missing units, one after the other: no row is lost, and no crash is a loss."""
    kinds: list[dict[str, Any]] = [{"crash": 45}, {"crash": 300}, {"exit": 1}, {"crash": 8}, {"crash": 420}]
    suffered = [kinds[(number + quarter) % len(kinds)] for number in range(25)]
    suffered[quarter + 9] = [{"spawn": False}, {"hang": 50}, {"slow": 2, "crash": 90}, {"hang": 3}][quarter]
    folder = packages(suffered)
    environment = make("3m", patience=40.0)
    step = environment.reset(keys())
    episodes, lost = 0, 0.0
    while starts(folder) <= len(suffered) or not step.completed.any():
        step = environment.step(chosen(step))
        if step.completed.any():
            episodes += 1
            lost += step.metrics["lost_games"].item()
        elif step.any_ended:
            assert not step.terminated.any()
    assert episodes >= 5
    assert lost == len(suffered)
