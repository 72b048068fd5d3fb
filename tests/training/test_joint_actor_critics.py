"""MADDPG and MASAC in training: exact resume, members apart, legal actions, and what is known of small tasks."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marlbench import plugins
from marlbench.algorithms.maddpg import MADDPG
from marlbench.training.trainer import Trainer

from . import linear_quadratic
from .cells import make_cells
from .resuming import CPU, check_resumes_exactly, finish

METHODS = ["maddpg", "masac"]
SMALL = {"hidden": (8,), "batch": 8, "learning_starts": 40, "update_interval": 16, "replay_steps": 200}
RECURRENT = {"recurrent_units": 4, "sequence_length": 5, "burn_in": 2}
# Settings for tasks that are learnt in minutes.
QUICK = {
    "hidden": (32, 32),
    "update_interval": 16,
    "learning_starts": 500,
    "discount": 0.9,
    "actor_learning_rate": 2e-3,
    "critic_learning_rate": 3e-3,
    "target_rate": 0.02,
}
COOL: dict[str, dict[str, Any]] = {"maddpg": {}, "masac": {"temperature": 0.1}}
LINEAR_QUADRATIC: dict[str, dict[str, Any]] = {
    "maddpg": {"exploration_start": 0.3, "exploration_end": 0.1},
    "masac": {"temperature": 0.1},
}


@pytest.fixture(autouse=True)
def _linear_quadratic(monkeypatch: pytest.MonkeyPatch) -> None:
    known, target = plugins.plugins, f"{linear_quadratic.__name__}:LinearQuadratic"
    entry = EntryPoint("linear_quadratic", target, "marlbench.environments")
    plugin = plugins.Plugin("environments", entry.name, target, "tests", entry)

    def with_it(group: str) -> dict[str, plugins.Plugin]:
        return known(group) | ({entry.name: plugin} if group == "environments" else {})

    monkeypatch.setattr(plugins, "plugins", with_it)


@pytest.mark.parametrize(
    ("algorithm", "environment", "hyperparameters"),
    [
        ("maddpg", "point_pursuit", {"twin_critics": True, "target_noise": 0.2, "actor_interval": 2}),
        ("maddpg", "ragged", {**RECURRENT, "sharing": {"groups": 2}}),
        ("maddpg", "turns", {"sharing": "independent", "team_reward": "mean"}),
        ("masac", "point_pursuit", {**RECURRENT, "critic_input": "observations"}),
        ("masac", "ragged", {"sharing": "independent", "replay_dtype": "float16"}),
        ("masac", "turns", {**RECURRENT, "agent_identity": True}),
    ],
)
def test_resumed_anywhere_it_ends_bit_for_bit_the_same(
    algorithm: str, environment: str, hyperparameters: dict[str, Any], tmp_path: Path
) -> None:
    given = {**SMALL, **hyperparameters}
    cells = make_cells(algorithm, environment, seeds=(3, 8), steps=400, hyperparameters=given)
    check_resumes_exactly(cells, tmp_path)


@pytest.mark.parametrize("hyperparameters", [SMALL, {**SMALL, **RECURRENT}], ids=["memoryless", "recurrent"])
@pytest.mark.parametrize("algorithm", METHODS)
def test_a_members_training_depends_on_its_seed_alone(
    algorithm: str, hyperparameters: dict[str, Any], tmp_path: Path
) -> None:
    def trained(seeds: tuple[int, ...], directory: str) -> Trainer:
        cells = make_cells(
            algorithm, "point_pursuit", seeds=seeds, steps=200, hyperparameters=hyperparameters
        )
        trainer = Trainer(cells, tmp_path / directory, CPU)
        finish(trainer)
        return trainer

    together, alone = trained((4, 5, 6), "together"), trained((5,), "alone")
    torch.testing.assert_close(together.findings.last[1], alone.findings.last[0], atol=1e-4, rtol=1e-3)
    assert not torch.equal(together.findings.last[0], together.findings.last[1])


@pytest.mark.parametrize("sharing", ["shared", "independent", {"groups": 2}])
def test_unrolled_actors_say_what_they_said_when_they_acted(sharing: Any, tmp_path: Path) -> None:
    """Over ends of episodes and from the middle of them: memory is stored, carried along and emptied as in play."""
    given = {
        **SMALL,
        "recurrent_units": 4,
        "sequence_length": 8,
        "sharing": sharing,
        "learning_starts": 9_999,
    }
    given |= {"exploration_start": 0.0, "exploration_end": 0.0, "agent_identity": True}
    parameters = {"agents": 3, "length": 5}
    cells = make_cells("maddpg", "point_pursuit", (0, 1), 200, hyperparameters=given, parameters=parameters)
    trainer = Trainer(cells, tmp_path, CPU)
    finish(trainer)
    method = trainer.algorithm
    assert isinstance(method, MADDPG)
    batch = method.batches.sample(method.generators, 32)
    assert batch.weight is not None
    said = torch.tanh(method.actor_outputs(method.parameters_of("actor"), batch, following=False))
    taken = batch.weight > 0.0
    torch.testing.assert_close(said[taken], batch.action[taken], atol=1e-5, rtol=1e-4)
    assert 0.7 < taken.float().mean() < 0.95


@pytest.mark.parametrize(
    ("steps", "regret"), [(1_600, 0.25), pytest.param(10_000, 0.02, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("algorithm", METHODS)
def test_only_available_actions_are_taken_and_the_best_are_learnt(
    algorithm: str, steps: int, regret: float, tmp_path: Path
) -> None:
    """A random player's regret is about a third."""
    given = {**QUICK, "hidden": (16,), "learning_starts": 200}
    cells = make_cells(algorithm, "masked_choice", seeds=(0, 1), steps=steps, rows=16, hyperparameters=given)
    trainer = Trainer(cells, tmp_path, CPU)
    finish(trainer)
    for member in range(2):
        final = trainer.outcome(member)["final"]
        assert final["illegal_rate"] == 0.0
        assert final["regret"] < regret


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", METHODS)
def test_agents_that_act_in_turn_are_paid_for_their_own_decisions(algorithm: str, tmp_path: Path) -> None:
    """Each of two agents earns 4 by choosing action 1 at its own decisions, paid one step late."""
    # What is owed for the last decision stands in the observations, not in the state.
    given = {**QUICK, "hidden": (16,), "learning_starts": 200, "critic_input": "observations"}
    cells = make_cells(algorithm, "turns", seeds=(0, 1), steps=4_000, rows=8, hyperparameters=given)
    trainer = Trainer(cells, tmp_path, CPU)
    finish(trainer)
    assert [trainer.outcome(member)["final"]["return_mean"] for member in range(2)] == [4.0] * 2


def test_the_estimate_of_disk_is_what_the_replay_takes(tmp_path: Path) -> None:
    (cell,) = make_cells("maddpg", "point_pursuit", hyperparameters={"replay_steps": 20_000})
    trainer = Trainer([cell], tmp_path, CPU)
    method, specification = type(trainer.algorithm), trainer.environment.specification
    options = method.Hyperparameters(**cell.hyperparameters)
    estimate = method.estimate_memory(specification, options, cell.rows, 1)
    taken = sum(file.stat().st_size for file in (tmp_path / "replay").iterdir())
    assert taken <= estimate.disk <= 1.5 * taken
    assert estimate.resident > 0


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", METHODS)
def test_pursuers_come_close_to_the_optimum(algorithm: str, tmp_path: Path) -> None:
    """A best return of about -2.3, at first 19 less: what is missing in the end is a small share of that."""
    given = {**QUICK, **COOL[algorithm]}
    cells = make_cells(
        algorithm, "point_pursuit", seeds=(0, 1, 2), steps=30_000, rows=16, hyperparameters=given
    )
    trainer = Trainer(cells, tmp_path, CPU)
    finish(trainer)
    for member in range(3):
        assert trainer.outcome(member)["final"]["shortfall"] < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("agents", [1, 2])
@pytest.mark.parametrize("algorithm", METHODS)
def test_linear_systems_are_steered_with_the_riccati_gain(
    algorithm: str, agents: int, tmp_path: Path
) -> None:
    discount = 0.7
    given = {**QUICK, "update_interval": 8, "actor_learning_rate": 1e-3, "target_rate": 0.05}
    given |= {"discount": discount, **LINEAR_QUADRATIC[algorithm]}
    cells = make_cells(
        algorithm,
        "linear_quadratic",
        seeds=(0, 1, 2),
        steps=24_000,
        rows=16,
        hyperparameters=given,
        parameters={"agents": agents},
    )
    trainer = Trainer(cells, tmp_path, CPU)
    finish(trainer)
    gain = linear_quadratic.optimal_gain(agents, discount)
    starts = torch.rand(64, 2, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    best = linear_quadratic.cost(starts, lambda state: -state @ torch.from_numpy(gain.T).float(), discount)
    idle = linear_quadratic.cost(starts, lambda state: torch.zeros(len(state), agents), discount)
    for member in range(3):

        def act(state: torch.Tensor, member: int = member) -> torch.Tensor:
            trainer.view.observation = state.unsqueeze(1).repeat(3, agents, 1)
            action, _ = trainer.algorithm.policy.act(trainer.view, None, torch.zeros(0), "greedy")
            return action.view(3, len(state), agents)[member]

        # Three quarters of what the best policy saves are saved.
        assert linear_quadratic.cost(starts, act, discount) < best + 0.25 * (idle - best)
        features = np.c_[0.5 * starts.numpy(), np.ones(64)]
        fitted = np.linalg.lstsq(features, act(0.5 * starts).numpy(), rcond=None)[0]
        np.testing.assert_allclose(-fitted[:2].T, gain, atol=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", METHODS)
def test_memory_solves_recall(algorithm: str, tmp_path: Path) -> None:
    given = {**QUICK, "hidden": (32,), "batch": 32, "recurrent_units": 16, "sequence_length": 10}
    cells = make_cells(algorithm, "recall", seeds=(0, 1, 2), steps=20_000, rows=16, hyperparameters=given)
    trainer = Trainer(cells, tmp_path, CPU)
    finish(trainer)
    assert [trainer.outcome(member)["final"]["success_rate"] for member in range(3)] == [1.0] * 3


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", METHODS)
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param({"game": "penalty", "penalty": 0.0}, {250.0}, id="penalty_0"),
        # Centralised critics alone do not make agents dare: the safe action pays 2 a round, an equilibrium 10.
        pytest.param({"game": "penalty", "penalty": -100.0}, {50.0, 250.0}, id="penalty_100"),
        # 5, 7 and 11 a round are the safe corner and the two equilibria.
        pytest.param({"game": "climbing"}, {125.0, 175.0, 275.0}, id="climbing"),
        pytest.param({"game": "prisoners_dilemma", "co_player": "tit_for_tat"}, {100.0}, id="tit_for_tat"),
    ],
)
def test_matrix_games_end_at_plausible_levels(
    algorithm: str, parameters: dict[str, Any], expected: set[float], tmp_path: Path
) -> None:
    given = {**QUICK, "hidden": (16,), "discount": 0.99}
    cells = make_cells(
        algorithm,
        "matrix_game",
        seeds=(0, 1, 2),
        steps=16_000,
        rows=16,
        hyperparameters=given,
        parameters=parameters,
    )
    trainer = Trainer(cells, tmp_path, CPU)
    finish(trainer)
    returns = {round(trainer.outcome(member)["final"]["return_mean"], 3) for member in range(3)}
    assert returns <= expected
