"""Calibration of synthetic workloads, and what is known of the built-in players on them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from marlbench.algorithms.built_in import built_in_actions
from marlbench.environments.keys import row_keys
from marlbench.environments.storage.environment import StoragePlacement
from marlbench.environments.storage.parameters import MIGRATIONS, PLACEMENTS, StorageParameters
from marlbench.environments.storage.simulation import simulate
from marlbench.environments.storage.workloads import synthetic
from marlbench.environments.storage.workloads.names import CALIBRATED, WORKLOADS, title
from marlbench.errors import MarlbenchError


@pytest.mark.parametrize("name", sorted(CALIBRATED))
def test_calibration(name: str) -> None:
    """Unique addresses and accesses of each are met exactly, mean size within 2 %, write share within 0.02."""
    workload = synthetic.calibrated(name, None, 100.0, np.random.default_rng(7))
    published, found = CALIBRATED[name], workload.characteristics()
    assert found["addresses"] == published.addresses
    assert found["accesses"] == pytest.approx(published.accesses, rel=1e-3)
    assert found["kibibytes"] == pytest.approx(published.kibibytes, rel=0.02)
    assert found["write_share"] == pytest.approx(published.write_share, abs=0.02)
    assert workload.arrivals[-1] / len(workload) == pytest.approx(100.0, rel=0.15)
    assert workload.pages == synthetic.calibrated_pages(name) == workload.working_set


def test_calibrated_workloads_never_go_by_the_name_of_a_trace() -> None:
    for name in CALIBRATED:
        assert name not in WORKLOADS
        assert title(f"calibrated_{name}") == f"synthetic, calibrated to {name}"


def test_patterns() -> None:
    """`sequential` goes round, `phases` changes what is hot, `zipf` does not."""
    random = np.random.default_rng(0)
    made = {
        n: synthetic.pattern(n, 8_000, 50, 0.25, 1.2, 10.0, random) for n in ("sequential", "zipf", "phases")
    }
    assert made["sequential"].requests[:60, 0].tolist() == [*range(50), *range(10)]
    hottest = {
        name: {int(np.bincount(part).argmax()) for part in np.split(made[name].requests[:, 0], 4)}
        for name in ("zipf", "phases")
    }
    assert len(hottest["zipf"]) == 1
    assert len(hottest["phases"]) > 1
    assert made["zipf"].requests[:, 2].mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("placement", "migration"), list(itertools.zip_longest(PLACEMENTS, MIGRATIONS, fillvalue="none"))
)
def test_simulate_and_step_agree_to_the_bit(placement: str, migration: str) -> None:
    """A player inside the kernel, and the algorithm `built_in` that asks for it at every step."""
    parameters = StorageParameters(
        configuration="hml", workload="calibrated_prxy_0", requests=400, interval=5_000.0, cold_requests=50
    )
    environment = StoragePlacement(parameters, 2, torch.device("cpu"))
    environment.reset(row_keys([4], 0, 2, torch.device("cpu")))
    players = {"placement": placement, "migration": migration}
    action = built_in_actions(environment.specification, players).expand(2, -1)
    for _ in range(400):
        step = environment.step(action)
    assert bool(step.ended.all())
    expected = simulate(placement, migration=migration, parameters=parameters, rows=2, seed=4).measures
    for name, value in expected.items():
        assert step.metrics[name].tolist() == value.astype(np.float32).tolist(), name


def test_an_episode_keeps_to_its_players() -> None:
    environment = StoragePlacement(StorageParameters(), 1, torch.device("cpu"))
    environment.reset(row_keys([0], 0, 1, torch.device("cpu")))
    environment.step(torch.tensor([[0, -1]]))
    for action in ([2, -1], [-2, -1], [0, -3]):
        with pytest.raises(MarlbenchError, match="row 0 cannot take the actions"):
            environment.step(torch.tensor([action]))


def test_a_picture_of_placement_over_time() -> None:
    environment = StoragePlacement(StorageParameters(requests=30), 1, torch.device("cpu"))
    environment.reset(row_keys([0], 0, 1, torch.device("cpu")))
    first = environment.render(0)
    for _ in range(29):
        environment.step(torch.zeros(1, 2, dtype=torch.int64))
    later = environment.render(0)
    assert first.shape == later.shape == (420, 720, 3)
    assert (first != later).any()
