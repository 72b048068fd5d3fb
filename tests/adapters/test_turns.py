"""Games in turns: who acts, who is paid what, who leaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from marlbench.adapters.pettingzoo import PettingZooEnvironment, PettingZooParameters
from marlbench.environments.contract import Step
from marlbench.environments.keys import derive, row_keys

CPU = torch.device("cpu")


@pytest.fixture(params=[0, 1])
def environment(request: pytest.FixtureRequest) -> Iterator[PettingZooEnvironment]:
    parameters = PettingZooParameters(package="dummy_turns", workers=request.param, replay=True)
    built = PettingZooEnvironment(parameters, 1, CPU)
    yield built
    built.close()


def say(environment: PettingZooEnvironment, number: int) -> Step:
    return environment.step(torch.full((1, 3), number))


def test_a_game_from_start_to_end(environment: PettingZooEnvironment) -> None:
    """player_1 repeats a number and leaves, then player_2 does, which ends the game for player_0 too."""
    assert environment.specification.skips_steps
    assert environment.specification.masks_actions
    keys = row_keys([0], 0, 1, CPU)
    first = (int(derive(keys[0], 0) >> 33) & (2**31 - 1)) % 5
    free = [number for number in range(1, 5) if number != first]
    step = environment.reset(keys)
    no_op, any_number = [True] + [False] * 4, [False] + [True] * 4
    assert step.acting.tolist() == [[True, False, False]]
    assert step.available_actions.tolist() == [[any_number, no_op, no_op]]
    step = say(environment, free[0])
    assert step.reward.tolist() == [[0, 0, 0]]
    assert step.acting.tolist() == [[False, True, False]]
    assert step.available_actions.tolist() == [[no_op, any_number, no_op]]
    assert step.observation[0, 2].tolist() == [float(n in (first, free[0])) for n in range(5)] + [2]
    step = say(environment, free[0])
    assert step.reward.tolist() == [[1, -2, 1]]
    assert step.terminated.tolist() == [[False, True, False]]
    assert step.acting.tolist() == [[False, False, True]]
    step = say(environment, free[1])
    assert step.acting.tolist() == [[True, False, False]]
    step = say(environment, free[2])
    assert step.reward.tolist() == [[0, 0, 0]]
    assert not step.any_ended
    step = say(environment, free[2])
    assert step.reward.tolist() == [[11, 0, -2]]
    assert step.terminated.tolist() == [[True, False, True]]
    assert step.ended.tolist() == [True]
    assert step.acting.tolist() == [[True, False, False]]
    assert step.available_actions.tolist() == [[any_number, no_op, no_op]]


def test_a_game_is_played_again_after_an_interruption(environment: PettingZooEnvironment) -> None:
    environment.reset(row_keys([0], 0, 1, CPU))
    before = say(environment, 1)
    acting, seen = before.acting.clone(), before.observation.clone()
    step = environment.load_state_dict(environment.state_dict())
    assert torch.equal(step.acting, acting)
    assert torch.equal(step.observation, seen)
