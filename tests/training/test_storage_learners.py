"""Learners of storage placement: exact resume, members apart, rewards and labels against plain ones, learning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from marlbench.algorithms.decision_replays import DelayedReplay
from marlbench.environments.storage.parameters import StorageParameters
from marlbench.environments.storage.workloads.drawing import draw
from marlbench.errors import ConfigurationError
from marlbench.training.trainer import Trainer

from .cells import make_cells
from .resuming import CPU, check_resumes_exactly, finish

SYSTEM: dict[str, Any] = {
    "workload": "zipf",
    "requests": 90,
    "segment": 30,
    "addresses": 40,
    "warm_up": 0.0,
    "interval": 60_000.0,
    "migration_batch": 1,
    "migration_window": 5,
}
SOON = {"synchronisation_interval": 20, "learning_starts": 20, "updates": 2}
SCORE = {"metric": "latency_mean", "low": 1e4, "high": 0.0, "source": "tests"}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "sibyl": ("sibyl", {**SOON, "batch": 8, "replay_requests": 50, "exploration_start": 0.3}),
    "sibyl code": (
        "sibyl",
        {
            **SOON,
            "features": "code",
            "reward": "sibyl_code",
            "n_step": 2,
            "optimiser": "rmsprop",
            "value_low": -20.0,
            "value_high": 20.0,
            "batch": 8,
            "rows_share": True,
        },
    ),
    "harmonia": (
        "harmonia",
        {**SOON, "migration_delay": 5, "migration_batch": 8, "placement_batch": 8, "migration_replay": 30},
    ),
    "harmonia c51": (
        "harmonia",
        {**SOON, "values": "c51", "rows_share": True, "migration_delay": 5, "migration_batch": 8},
    ),
    "archivist": ("archivist", {"epoch": 20, "horizon": 6, "updates": 3, "batch": 8}),
}


def trainer(
    case: str,
    folder: Path,
    seeds: tuple[int, ...] = (3, 8),
    steps: int = 480,
    rows: int = 2,
    **parameters: Any,
) -> Trainer:
    return Trainer(cells(case, seeds, steps, rows, **parameters), folder, CPU)


def cells(case: str, seeds: tuple[int, ...], steps: int, rows: int, **parameters: Any) -> list[Any]:
    method, hyperparameters = SMALL[case]
    return make_cells(
        method,
        "storage_placement",
        seeds=seeds,
        steps=steps,
        rows=rows,
        hyperparameters=hyperparameters,
        parameters={**SYSTEM, **parameters},
        protocol={
            "kind": "online",
            "policy": "behaviour",
            "evaluations": 3,
            "window": steps,
            "warm_up": 0.5,
        },
        score=SCORE,
    )


@pytest.mark.parametrize("case", SMALL)
def test_resumed_anywhere_it_ends_bit_for_bit_the_same(case: str, tmp_path: Path) -> None:
    check_resumes_exactly(cells(case, (3, 8), 480, 2), tmp_path, least=2)


@pytest.mark.parametrize("case", SMALL)
def test_a_member_learns_the_same_whoever_trains_beside_it(case: str, tmp_path: Path) -> None:
    last = []
    for seeds in ((5,), (4, 5, 6)):
        trained = trainer(case, tmp_path / str(len(seeds)), seeds)
        first = trained.findings.last[seeds.index(5)].clone()
        finish(trained)
        last.append(trained.findings.last[seeds.index(5)])
        assert not torch.allclose(first, last[-1])
    torch.testing.assert_close(last[0], last[1], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("reward", ["sibyl", "sibyl_code", "harmonia"])
def test_a_methods_own_reward_is_what_the_task_would_pay(reward: str, tmp_path: Path) -> None:
    made = make_cells(
        "sibyl",
        "storage_placement",
        steps=160,
        rows=2,
        hyperparameters={"reward": reward, "exploration_start": 0.5, "exploration_end": 0.5},
        parameters={**SYSTEM, "reward": reward, "addresses": 30},
        protocol={"kind": "online", "policy": "behaviour", "evaluations": 1, "window": 160},
        score=SCORE,
    )
    trained = Trainer(made, tmp_path, CPU)
    learner: Any = trained.algorithm
    paid = []
    while not trained.finished:
        trained.advance()
        paid.append(trained.view.reward[:, 0].clone())
    replay = learner.placed
    kept = replay.reward.of(replay.steps.values["outcome"][:, : len(paid), 0, 0])
    expected = torch.stack(paid, 1)
    assert len(expected.unique()) > 3
    torch.testing.assert_close(kept, expected, rtol=1e-4, atol=1e-6)


class PlainReplay:
    """What a delayed replay has to know, in lists of one row."""

    def __init__(self, delay: int) -> None:
        self.delay, self.time = delay, 0
        self.open: list[dict[str, Any]] = []
        self.known: list[dict[str, Any]] = []

    def add(self, observation: float, action: int, acting: bool, reward: float, terminated: bool) -> None:
        if acting:
            for one in self.open:
                one.setdefault("following", observation)
            self.open.append({"observation": observation, "action": action, "time": self.time})
        for one in self.open:
            if not terminated and self.time == one["time"] + self.delay - 1:
                one["reward"] = reward
        if terminated:
            for one in self.open:
                if "reward" in one and "following" not in one:
                    one.update(following=0.0, over=True)
        self.known += [one for one in self.open if "reward" in one and "following" in one]
        self.open = (
            [] if terminated else [one for one in self.open if not ("reward" in one and "following" in one)]
        )
        self.time += 1


@pytest.mark.parametrize(("delay", "share"), [(1, 1.0), (4, 0.4), (7, 0.9)])
def test_delayed_decisions_are_paid_and_followed_as_in_plain_lists(delay: int, share: float) -> None:
    rows, kept = 3, 12
    replay = DelayedReplay(rows, 1, kept, 1, 0.5, delay, CPU)
    plain = [PlainReplay(delay) for _ in range(rows)]
    generator = torch.Generator().manual_seed(delay)
    uniform = torch.arange(0.0, 1.0, 1 / 60).expand(rows, -1)
    compared = 0
    for step in range(160):
        observation = torch.rand(rows, 1, generator=generator)
        action = torch.randint(0, 3, (rows,), generator=generator)
        acting = torch.rand(rows, generator=generator) < share
        reward = torch.rand(rows, generator=generator)
        terminated = torch.rand(rows, generator=generator) < 0.04
        replay.add(observation, action, acting, reward, terminated)
        for row in range(rows):
            values = (observation[row, 0], action[row], acting[row], reward[row], terminated[row])
            plain[row].add(*(value.item() for value in values))
        if step % 7 == 0:
            lesson, ready = replay.draw(uniform)
            for row in range(rows):
                expected = {
                    (
                        one["observation"],
                        one["action"],
                        one["reward"],
                        one["following"],
                        one.get("over", False),
                    )
                    for one in plain[row].known[-kept:]
                }
                assert bool(ready[row]) == bool(expected)
                if not expected:
                    continue
                found = set(
                    zip(
                        lesson.observation[row, :, 0].tolist(),
                        lesson.action[row].tolist(),
                        lesson.reward[row].tolist(),
                        lesson.following[row, :, 0].tolist(),
                        (lesson.discount[row] == 0).tolist(),
                        strict=True,
                    )
                )
                assert found <= expected
                # Those that are still open count among the `kept`, so a few of the oldest may be missing.
                assert len(found) >= len(expected) - delay - 1
                compared += len(found)
    assert compared > 50


def test_labels_tell_which_pages_came_back(tmp_path: Path) -> None:
    trained = trainer("archivist", tmp_path, seeds=(3,), rows=1, segment=None, requests=90)
    learner: Any = trained.algorithm
    workload = draw(StorageParameters(**{**SYSTEM, "segment": None}), 0)
    assert len(workload) == 90
    asked = []
    while trained.steps < 40:
        environment: Any = trained.environment
        asked.append(int(environment.systems.workloads[0].requests[trained.steps, 0]))
        trained.advance()
    expected = [
        any(later == page for later in asked[number + 1 : number + 7]) for number, page in enumerate(asked)
    ]
    # The ring holds the last twenty; labels of the newest six are still open.
    assert learner.hot[0, :14].tolist() == expected[20:34]
    assert 0 < sum(expected) < 40


EASY: dict[str, Any] = {
    "configuration": "hl",
    "workload": "uniform",
    "requests": 4_000,
    "segment": 500,
    "addresses": 200,
    "write_share": 1.0,
    "fast_share": 1.0,
    "warm_up": 0.0,
    "interval": 40_000.0,
}


@pytest.mark.parametrize("method", ["sibyl", "harmonia"])
def test_learns_to_use_the_fast_device_where_everything_fits(method: str, tmp_path: Path) -> None:
    rates = {"learning_rate": 3e-3} if method == "sibyl" else {"placement_learning_rate": 1e-2}
    soon = {"synchronisation_interval": 200, "learning_starts": 200, "updates": 10, "exploration_start": 0.05}
    made = make_cells(
        method,
        "storage_placement",
        seeds=(0, 1, 2, 3),
        steps=4_000,
        rows=1,
        hyperparameters={**rates, **soon, "exploration_end": 0.05},
        parameters=EASY,
        protocol={"kind": "online", "policy": "behaviour", "evaluations": 2, "window": 4_000, "warm_up": 0.5},
        score=SCORE,
    )
    trained = Trainer(made, tmp_path, CPU)
    finish(trained)
    for member in range(4):
        final = trained.outcome(member)["absolute"]
        # Always slow is 13.7 ms a write, always fast 10 microseconds; one in forty explores the disk.
        assert final["fast_share"] > 0.9, final
        assert final["latency_mean"] < 2_000.0


def test_other_tasks_are_refused(tmp_path: Path) -> None:
    for method in ("sibyl", "harmonia", "archivist"):
        with pytest.raises(ConfigurationError, match="storage placement"):
            Trainer(make_cells(method, "matrix_game:stag_hunt"), tmp_path, CPU)
    with pytest.raises(ConfigurationError, match="no player 'nobody'"):
        Trainer(
            make_cells("sibyl", "storage_placement", hyperparameters={"migration": "nobody"}), tmp_path, CPU
        )
    with pytest.raises(ConfigurationError, match="horizon"):
        Trainer(
            make_cells("archivist", "storage_placement", hyperparameters={"horizon": 2_000}), tmp_path, CPU
        )


def test_migration_is_paid_when_harmonia_expects_it(tmp_path: Path) -> None:
    trainer("harmonia", tmp_path)
    with pytest.raises(ConfigurationError, match=r"5 requests after a decision .* after 9") as caught:
        trainer("harmonia", tmp_path, migration_window=9)
    assert "`migration_delay: 9`" in str(caught.value.hint)


def test_a_described_policy_comes_back(tmp_path: Path) -> None:
    for case in SMALL:
        policy = trainer(case, tmp_path).algorithm.policy
        parameters = policy.parameters()
        for member in range(2):
            back = policy.parameters_of(policy.describe(parameters[member]))
            assert torch.equal(back, parameters[member])
        assert math.isfinite(float(parameters.sum()))


def test_costs_are_told_of_one_system_and_are_no_part_of_the_outcome(tmp_path: Path) -> None:
    few, many = trainer("sibyl", tmp_path, rows=2), trainer("sibyl", tmp_path, rows=6)
    ticks = iter(range(1_000))
    costs = few.agent_costs(lambda: next(ticks) * 1e-6)
    # A tick lies between two looks at the clock, and four rows decide in it.
    assert costs["decision_microseconds"] == pytest.approx(0.25)
    assert costs["agent_bytes"] == many.agent_costs(lambda: 0.0)["agent_bytes"]
    # Five copies of 6 x 20, 20 x 30 and 30 x (2 x 51) weights with biases, and 50 requests.
    assert costs["agent_bytes"] == 5 * 4 * (140 + 630 + 31 * 102) + 50 * (4 * (6 + 6 + 3) + 2)
    before = few.algorithm.policy.parameters().clone()
    few.agent_costs(lambda: 0.0)
    assert torch.equal(few.algorithm.policy.parameters(), before)
