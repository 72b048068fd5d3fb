"""Memory-1 players: known returns against each other, what is drawn and when, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from marlbench.errors import ConfigurationError
from marlbench.plugins import load
from marlbench.training.trainer import Trainer

from .cells import make_cells
from .resuming import CPU, check_resumes_exactly, finish

EPISODIC = {
    "kind": "episodic",
    "policy": "sampled",
    "evaluations": 1,
    "episodes": 64,
    "absolute_episodes": 64,
}


def play(
    algorithm: str,
    tmp_path: Path,
    hyperparameters: dict[str, Any] | None = None,
    seeds: tuple[int, ...] = (0,),
    **parameters: Any,
) -> list[dict[str, float]]:
    """What each seed found in a hundred rounds."""
    cells = make_cells(
        algorithm, "iterated_game", seeds, 100, 1, hyperparameters, parameters, protocol=EPISODIC
    )
    trainer = Trainer(cells, tmp_path, CPU)
    finish(trainer)
    return [trainer.outcome(member)["absolute"] for member in range(len(seeds))]


@pytest.mark.parametrize(
    ("player", "opponents", "total"),
    [
        ("tit_for_tat", "itself", 100.0),
        ("tit_for_tat", "always_defect", -1.0),
        ("tit_for_tat", "always_cooperate", 100.0),
        ("win_stay_lose_shift", "itself", 100.0),
        # It cooperates in every second round, and is paid -1 in each of them.
        ("win_stay_lose_shift", "always_defect", -50.0),
        ("win_stay_lose_shift", "tit_for_tat", 100.0),
        ("always_cooperate", "tit_for_tat", 100.0),
        ("always_cooperate", "always_defect", -100.0),
        ("always_defect", "tit_for_tat", 2.0),
        ("always_defect", "always_cooperate", 200.0),
        # Paid 2 when the other cooperates, in every second round.
        ("always_defect", "win_stay_lose_shift", 100.0),
        ("always_defect", "itself", 0.0),
    ],
)
def test_known_returns_of_the_prisoners_dilemma(
    player: str, opponents: str, total: float, tmp_path: Path
) -> None:
    parameters = {"opponents": "learners"}
    if opponents != "itself":
        parameters = {"opponents": "co_players", "co_player": opponents}
    assert play(player, tmp_path, **parameters)[0]["return_mean"] == pytest.approx(total)


@pytest.mark.parametrize("game", ["prisoners_dilemma", "stag_hunt", "chicken"])
@pytest.mark.parametrize(
    ("player", "probabilities"),
    [("tit_for_tat", (1, 1, 0, 1, 0)), ("win_stay_lose_shift", (1, 1, 0, 0, 1))],
)
def test_players_and_co_players_of_one_name_are_one(
    player: str, probabilities: tuple[float, ...], game: str, tmp_path: Path
) -> None:
    """Against a player of five random probabilities both are paid the same on average, whoever is the co-player."""
    rule = (0.7, 0.2, 0.9, 0.4, 0.6)
    known = {"opponents": "co_players", "agents": 1, "game": game}
    as_learner = play(
        "memory_one",
        tmp_path / "a",
        {"probabilities": probabilities},
        co_player_probabilities=rule,
        **known,
    )
    as_named = play(player, tmp_path / "b", co_player_probabilities=rule, **known)
    as_co_player = play("memory_one", tmp_path / "c", {"probabilities": rule}, co_player=player, **known)
    assert as_learner[0] == as_named[0]
    cooperates = as_named[0]["cooperation_against_co_players"]
    alone, exploited = (as_named[0][f"exploitation_{who}_co_players"] for who in ("by", "of"))
    turned = as_co_player[0]
    assert turned["exploitation_of_co_players"] == pytest.approx(alone, abs=0.03)
    assert turned["exploitation_by_co_players"] == pytest.approx(exploited, abs=0.03)
    assert 0 < cooperates < 1


def test_probabilities_are_drawn_for_every_episode_or_once_for_each_seed(tmp_path: Path) -> None:
    def policies(drawn: str, seed: int) -> list[float]:
        cells = make_cells(
            "memory_one",
            "iterated_game",
            (seed,),
            100,
            1,
            {"drawn": drawn},
            {"opponents": "co_players", "co_player": "always_defect", "agents": 1},
            protocol={**EPISODIC, "episodes": 40},
        )
        trainer = Trainer(cells, tmp_path / f"{drawn}{seed}", CPU)
        records = finish(trainer)
        episodes = next(record.episodes for record in records if record.kind == "evaluation")
        assert episodes is not None
        return episodes["cooperation_against_co_players"]

    by_episode, by_seed, other = policies("episode", 1), policies("seed", 1), policies("seed", 2)
    # After the start only p(CD) and p(DD) matter against a defector; the share of C is p(DD) / (1 - p(CD) + p(DD)).
    spread, constant = torch.tensor(by_episode).std(), torch.tensor(by_seed).std()
    assert spread > 3 * constant
    assert abs(sum(by_seed) - sum(other)) / 40 > 0.05


def test_a_training_of_drawn_players_resumes(tmp_path: Path) -> None:
    protocol = {"kind": "online", "policy": "behaviour", "evaluations": 3, "window": 60}
    cells = make_cells(
        "memory_one", "iterated_game", (1, 2), 240, 2, parameters={"rounds": 7}, protocol=protocol
    )
    check_resumes_exactly(cells, tmp_path, least=1)


def test_other_tasks_are_refused(tmp_path: Path) -> None:
    for environment in ("spatial_prisoners_dilemma", "simple_spread", "point_pursuit"):
        protocol = {"kind": "online", "policy": "behaviour", "evaluations": 1, "window": 8}
        with pytest.raises(ConfigurationError, match="begin with a one-hot of the round before"):
            Trainer(make_cells("tit_for_tat", environment, protocol=protocol), tmp_path, CPU)
    with pytest.raises(ValueError, match="lie in"):
        load("algorithms", "memory_one").Hyperparameters(probabilities=(0, 0, 0, 0, 2))
