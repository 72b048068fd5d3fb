"""Every method on a GPU: it trains, it goes on from a saved state, and it begins as it does on a CPU."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from marlbench.training.trainer import Trainer

from .cells import make_cells

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
Q: dict[str, Any] = {"learning_starts": 64, "update_interval": 16, "batch": 16, "replay_steps": 400}
PPO: dict[str, Any] = {"rollout_length": 16}
RECURRENT: dict[str, Any] = {"recurrent_units": 8, "hidden": [8], "sequence_length": 8}
CASES = {
    "iql": ("simple_spread", "iql", Q),
    "vdn": ("simple_spread", "vdn", Q),
    "qmix": ("simple_spread", "qmix", Q),
    "qplex": ("simple_spread", "qplex", Q),
    "qmix recurrent": ("recall", "qmix", Q | RECURRENT),
    "qmix prioritised": ("masked_choice", "qmix", Q | {"prioritised": True, "n_step": 2}),
    "ippo": ("simple_spread", "ippo", PPO),
    "mappo": ("masked_choice", "mappo", PPO),
    "mappo recurrent": ("recall", "mappo", PPO | RECURRENT),
    "mappo continuous": ("point_pursuit", "mappo", PPO),
    "a2c": ("simple_spread", "a2c", PPO),
    "maddpg": ("point_pursuit", "maddpg", Q),
    "masac": ("point_pursuit", "masac", Q),
    "masac discrete": ("masked_choice", "masac", Q),
    "iplan": ("navigation", "iplan", PPO | {"update_episodes": None, "inference_interval": 16, "history": 3}),
}


def trained(case: str, folder: Path, device: torch.device, steps: int) -> Trainer:
    environment, method, hyperparameters = CASES[case]
    cells = make_cells(method, environment, (0, 1), 2_000, hyperparameters=hyperparameters)
    trainer = Trainer(cells, folder, device)
    for _ in range(steps):
        advance(trainer)
    return trainer


def advance(trainer: Trainer) -> None:
    trainer.advance()
    if trainer.must_checkpoint:
        trainer.state_dict()
        trainer.checkpoint_done()


def saved(trainer: Trainer) -> Any:
    buffer = io.BytesIO()
    torch.save(trainer.state_dict(), buffer)
    trainer.checkpoint_done()
    buffer.seek(0)
    return torch.load(buffer, map_location="cpu", weights_only=True)


@pytest.mark.parametrize("case", CASES)
def test_a_method_goes_on_from_a_saved_state(case: str, tmp_path: Path) -> None:
    whole = trained(case, tmp_path / "whole", CUDA, 120)
    state = saved(whole)
    resumed = trained(case, tmp_path / "whole", CUDA, 0)
    resumed.load_state_dict(state)
    while not resumed.finished:
        advance(resumed)
    again = trained(case, tmp_path / "again", CUDA, 0)
    while not again.finished:
        advance(again)
    for member in range(2):
        found, expected = resumed.outcome(member), again.outcome(member)
        assert found["status"] == expected["status"] == "completed"
        assert found["steps"] == expected["steps"]
    torch.testing.assert_close(
        resumed.algorithm.policy.parameters(), again.algorithm.policy.parameters(), rtol=0.05, atol=0.05
    )


@pytest.mark.parametrize("case", CASES)
def test_a_method_begins_on_a_gpu_as_on_a_cpu(case: str, tmp_path: Path) -> None:
    here = trained(case, tmp_path / "cpu", CPU, 24)
    there = trained(case, tmp_path / "cuda", CUDA, 24)
    assert torch.equal(here.view.ended, there.view.ended.cpu())
    torch.testing.assert_close(
        here.algorithm.policy.parameters(), there.algorithm.policy.parameters().cpu(), rtol=1e-3, atol=1e-4
    )
    for name in ("observation", "state", "reward"):
        torch.testing.assert_close(
            getattr(here.view, name), getattr(there.view, name).cpu(), rtol=1e-3, atol=1e-4
        )
