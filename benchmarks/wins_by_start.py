"""Win rates of a player by rule, or of a trained cell, apart by where the teams of smacv2's scenarios start.

python benchmarks/wins_by_start.py terran_5_vs_5 --player focus_fire
python benchmarks/wins_by_start.py terran_5_vs_5 --cell 44be53 --results results
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from marlbench.algorithms.base import Policy, Setting
from marlbench.environments.keys import row_keys
from marlbench.environments.smac.scenarios import WIDTH
from marlbench.environments.smac.smac import Smac, SmacParameters
from marlbench.environments.smac.units import MEDIVAC
from marlbench.plugins import load
from marlbench.policies.trained import rebuild
from marlbench.store.store import Store
from marlbench.training.evaluation import cut_memory

CPU = torch.device("cpu")
_ROWS = 128
# Of streams of keys, one that no training and no evaluation of the seeds that are used draws from.
_STREAM = 77


def starts(battles: Smac) -> dict[str, Tensor]:
    """Name -> bool [row]: which rows start so."""
    allies, shared = battles.battle.allies, min(battles.battle.allies, battles.battle.enemies)
    x = battles.memory["unit"][:, 0]
    mirrored = (x[:, allies : allies + shared] - (WIDTH - x[:, :shared])).abs().amax(1) < 1e-3
    healed = (battles.memory["kind"][:, :allies] == MEDIVAC).any(1)
    return {
        "all": torch.ones_like(mirrored),
        "reflected": mirrored,
        "reflected, no medivac": mirrored & ~healed,
        "surrounded": ~mirrored,
        "surrounded, no medivac": ~mirrored & ~healed,
    }


@torch.inference_mode()
def play(battles: Smac, policy: Policy, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """One greedy battle of each row: how it started, and whether it was won, bool [row]."""
    step = battles.reset(row_keys([seed], _STREAM, _ROWS, CPU))
    began, agents = starts(battles), battles.battle.allies
    memory = torch.zeros(_ROWS, agents, policy.memory_size) if policy.memory_size else None
    over, won = torch.zeros(_ROWS, dtype=torch.bool), torch.zeros(_ROWS, dtype=torch.bool)
    while not bool(over.all()):
        noise = policy.noise(torch.zeros(_ROWS, agents, policy.uniforms("greedy")))
        action, memory = policy.act(step, memory, noise, "greedy")
        step = battles.step(action)
        memory = cut_memory(memory, step)
        if step.any_ended:
            won |= step.ended & ~over & (step.metrics["win_rate"] > 0)
            over |= step.ended
    return began, won


def player(name: str) -> Callable[[Smac], Policy]:
    def made(battles: Smac) -> Policy:
        method = load("algorithms", name)
        setting = Setting(battles.specification, (0,), _ROWS, 1, CPU)
        policy: Policy = method(setting, method.Hyperparameters()).policy
        return policy

    return made


def cell(results: Path, prefix: str) -> Callable[[Smac], Policy]:
    store = Store.open(results)
    rebuilt = rebuild(store, store.cell(store.find(prefix)), "best", CPU)[1]
    return lambda battles: rebuilt.policy


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("scenario")
    arguments.add_argument("--enemies", default="nearest")
    arguments.add_argument("--player", default="nearest_enemy", help="name of a player by rule")
    arguments.add_argument("--cell", help="identity of a trained cell, or its beginning")
    arguments.add_argument("--results", type=Path, default=Path("results"))
    arguments.add_argument("--battles", type=int, default=2048)
    given = arguments.parse_args()
    battles = Smac(SmacParameters(scenario=given.scenario, enemies=given.enemies), _ROWS, CPU)
    policy = (cell(given.results, given.cell) if given.cell else player(given.player))(battles)
    counted: dict[str, Tensor] = {}
    for seed in range(-(-given.battles // _ROWS)):
        began, won = play(battles, policy, seed)
        for name, which in began.items():
            found = torch.stack([which.sum(), (which & won).sum()])
            counted[name] = counted.get(name, torch.zeros_like(found)) + found
    for name, (count, wins) in counted.items():
        if count:
            print(f"{name}: {int(wins) / int(count):.3f} of {int(count):,}")


if __name__ == "__main__":
    main()
