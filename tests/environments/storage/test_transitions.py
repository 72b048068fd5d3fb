"""The compiled simulator against a slow, plain one: latencies request by request, places of all pages, conservation."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marlbench.environments.storage import driver, layout
from marlbench.environments.storage.parameters import MIGRATIONS, PLACEMENTS, StorageParameters
from marlbench.environments.storage.systems import Systems
from marlbench.environments.storage.workloads.workload import Workload


def _reference() -> Any:
    # The tests are no package, so that a neighbour is loaded from its file.
    path = Path(__file__).parent / "reference.py"
    spec = importlib.util.spec_from_file_location("storage_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.Reference


Reference = _reference()
PAGES = 24
# `hindsight` lets one of the others play; which one is tested where it is chosen.
PLACED, MOVED = (tuple(one for one in known if one != "hindsight") for known in (PLACEMENTS, MIGRATIONS))
CONFIGURATIONS = ("hm", "hl", "ml", "hml", "mdl", "hmdl")

requests_strategy = st.lists(
    st.tuples(
        st.floats(0.0, 60_000.0),
        st.integers(0, PAGES - 1),
        st.integers(1, 6),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)
parameters_strategy = st.builds(
    StorageParameters,
    configuration=st.sampled_from(CONFIGURATIONS),
    fast_share=st.sampled_from([0.05, 0.2, 0.5, 1.0]),
    middle_share=st.sampled_from([0.1, 0.4]),
    arrivals=st.sampled_from(["recorded", "closed"]),
    load=st.sampled_from([1.0, 0.5, 40.0]),
    migration_batch=st.integers(1, 4),
    migration_window=st.integers(1, 5),
    hot_count=st.integers(1, 3),
    cold_requests=st.integers(1, 9),
    warm_up=st.just(0.0),
)


def plain(drawn: list[tuple[float, int, int, bool]]) -> list[tuple[float, int, int, bool]]:
    """Gaps become times, and ranges end with the pages that there are."""
    time, made = 0.0, []
    for gap, first, count, write in drawn:
        time += gap
        made.append((time, first, min(count, PAGES - first), write))
    return made


def built(parameters: StorageParameters, requests: list[tuple[float, int, int, bool]]) -> Systems:
    workload = Workload(
        np.array([arrival for arrival, *_ in requests]),
        np.array([[first, count, write] for _, first, count, write in requests], np.int32),
        PAGES,
    )
    systems = Systems(parameters, 1, PAGES, len(requests))
    systems.feed(0, workload)
    systems.begin([0])
    return systems


def check(systems: Systems, reference: Any) -> None:
    """The same places, and what must hold of any system."""
    pages, devices = systems.row.pages[0], systems.row.state["devices"][0][: len(reference.kinds)]
    for number, page in reference.pages.items():
        assert pages[number, layout.DEVICE] == page.device
    places = np.bincount([pages[n, layout.DEVICE] for n in reference.pages], minlength=len(devices))
    assert places.tolist() == devices[:, layout.USED].tolist()
    assert devices[:, layout.USED].sum() == len(reference.pages)
    if not reference.fast_only:
        assert (devices[:, layout.USED] <= devices[:, layout.CAPACITY]).all()
    whole = systems.row.state["whole"][0]
    assert whole[layout.EVICTIONS] == reference.evicted_pages
    assert whole[layout.MIGRATIONS] == reference.moved_pages
    assert whole[layout.PROMOTIONS] == reference.promoted_pages
    moved = reference.evicted_pages + reference.moved_pages + reference.promoted_pages
    assert systems.measures()["mebibytes_moved"][0] == pytest.approx(moved * 4096 / 2**20)
    assert systems.row.state["free"][0][: len(devices)].tolist() == pytest.approx(reference.free, rel=1e-9)


@settings(max_examples=150, deadline=None)
@given(parameters_strategy, requests_strategy, st.sampled_from(PLACED), st.sampled_from(MOVED))
def test_built_in_players(
    parameters: StorageParameters, drawn: list[tuple[float, int, int, bool]], placement: str, migration: str
) -> None:
    requests = plain(drawn)
    chosen = StorageParameters(**parameters.model_dump() | {"placement": placement, "migration": migration})
    systems = built(chosen, requests)
    reference = Reference(chosen, requests, placement, migration)
    latencies = np.zeros((1, len(requests)))
    driver.simulate_rows(systems.row, systems.feeds, systems.rules, len(requests), latencies)
    expected = [reference.serve() for _ in requests]
    assert latencies[0].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-6)
    check(systems, reference)
    assert systems.measures()["latency_mean"][0] == pytest.approx(np.mean(expected), rel=1e-9)
    if placement == "fast_only":
        assert systems.measures()["latency_to_fast_only"][0] == pytest.approx(1.0)


@settings(max_examples=150, deadline=None)
@given(parameters_strategy, requests_strategy, st.integers(0, 2**31))
def test_actions_from_outside(
    parameters: StorageParameters, drawn: list[tuple[float, int, int, bool]], seed: int
) -> None:
    """After every single request, with random actions of both agents."""
    requests = plain(drawn)
    systems = built(parameters, requests)
    reference = Reference(parameters, requests, "agent", "agent")
    random = np.random.default_rng(seed)
    reward, (over, ended), own = np.zeros((1, 2), np.float32), np.zeros((2, 1), bool), np.ones(2, bool)
    latencies: list[float] = []
    decisions: dict[int, float] = {}
    for time in range(len(requests)):
        action = random.integers(0, len(parameters.configuration), (1, 2))
        asked: list[int] = []

        def decide(action: Any = action, asked: list[int] = asked) -> int:
            first, _ = reference.queue[0]
            page = reference.pages[first]
            penalty = 0.0
            if action[0, 1] != page.device and page.moved >= 0:
                unused = 1 + np.log2(1 + reference.time - page.last)
                unmoved = 1 + np.log2(1 + reference.time - page.moved)
                penalty = parameters.ping_pong / (unused * unmoved)
            asked.append(1)
            decisions[reference.time] = penalty
            return int(action[0, 1])

        acting = systems.row.state["whole"][0, layout.ACTING]
        refused = driver.step_rows(
            systems.row, systems.feeds, systems.rules, action, 0, reward, over, ended, own
        )
        assert refused == -1
        latencies.append(reference.serve(int(action[0, 0]), decide))
        assert bool(acting) == bool(asked)
        assert systems.row.state["real"][0, layout.LATENCY] == pytest.approx(
            latencies[-1], rel=1e-9, abs=1e-6
        )
        check(systems, reference)
        assert bool(over[0]) == (time == len(requests) - 1)
        assert reward[0, 1] == pytest.approx(_paid(parameters, decisions, latencies, bool(over[0])), rel=1e-4)


def _paid(
    parameters: StorageParameters, decisions: dict[int, float], latencies: list[float], over: bool
) -> float:
    """What migration is paid after these latencies: decisions whose window closes, or all open ones at the end."""
    window, done = parameters.migration_window, len(latencies)
    total = 0.0
    for made, penalty in decisions.items():
        if done - made == window or (over and done - made < window):
            total += (done - made) * parameters.reward_unit / sum(latencies[made:]) - penalty
    return total
