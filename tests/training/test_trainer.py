"""The training loop: exact resume, evaluation by protocol, members apart from each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from marlbench.training.trainer import Trainer

from .cells import make_cells
from .resuming import CPU, check_resumes_exactly, finish, results

SMALL_IPPO = {"rollout_length": 16, "hidden": (8,), "epochs": 2, "minibatches": 2}
SMALL_IQL = {"hidden": (8,), "batch": 8, "learning_starts": 40, "update_interval": 8, "replay_steps": 200}


@pytest.mark.parametrize(
    ("algorithm", "hyperparameters"),
    [
        ("ippo", SMALL_IPPO),
        ("ippo", {**SMALL_IPPO, "sharing": "independent", "anneal_learning_rate": True}),
        ("iql", SMALL_IQL),
        ("iql", {**SMALL_IQL, "sharing": {"groups": 2}}),
        ("random", {}),
    ],
)
@pytest.mark.parametrize("environment", ["simple_spread", "ragged", "turns"])
def test_resumed_anywhere_it_ends_bit_for_bit_the_same(
    algorithm: str, hyperparameters: dict[str, Any], environment: str, tmp_path: Path
) -> None:
    cells = make_cells(algorithm, environment, seeds=(3, 8), steps=500, hyperparameters=hyperparameters)
    check_resumes_exactly(cells, tmp_path, least=0 if algorithm == "random" else 3)


def test_evaluations_are_evenly_spaced_and_every_row_plays_one_episode(tmp_path: Path) -> None:
    cells = make_cells("random", "ragged", seeds=(0, 1), steps=400)
    trainer = Trainer(cells, tmp_path, CPU)
    records = finish(trainer)
    evaluations = [r for r in records if r.kind == "evaluation" and r.member == 0]
    assert [r.step for r in evaluations] == [136, 268, 400]
    for record in (r for r in records if r.kind in ("evaluation", "absolute")):
        assert record.episodes is not None
        count = 12 if record.kind == "absolute" else 5
        assert {len(values) for values in record.episodes.values()} == {count}
        # The return of this task is its length: no episode was cut short or counted twice.
        assert (
            record.episodes["return_mean"] == record.episodes["length"] == record.episodes["episode_length"]
        )
        assert record.episodes["return_sum"] == [2 * value for value in record.episodes["length"]]
    drawn = [tuple(r.episodes["length"]) for r in records if r.episodes is not None]
    assert len(set(drawn)) == len(drawn)


def test_lengths_of_evaluated_episodes_are_not_biased_to_short_ones(tmp_path: Path) -> None:
    protocol = {
        "kind": "episodic",
        "policy": "greedy",
        "evaluations": 1,
        "episodes": 8,
        "absolute_episodes": 1000,
    }
    trainer = Trainer(make_cells("random", "ragged", steps=4, protocol=protocol), tmp_path, CPU)
    absolute = next(r for r in finish(trainer) if r.kind == "absolute")
    # Uniform on 1..9: mean 5, standard error .082; the first to finish would average well below.
    assert abs(absolute.values["length"] - 5.0) < 0.33


def test_a_members_stream_depends_on_its_seed_alone(tmp_path: Path) -> None:
    together = Trainer(
        make_cells("ippo", "simple_spread", seeds=(4, 5, 6), steps=200, hyperparameters=SMALL_IPPO),
        tmp_path / "a",
        CPU,
    )
    alone = Trainer(
        make_cells("ippo", "simple_spread", seeds=(5,), steps=200, hyperparameters=SMALL_IPPO),
        tmp_path / "b",
        CPU,
    )
    assert torch.equal(together.algorithm.policy.parameters()[1], alone.algorithm.policy.parameters()[0])
    assert torch.equal(together.view.observation[4:8], alone.view.observation)
    together.advance()
    alone.advance()
    assert torch.equal(together.noise[:, 4:8], alone.noise)
    finish(together)
    finish(alone)
    torch.testing.assert_close(together.findings.last[1], alone.findings.last[0], atol=1e-4, rtol=1e-3)


def test_a_diverged_member_is_a_result_and_the_others_go_on(tmp_path: Path) -> None:
    cells = make_cells("ippo", "ragged", seeds=(0, 1, 2), steps=400, hyperparameters=SMALL_IPPO)
    calm = Trainer(cells, tmp_path / "calm", CPU)
    finish(calm)
    trainer = Trainer(cells, tmp_path / "hurt", CPU)
    for _ in range(40):
        trainer.advance()
    poisoned = trainer.algorithm.policy.parameters()
    poisoned[1].fill_(torch.nan)
    trainer.algorithm.policy.load_parameters(poisoned)
    records = finish(trainer)
    assert [(r.member, r.kind) for r in records if r.kind == "diverged"] == [(1, "diverged")]
    outcome = trainer.outcome(1)
    assert outcome["status"] == "diverged"
    assert outcome["steps"] < 400
    assert outcome["absolute"] == {}
    for member in (0, 2):
        assert trainer.outcome(member) == calm.outcome(member)


def test_when_all_diverge_the_job_ends_early(tmp_path: Path) -> None:
    cells = make_cells(
        "ippo", "simple_spread", steps=400, hyperparameters={**SMALL_IPPO, "learning_rate": 1e30}
    )
    trainer = Trainer(cells, tmp_path, CPU)
    finish(trainer)
    assert trainer.outcome(0)["status"] == "diverged"
    assert trainer.outcome(0)["steps"] < 400


def test_the_absolute_metric_is_the_best_evaluated_policys(tmp_path: Path) -> None:
    cells = make_cells("ippo", "simple_spread", steps=2_000, hyperparameters=SMALL_IPPO)
    trainer = Trainer(cells, tmp_path, CPU)
    seen: list[tuple[float, torch.Tensor]] = []
    while not trainer.finished:
        for record in trainer.advance():
            if record.kind == "evaluation":
                seen.append((record.values["score"], trainer.algorithm.policy.parameters()[0]))
            if record.kind == "evaluation" and len(seen) == 3:
                # From here on the policy that acts is the best one.
                seen[-1] = (seen[-1][0], trainer.findings.last[0])
    best = max(seen, key=lambda pair: pair[0])
    assert torch.equal(trainer.findings.best[0], best[1])
    assert torch.equal(trainer.findings.last[0], seen[-1][1])


def test_online_protocol_measures_the_training_itself(tmp_path: Path) -> None:
    protocol = {"kind": "online", "policy": "behaviour", "evaluations": 4, "window": 200, "warm_up": 0.5}
    cells = make_cells(
        "iql",
        "ragged",
        steps=400,
        protocol=protocol,
        hyperparameters=SMALL_IQL,
        score={"metric": "reward_mean", "low": 0.0, "high": 2.0, "source": "tests"},
    )
    trainer = Trainer(cells, tmp_path, CPU)
    records = finish(trainer)
    assert [r.step for r in records if r.kind == "evaluation"] == [100, 200, 300, 400]
    absolute = next(r for r in records if r.kind == "absolute")
    assert absolute.values["reward_mean"] == 1.0
    assert absolute.values["score"] == 0.5


def test_continuing_protocol_averages_rewards_after_the_warm_up(tmp_path: Path) -> None:
    protocol = {
        "kind": "continuing",
        "policy": "sampled",
        "evaluations": 2,
        "episodes": 3,
        "absolute_episodes": 6,
        "length": 20,
        "warm_up": 0.25,
    }
    score = {"metric": "reward_sum", "low": 0.0, "high": 2.0, "source": "tests"}
    cells = make_cells("random", "ragged", steps=40, protocol=protocol, score=score)
    absolute = next(r for r in finish(Trainer(cells, tmp_path, CPU)) if r.kind == "absolute")
    assert absolute.values["reward_sum"] == pytest.approx(2.0)
    assert absolute.episodes is not None
    assert len(absolute.episodes["reward_mean"]) == 6


def test_skipped_steps_are_learnt_from_by_both_methods(tmp_path: Path) -> None:
    """Each of two agents earns 4 by choosing action 1 at its own decisions, paid one step late."""
    score = {"metric": "return_mean", "low": 0.0, "high": 4.0, "source": "tests"}
    for algorithm, hyperparameters in (
        ("ippo", {"hidden": (16,), "rollout_length": 32, "learning_rate": 5e-3}),
        ("iql", {"hidden": (16,), "learning_rate": 5e-3, "update_interval": 8, "learning_starts": 200}),
    ):
        cells = make_cells(
            algorithm, "turns", seeds=(0, 1, 2), steps=6_000, hyperparameters=hyperparameters, score=score
        )
        trainer = Trainer(cells, tmp_path / algorithm, CPU)
        finish(trainer)
        assert [outcome["final"]["return_mean"] for outcome in results(trainer)] == [4.0] * 3
