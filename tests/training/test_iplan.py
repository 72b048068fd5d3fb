"""iPLAN in training: exact resume with every ablation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .cells import make_cells
from .resuming import check_resumes_exactly

SMALL: dict[str, Any] = {
    "hidden": (8,),
    "recurrent_units": 6,
    "rollout_length": 16,
    "update_episodes": None,
    "inference_interval": 16,
    "inference_warm_up": 70,
    "history": 3,
    "predicted_steps": 2,
    "instant_batch": 7,
    "encoder_units": 5,
    "decoder_units": 6,
    "behaviour_latent": 3,
    "attention_units": 4,
    "instant_latent": 5,
    "epochs": 2,
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "iplan": {},
    "iplan_hard": {"behaviour": "hard"},
    "ippo_bm": {"instant": False},
    "ippo_gat": {"behaviour": "none"},
    "ippo": {"behaviour": "none", "instant": False},
    "shared": {"sharing": "shared", "agent_identity": True, "sequence_length": 4},
}


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_resumed_anywhere_it_ends_bit_for_bit_the_same(ablation: str, tmp_path: Path) -> None:
    hyperparameters = {**SMALL, **ABLATIONS[ablation]}
    parameters = {"episode_length": 7, "walker": ablation == "iplan"}
    protocol = {
        "kind": "episodic",
        "policy": "greedy",
        "evaluations": 2,
        "episodes": 2,
        "absolute_episodes": 3,
    }
    cells = make_cells("iplan", "navigation", (3, 8), 200, 4, hyperparameters, parameters, protocol)
    check_resumes_exactly(cells, tmp_path)
