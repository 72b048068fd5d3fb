"""What theory says of independent learners on matrix games, over several seeds each.

Best responses are found; where two learners must agree on a joint action whose neighbours are punished, both
miscoordinate (Claus and Boutilier 1998): they settle for the safe equilibrium of the climbing and the penalty game.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from marlbench.training.trainer import Trainer

from .cells import make_cells

SETTINGS = {
    "ippo": {"hidden": (16,), "rollout_length": 100, "learning_rate": 5e-3, "minibatches": 2},
    "iql": {
        "hidden": (16,),
        "learning_rate": 2e-3,
        "update_interval": 16,
        "replay_steps": 10_000,
        "target_rate": 0.02,
    },
}
DILEMMA = {"game": "prisoners_dilemma"}


@pytest.mark.parametrize("algorithm", ["ippo", "iql"])
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        # Cooperation for ever pays 1 a round; every defection costs more than it brings.
        pytest.param({**DILEMMA, "co_player": "tit_for_tat"}, {100.0}, id="tit_for_tat"),
        pytest.param(
            {**DILEMMA, "co_player": "constant", "co_player_action": 0}, {200.0}, id="always_cooperate"
        ),
        pytest.param({**DILEMMA, "co_player": "constant", "co_player_action": 1}, {0.0}, id="always_defect"),
        pytest.param(
            {"game": "stag_hunt", "co_player": "constant", "co_player_action": 0}, {400.0}, id="stag_hunter"
        ),
        pytest.param({"game": "penalty", "penalty": 0.0}, {250.0}, id="penalty_0"),
        # Of 250: the middle action is safe.
        pytest.param({"game": "penalty", "penalty": -25.0}, {50.0}, id="penalty_25"),
        # Of 275: the safe corner pays 5 a round, the equilibrium beside the best one 7.
        pytest.param({"game": "climbing"}, {125.0, 175.0}, id="climbing"),
    ],
)
def test_independent_learners_end_where_theory_says(
    algorithm: str, parameters: dict[str, Any], expected: set[float], tmp_path: Path
) -> None:
    cells = make_cells(
        algorithm,
        "matrix_game",
        seeds=(0, 1, 2),
        steps=20_000,
        rows=16,
        hyperparameters=SETTINGS[algorithm],
        parameters=parameters,
    )
    trainer = Trainer(cells, tmp_path, torch.device("cpu"))
    while not trainer.finished:
        trainer.advance()
        if trainer.must_checkpoint:
            trainer.state_dict()
            trainer.checkpoint_done()
    returns = {round(trainer.outcome(member)["final"]["return_mean"], 3) for member in range(3)}
    assert returns <= expected


def test_stag_hunters_settle_on_an_equilibrium(tmp_path: Path) -> None:
    """Stag and hare are both equilibria of self-play, 4 and 1 a round; a mixture of them is none."""
    cells = make_cells(
        "ippo",
        "matrix_game",
        seeds=range(6),
        steps=30_000,
        rows=16,
        hyperparameters=SETTINGS["ippo"],
        parameters={"game": "stag_hunt"},
    )
    trainer = Trainer(cells, tmp_path, torch.device("cpu"))
    while not trainer.finished:
        trainer.advance()
    returns = {trainer.outcome(member)["final"]["return_mean"] for member in range(6)}
    assert returns <= {100.0, 400.0}
    assert 400.0 in returns
