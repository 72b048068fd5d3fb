from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlbench.catalog.cell import Cell
from marlbench.errors import ConfigurationError

CELL = Cell(
    suite="quickstart",
    task="simple_spread",
    task_revision=1,
    environment="simple_spread",
    parameters={"agents": 3, "local_ratio": 0.5},
    backend="builtin",
    simulator="",
    data={},
    algorithm="ippo",
    algorithm_revision=1,
    hyperparameters={"learning_rate": 5e-4, "hidden": [64, 64], "sharing": "shared", "anneal": False},
    label="ippo",
    rows=16,
    dtype="float32",
    protocol={
        "kind": "episodic",
        "policy": "greedy",
        "evaluations": 5,
        "episodes": 32,
        "absolute_episodes": 320,
        "length": None,
        "window": None,
        "warm_up": None,
        "diverged_score": 0.0,
    },
    steps=100_000,
    seed=0,
    score={"metric": "return_mean", "low": -40.0, "high": -15.0, "source": "measured"},
)

# These ids are a promise: results that carry them stay valid. When one changes, old results are lost.
GOLDEN = {
    "plain": (CELL, "66de619071ad0430483495b8b617ff23fedb0a0d9494ba81ac74d3be8134669d"),
    "seed": (replace(CELL, seed=7), "1cd575257ea3423e87f5928a42cc189011a83d82a82a7697ff560cf5ae1928f8"),
    "external simulator": (
        replace(
            CELL,
            environment="pettingzoo:mpe2.simple_spread_v3",
            backend="pettingzoo",
            simulator="mpe2 1.1.1",
            data={"map": "ab" * 32},
        ),
        "a1d6e499e7e4a72cb60fb48cb406cd6000250fa8b2434d854bda5478b49e436d",
    ),
    "legacy value": (
        replace(CELL, omitted=("hyperparameters.anneal",)),
        "03343c187467c075a8865e4e67357d0a2165852b33e09d8293ffb71b241ad575",
    ),
    "transfer": (
        replace(CELL, source="cd" * 32),
        "e10292a82838a7d961915f8787c3111b9653ac5b58aa44978e4a0c07cbf4cdfa",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_ids(name: str) -> None:
    cell, golden = GOLDEN[name]
    assert cell.id == golden


def test_the_identity_is_what_the_design_lists() -> None:
    assert set(replace(CELL, source="x").identity()) == {
        "suite",
        "task",
        "task_revision",
        "environment",
        "parameters",
        "backend",
        "simulator",
        "data",
        "algorithm",
        "algorithm_revision",
        "hyperparameters",
        "rows",
        "dtype",
        "protocol",
        "steps",
        "seed",
        "source",
    }


def changed(name: str) -> Any:
    value = getattr(CELL, name)
    if isinstance(value, dict):
        return {**value, "another": 1}
    if isinstance(value, str) or value is None:
        return "other"
    return value + 1


NOT_IN_IT = ("label", "score", "omitted", "standing", "schedule_steps")


@pytest.mark.parametrize(
    "name",
    [field.name for field in fields(Cell) if field.name not in NOT_IN_IT],
)
def test_each_field_of_the_identity_changes_it(name: str) -> None:
    assert replace(CELL, **{name: changed(name)}).id != CELL.id


@pytest.mark.parametrize("name", ["parameters", "hyperparameters", "protocol"])
def test_each_value_inside_changes_it(name: str) -> None:
    values = getattr(CELL, name)
    ids = {replace(CELL, **{name: {**values, key: "other"}}).id for key in values}
    assert len(ids) == len(values)
    assert CELL.id not in ids


def test_label_and_score_do_not_change_it() -> None:
    other = replace(CELL, label="another", score={"metric": "x", "low": 0.0, "high": 1.0, "source": "y"})
    assert other.id == CELL.id
    assert other.group() == CELL.group()


@given(st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_change_it(random: Any) -> None:
    def shuffled(values: dict[str, Any]) -> dict[str, Any]:
        keys = list(values)
        random.shuffle(keys)
        return {key: values[key] for key in keys}

    other = replace(
        CELL,
        parameters=shuffled(CELL.parameters),
        hyperparameters=shuffled(CELL.hyperparameters),
        protocol=shuffled(CELL.protocol),
    )
    assert other.id == CELL.id


def test_a_hyperparameter_added_later_keeps_old_ids() -> None:
    before = {name: value for name, value in CELL.hyperparameters.items() if name != "anneal"}
    assert replace(CELL, omitted=("hyperparameters.anneal",)).id == replace(CELL, hyperparameters=before).id


def test_options_of_the_protocol_that_are_not_set_are_not_in_it() -> None:
    added = replace(CELL, protocol={**CELL.protocol, "added_later": None})
    assert added.id == CELL.id


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_a_group_is_all_but_the_seed(one: int, other: int) -> None:
    first, second = replace(CELL, seed=one), replace(CELL, seed=other)
    assert first.group() == second.group()
    assert (first.id == second.id) == (one == other)
    assert replace(first, steps=1).group() != first.group()


@given(st.lists(st.integers(0, 2**31 - 1), max_size=4), st.sampled_from(sorted(GOLDEN)))
def test_many_seeds_have_the_ids_of_each(seeds: list[int], name: str) -> None:
    cell, _ = GOLDEN[name]
    cells = cell.with_seeds(seeds)
    assert cells == tuple(replace(cell, seed=seed) for seed in seeds)
    assert [c.id for c in cells] == [replace(cell, seed=seed).id for seed in seeds]
    assert all(c.group() == cell.group() for c in cells)


@pytest.mark.parametrize("name", GOLDEN)
def test_json_round_trip(name: str) -> None:
    cell, golden = GOLDEN[name]
    document = json.loads(json.dumps({"schema": 1, **cell.to_json()}))
    read = Cell.from_json(document)
    assert read.id == golden
    assert read.hyperparameters == cell.hyperparameters
    assert (read.label, read.score, read.omitted) == (cell.label, cell.score, cell.omitted)


@pytest.mark.parametrize("broken", [{}, {"identity": 3}, {"identity": {}}, {"identity": {"suite": "x"}}])
def test_what_is_no_cell_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Cell.from_json({"label": "x", "score": {}, **broken})


def test_values_outside_the_identity_are_kept() -> None:
    """`workers` stands as null, `timeout` is left out; what was asked for is still what a job reads."""
    plain = replace(CELL, parameters={"agents": 3, "workers": None})
    cell = replace(
        CELL,
        parameters={"agents": 3, "workers": 4, "timeout": 9.0},
        standing={"parameters.workers": None, "parameters.timeout": None},
        omitted=("parameters.timeout",),
    )
    assert cell.identity() == plain.identity()
    assert cell.with_seeds([CELL.seed])[0].id == cell.id == plain.id
    read = Cell.from_json(json.loads(json.dumps(cell.to_json())))
    assert (read.parameters, read.standing, read.omitted) == (cell.parameters, cell.standing, cell.omitted)
    assert read.id == plain.id
