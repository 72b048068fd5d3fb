"""The contract of environments, for every plug-in and each of its examples."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from marlbench import plugins
from marlbench.environments.contract import (
    AnyParameters,
    BatchedEnvironment,
    Continuous,
    Discrete,
    Step,
)
from marlbench.environments.keys import row_keys

CPU = torch.device("cpu")
ROWS = 3
STEPS = 14
TENSORS = (
    "observation",
    "state",
    "available_actions",
    "acting",
    "new_occupant",
    "reward",
    "terminated",
    "truncated",
    "ended",
    "final_observation",
    "final_state",
    "final_available_actions",
)
Case = tuple[type[BatchedEnvironment], AnyParameters]


def cases() -> Iterator[Any]:
    for name in sorted(plugins.plugins("environments")):
        environment = plugins.load("environments", name)
        examples = environment.examples()
        for number, parameters in enumerate(examples):
            yield pytest.param((environment, parameters), id=f"{name}-{number}")
        if not examples:
            reason = f"the package behind '{name}' is not installed"
            yield pytest.param(None, id=name, marks=pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module", params=cases())
def case(request: pytest.FixtureRequest) -> Case:
    return request.param  # type: ignore[no-any-return]


# Built once for all tests of a case: some environments start processes.
@pytest.fixture(scope="module")
def environment(case: Case) -> Iterator[BatchedEnvironment]:
    built = build(case)
    yield built
    built.close()


@pytest.fixture(scope="module")
def another(case: Case) -> Iterator[BatchedEnvironment]:
    built = build(case)
    yield built
    built.close()


def build(case: Case, rows: int = ROWS) -> BatchedEnvironment:
    environment, parameters = case
    return environment(parameters, rows, CPU)


def keys(rows: int = ROWS, seed: int = 5) -> Tensor:
    return row_keys([seed], 0, rows, CPU)


def copied(step: Step) -> dict[str, Any]:
    """What must last of a step whose tensors may be used again."""
    kept: dict[str, Any] = {name: getattr(step, name).clone() for name in TENSORS}
    kept["any_ended"] = step.any_ended
    kept["metrics"] = {name: value.clone() for name, value in step.metrics.items()}
    return kept


def choose(environment: BatchedEnvironment, step: Step, generator: torch.Generator) -> Tensor:
    """Random actions that the step allows."""
    space = environment.specification.action
    rows, agents, actions = step.available_actions.shape
    if isinstance(space, Continuous):
        drawn = torch.rand(rows, agents, space.size, generator=generator)
        return space.low + (space.high - space.low) * drawn
    preference = torch.rand(rows, agents, actions, generator=generator)
    return preference.masked_fill(~step.available_actions, -1.0).argmax(2)


def roll(
    environment: BatchedEnvironment, steps: int = STEPS, seed: int = 5
) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """What the rows show at reset and after each step, and the actions taken."""
    generator = torch.Generator().manual_seed(seed)
    step = environment.reset(keys(environment.rows, seed))
    shown, taken = [copied(step)], []
    for _ in range(steps):
        action = choose(environment, step, generator)
        step = environment.step(action)
        shown.append(copied(step))
        taken.append(action)
    return shown, taken


def assert_same(first: dict[str, Any], second: dict[str, Any], row: int | None = None) -> None:
    """Equal to the bit; with `row`, the second shows that row of the first alone."""
    rows = slice(None) if row is None else slice(row, row + 1)
    for name in TENSORS:
        assert torch.equal(first[name][rows], second[name]), name
    for name, value in second["metrics"].items():
        ended = second["ended"]
        assert torch.equal(first["metrics"][name][rows][ended], value[ended]), name


def test_shapes_and_types(environment: BatchedEnvironment) -> None:
    specification = environment.specification
    agents = len(specification.agents)
    space = specification.action
    actions = space.count if isinstance(space, Discrete) else 1
    shapes = {
        "observation": (ROWS, agents, specification.observation_size),
        "state": (ROWS, specification.state_size),
        "available_actions": (ROWS, agents, actions),
        "ended": (ROWS,),
        **dict.fromkeys(("acting", "new_occupant", "reward", "terminated", "truncated"), (ROWS, agents)),
    }
    shapes |= {f"final_{name}": shapes[name] for name in ("observation", "state", "available_actions")}
    floats = {"observation", "state", "reward", "final_observation", "final_state"}
    assert len(set(specification.agents)) == agents
    shown, _ = roll(environment)
    for step in shown:
        for name in TENSORS:
            assert step[name].shape == shapes[name], name
            assert step[name].dtype == (torch.float32 if name in floats else torch.bool), name
            assert bool(torch.isfinite(step[name]).all()), name
        if step["any_ended"] or environment.specification.continuing:
            assert tuple(step["metrics"]) == specification.metrics
            assert all(value.shape == (ROWS,) for value in step["metrics"].values())


def test_the_specification_is_truthful(environment: BatchedEnvironment) -> None:
    specification = environment.specification
    shown, _ = roll(environment)
    for step in shown:
        available = step["available_actions"]
        assert bool(available.any(2).all())
        if not specification.masks_actions:
            assert bool(available[step["acting"]].all())
        if not specification.skips_steps:
            assert bool(step["acting"].all())
            assert not bool(step["new_occupant"].any())
        idle = available[~step["acting"]]
        assert bool((idle.sum(1) == 1).all())


def test_episodes_end_and_begin_again(environment: BatchedEnvironment) -> None:
    shown, _ = roll(environment)
    limit = environment.specification.episode_limit
    lengths = torch.zeros(ROWS, dtype=torch.int64)
    done = torch.zeros_like(shown[0]["terminated"])
    ends = 0
    assert not bool(shown[0]["ended"].any())
    assert bool((shown[0]["reward"] == 0).all())
    for step in shown[1:]:
        lengths += 1
        terminated, truncated, ended = step["terminated"], step["truncated"], step["ended"]
        assert step["any_ended"] == bool(ended.any())
        assert not bool((terminated & truncated).any())
        assert not bool((done & (terminated | truncated)).any())
        done |= terminated | truncated
        # A row ends when all its agents are done, and not before.
        assert torch.equal(done.all(1), ended)
        if limit is not None:
            assert bool((lengths <= limit).all())
            assert bool(ended[lengths == limit].all())
        for name in ("observation", "state", "available_actions"):
            going_on = ~ended
            assert torch.equal(step[f"final_{name}"][going_on], step[name][going_on])
        ends += int(ended.sum())
        lengths[ended] = 0
        done[ended] = False
    if environment.specification.continuing:
        assert not ends
        return
    assert ends >= 2 * ROWS


def test_keys_and_actions_decide_everything(
    environment: BatchedEnvironment, another: BatchedEnvironment
) -> None:
    """Whatever was played before: an instance that is reset with the same keys plays the same."""
    if not environment.deterministic:
        pytest.skip("declared as not deterministic")
    roll(another, STEPS // 2, seed=6)
    for step, repeated in zip(roll(environment)[0], roll(another)[0], strict=True):
        assert_same(step, repeated)


def test_rows_are_independent(case: Case, environment: BatchedEnvironment) -> None:
    """Each row alone does what it does among others."""
    if not environment.deterministic:
        pytest.skip("declared as not deterministic")
    if not environment.independent_rows:
        pytest.skip("declared as not independent")
    alone = build(case, rows=1)
    try:
        shown, taken = roll(environment)
        for row in range(ROWS):
            step = alone.reset(keys()[row : row + 1])
            assert_same(shown[0], copied(step), row)
            for expected, action in zip(shown[1:], taken, strict=True):
                assert_same(expected, copied(alone.step(action[row : row + 1])), row)
    finally:
        alone.close()


@pytest.mark.parametrize("before", [0, 1, 5, 6])
def test_a_saved_state_goes_on(
    environment: BatchedEnvironment, another: BatchedEnvironment, before: int
) -> None:
    """Through a file, into another instance: to the bit, or with fresh episodes, as declared."""
    shown, taken = roll(environment)
    environment.reset(keys())
    for action in taken[:before]:
        environment.step(action)
    file = io.BytesIO()
    torch.save(environment.state_dict(), file)
    file.seek(0)
    step = another.load_state_dict(torch.load(file, weights_only=True))
    assert not step.any_ended
    assert bool((step.reward == 0).all())
    if another.resume == "exact":
        for name in ("observation", "state", "available_actions", "acting"):
            assert torch.equal(getattr(step, name), shown[before][name]), name
        for expected, action in zip(shown[before + 1 :], taken[before:], strict=True):
            assert_same(expected, copied(another.step(action)))
    else:
        assert bool(step.acting.any())
        lengths = torch.zeros(ROWS, dtype=torch.int64)
        generator = torch.Generator().manual_seed(0)
        for length in range(1, STEPS + 1):
            step = another.step(choose(another, step, generator))
            lengths[step.ended & (lengths == 0)] = length
        limit = another.specification.episode_limit
        assert bool((lengths > 0).all())
        assert limit is None or bool((lengths <= limit).all())


def test_a_saved_state_does_not_change_when_the_rows_go_on(environment: BatchedEnvironment) -> None:
    _, taken = roll(environment, 6)
    environment.reset(keys())
    environment.step(taken[0])
    state = environment.state_dict()
    file = io.BytesIO()
    torch.save(state, file)
    for action in taken[1:4]:
        environment.step(action)
    later = io.BytesIO()
    torch.save(state, later)
    assert file.getvalue() == later.getvalue()


def test_close_ends_the_processes(case: Case) -> None:
    before = set(psutil.Process().children(recursive=True))
    environment = build(case)
    environment.reset(keys())
    environment.close()
    assert set(psutil.Process().children(recursive=True)) <= before


def test_identity_is_told_without_building(case: Case) -> None:
    environment, parameters = case
    assert isinstance(environment.simulator_version(parameters), str)
    assert all(len(value) == 64 for value in environment.data_hashes(parameters).values())
    assert environment.Parameters(**parameters.model_dump()) == parameters
    if environment.argument is not None:
        assert environment.argument in environment.Parameters.model_fields
