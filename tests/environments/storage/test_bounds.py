"""What holds of every player: bounds, by brute force on short traces, for two to four devices."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from marlbench.environments.storage import driver, layout
from marlbench.environments.storage.parameters import MIGRATIONS, PLACEMENTS, StorageParameters
from marlbench.environments.storage.simulation import simulate
from marlbench.environments.storage.systems import Systems
from marlbench.environments.storage.workloads.workload import Workload

CAPACITIES = [p for p in PLACEMENTS if p != "fast_only"]


def begun(parameters: StorageParameters, workload: Workload, rows: int = 1) -> Systems:
    """Systems that all serve one workload."""
    systems = Systems(parameters, rows, workload.pages, len(workload))
    for row in range(rows):
        systems.feed(row, workload)
    systems.begin(range(rows))
    return systems


def served(systems: Systems, actions: NDArray[np.int64]) -> None:
    """Requests placed as told, int64 [row, request]."""
    rows = len(actions)
    reward, (over, ended) = np.zeros((rows, 2), np.float32), np.zeros((2, rows), bool)
    for action in actions.T:
        taken = np.stack([action, np.zeros(rows, np.int64)], 1)
        own = np.array([True, False])
        refused = driver.step_rows(
            systems.row, systems.feeds, systems.rules, taken, 0, reward, over, ended, own
        )
        assert refused == -1


def short(seed: int, count: int, interval: float) -> Workload:
    """A few requests of one to three pages out of nine, with returns to some of them."""
    random = np.random.default_rng(seed)
    requests = np.empty((count, 3), np.int32)
    requests[:, 0] = random.choice([0, 3, 6], count)
    requests[:, 1] = random.integers(1, 4, count)
    requests[:, 2] = random.random(count) < 0.5
    return Workload(np.cumsum(random.exponential(interval, count)).astype(np.float64), requests, 9)


def told(configuration: str, **more: Any) -> StorageParameters:
    shares = {"fast_share": 0.4, "middle_share": 0.5, "warm_up": 0.0}
    return StorageParameters.model_validate({"configuration": configuration, **shares, **more})


def optimum(parameters: StorageParameters, workload: Workload) -> float:
    """The lowest mean latency of all sequences of placements, without migration, least recently used pages evicted."""
    devices, best = len(parameters.configuration), np.inf
    everything = np.array(list(itertools.product(range(devices), repeat=len(workload))))
    for some in np.array_split(everything, -(-len(everything) // 128)):
        systems = begun(parameters, workload, len(some))
        served(systems, some)
        best = min(best, float(systems.measures()["latency_mean"].min()))
    return best


def played(parameters: StorageParameters, workload: Workload, placement: str, migration: str) -> float:
    """The mean latency that a pair of players reaches."""
    given = parameters.model_dump() | {"placement": placement, "migration": migration}
    systems = begun(StorageParameters(**given), workload)
    driver.simulate_rows(systems.row, systems.feeds, systems.rules, len(workload), np.zeros((1, 0)))
    return float(systems.measures()["latency_mean"][0])


@pytest.mark.parametrize(("configuration", "count"), [("hl", 8), ("hml", 6), ("hmdl", 5)])
def test_no_placement_beats_fast_only_or_is_beaten_by_those_without_foresight(
    configuration: str, count: int
) -> None:
    """One request outstanding. Players that evict what was least recently used do what some sequence does."""
    parameters = told(configuration, arrivals="closed", migration="none")
    for seed in range(2):
        workload = short(seed, count, 1.0)
        fewest = optimum(parameters, workload)
        systems = begun(parameters, workload)
        assert fewest >= systems.fast_only[0] - 1e-9
        for placement in ("slow_only", "lru", "cde", "hps"):
            assert played(parameters, workload, placement, "none") >= fewest - 1e-9


@pytest.mark.parametrize("configuration", ["hl", "hml", "hmdl"])
def test_fast_only_bounds_every_player_when_one_request_is_outstanding(configuration: str) -> None:
    parameters = told(configuration, workload="phases", arrivals="closed", addresses=60)
    for placement, migration in itertools.product(PLACEMENTS, ("none", "hotness", "oracle")):
        found = simulate(placement, 200, migration=migration, parameters=parameters, seed=1)
        assert found.measures["latency_to_fast_only"][0] >= 1.0 - 1e-9


def test_five_at_once_are_done_sooner_when_one_goes_to_the_idle_device() -> None:
    """With queues, fast-only is no bound: five writes of 1 MB at once, H against M."""
    requests = np.array([[256 * number, 256, 1] for number in range(5)], np.int32)
    systems = begun(told("hm", fast_share=1.0, migration="none"), Workload(np.zeros(5), requests, 1280))
    served(systems, np.array([[0, 0, 0, 0, 1]]))
    assert systems.measures()["latency_to_fast_only"][0] < 1.0


@pytest.mark.parametrize("interval", [100.0, 20_000.0])
@pytest.mark.parametrize("configuration", ["hm", "hl", "hml"])
def test_hindsight_is_beaten_by_no_pair_of_players_and_comes_near_the_optimum(
    configuration: str, interval: float
) -> None:
    parameters, ratios = told(configuration), []
    for seed in range(3):
        workload = short(seed, 6, interval)
        found = played(parameters, workload, "hindsight", "hindsight")
        pairs = itertools.product(CAPACITIES, MIGRATIONS)
        assert found <= min(played(parameters, workload, *pair) for pair in pairs) + 1e-9
        ratios.append(found / optimum(told(configuration, migration="none"), workload))
    # It may be below: it migrates, and evicts by what comes.
    assert np.mean(ratios) < 1.3


def test_hindsight_chooses_for_one_agent_where_it_is_asked_for_one() -> None:
    parameters = told("hl", workload="zipf", addresses=100, interval=5_000.0)
    fixed = {m: simulate("cde", 300, migration=m, parameters=parameters) for m in MIGRATIONS}
    means = {name: float(found.measures["latency_mean"][0]) for name, found in fixed.items()}
    assert means["hindsight"] == min(means.values())
    places = {p: simulate(p, 300, migration="periodic", parameters=parameters) for p in CAPACITIES}
    lowest = min(float(found.measures["latency_mean"][0]) for found in places.values())
    assert float(places["hindsight"].measures["latency_mean"][0]) == lowest


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("configuration", ["hm", "hml", "hmdl"])
@pytest.mark.parametrize("seed", range(3))
def test_beladys_rule_has_the_fewest_misses(configuration: str, devices: int, seed: int) -> None:
    """Equal sizes, no migration, all to the fast device: against every sequence of evictions, by brute force.

    Where two devices evict by the rule, one after the other, their union is as one device of both capacities.
    """
    random = np.random.default_rng(seed)
    trace = random.integers(0, 6, 12).tolist()
    devices = min(devices, len(configuration) - 1)
    capacities = [2, 1, 1][: len(configuration) - 1]
    best = {frozenset[int](): 0}
    for page in trace:
        after: dict[frozenset[int], int] = {}
        for held, misses in best.items():
            if page in held:
                options = {held: misses}
            elif len(held) < sum(capacities[:devices]):
                options = {held | {page}: misses + 1}
            else:
                options = {held - {gone} | {page}: misses + 1 for gone in held}
            for key, value in options.items():
                after[key] = min(value, after.get(key, 99))
        best = after
    fewest = min(best.values())
    assert misses_of("oracle", configuration, trace, devices) == fewest
    for placement in ("lru", "lfu"):
        assert misses_of(placement, configuration, trace, devices) >= fewest


def misses_of(placement: str, configuration: str, trace: list[int], devices: int) -> int:
    """Writes that find their page on none of the fastest devices; these hold two pages, then one each."""
    distinct = len(set(trace))
    parameters = told(
        configuration,
        placement=placement,
        migration="none",
        fast_share=2.5 / distinct,
        middle_share=1.5 / distinct,
    )
    requests = np.array([[page, 1, 1] for page in trace], np.int32)
    systems = begun(parameters, Workload(1e6 * np.arange(len(trace), dtype=np.float64), requests, 6))
    misses = 0
    own, reward, (over, ended) = np.zeros(2, bool), np.zeros((1, 2), np.float32), np.zeros((2, 1), bool)
    for page in trace:
        misses += int(systems.row.pages[0, page, layout.DEVICE] >= devices)
        driver.step_rows(
            systems.row, systems.feeds, systems.rules, np.zeros((1, 2), np.int64), 0, reward, over, ended, own
        )
    return misses


def test_rows_side_by_side_do_not_reach_into_each_others_order() -> None:
    """Ten pages evicted at once to a device with room for ten that is full: its heap holds twenty for a moment."""
    parameters = told("hml", placement="oracle", migration="none", fast_share=0.251, middle_share=0.251)
    requests = np.array([[10 * (number % 4), 10, 1] for number in range(12)], np.int32)
    systems = begun(parameters, Workload(1e6 * np.arange(12, dtype=np.float64), requests, 40), rows=2)
    reward, (over, ended) = np.zeros((2, 2), np.float32), np.zeros((2, 2), bool)
    nothing, own = np.zeros((2, 2), np.int64), np.zeros(2, bool)
    for _ in range(12):
        driver.step_rows(systems.row, systems.feeds, systems.rules, nothing, 0, reward, over, ended, own)
        devices = systems.row.pages[:, :, layout.DEVICE]
        for row in range(2):
            found = np.bincount(devices[row], minlength=3).tolist()
            assert found == systems.row.state["devices"][row, :3, layout.USED].tolist()
        assert (devices[0] == devices[1]).all()
