"""Advantages against the definition, summed term by term in plain Python."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marlbench.algorithms.on_policy import advantages_over_decisions, generalised_advantages

DISCOUNT, DECAY = 0.9, 0.8


def by_definition(
    reward: list[float], value: list[float], following: list[float], over: list[int]
) -> list[float]:
    """Sum over k of (gamma lambda)^k delta(t + k) to the episode's end; over: 0 no, 1 terminated, 2 truncated."""
    found = []
    for start in range(len(reward)):
        total, weight = 0.0, 1.0
        for time in range(start, len(reward)):
            bootstrap = 0.0 if over[time] == 1 else following[time]
            total += weight * (reward[time] + DISCOUNT * bootstrap - value[time])
            if over[time]:
                break
            weight *= DISCOUNT * DECAY
        found.append(total)
    return found


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_every_step_a_decision(seed: int, length: int) -> None:
    g = torch.Generator().manual_seed(seed)
    shape = (2, length, 3, 2)
    reward, value, following = (torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(3))
    over = torch.randint(0, 3, shape, generator=g) * (torch.rand(shape, generator=g) < 0.4)
    got = generalised_advantages(reward, value, following, over == 1, over == 2, DISCOUNT, DECAY)
    general = advantages_over_decisions(
        reward,
        value,
        # Inside an episode the value after a step is the next decision's.
        torch.where(
            (over > 0) | (torch.arange(length) == length - 1).view(1, -1, 1, 1), following, value.roll(-1, 1)
        ),
        over == 1,
        over == 2,
        torch.ones(shape, dtype=torch.bool),
        torch.zeros(shape, dtype=torch.bool),
        DISCOUNT,
        DECAY,
    )
    consistent = torch.where(
        (over > 0) | (torch.arange(length) == length - 1).view(1, -1, 1, 1), following, value.roll(-1, 1)
    )
    same = generalised_advantages(reward, value, consistent, over == 1, over == 2, DISCOUNT, DECAY)
    torch.testing.assert_close(general.advantage, same.advantage)
    for m in range(2):
        for r in range(3):
            for a in range(2):
                pick = (m, slice(None), r, a)
                expected = by_definition(
                    reward[pick].tolist(), value[pick].tolist(), following[pick].tolist(), over[pick].tolist()
                )
                torch.testing.assert_close(got.advantage[pick], torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(got.target, got.advantage + value)


@settings(max_examples=200)
@given(st.integers(0, 100_000), st.integers(2, 14))
def test_transitions_run_from_decision_to_decision(seed: int, length: int) -> None:
    g = torch.Generator().manual_seed(seed)
    reward, value, following = (torch.randn(length, generator=g, dtype=torch.float64) for _ in range(3))
    over = (torch.randint(0, 3, (length,), generator=g) * (torch.rand(length, generator=g) < 0.3)).tolist()
    acting = (torch.rand(length, generator=g) < 0.5).tolist()
    replaced = (torch.rand(length, generator=g) < 0.15).tolist()
    # The agent's own sequence of transitions, spelt out: (first step, summed reward, bootstrap, cut).
    transitions: list[tuple[int, float, float, bool]] = []
    time = 0
    while time < length:
        if not acting[time]:
            time += 1
            continue
        start, total = time, 0.0
        while True:
            total += float(reward[time])
            left = time + 1 < length and replaced[time + 1]
            if over[time] or left:
                bootstrap = float(following[time]) if over[time] == 2 else 0.0
                transitions.append((start, total, bootstrap, True))
                break
            if time + 1 == length:
                transitions.append((start, total, float(following[time]), True))
                break
            if acting[time + 1]:
                transitions.append((start, total, float(value[time + 1]), False))
                break
            time += 1
        time += 1
    expected = [0.0] * length
    running = 0.0
    for start, total, bootstrap, cut in reversed(transitions):
        difference = total + DISCOUNT * bootstrap - float(value[start])
        running = difference + (0.0 if cut else DISCOUNT * DECAY * running)
        expected[start] = running

    def shaped(values: object, dtype: torch.dtype) -> torch.Tensor:
        return torch.as_tensor(values, dtype=dtype).view(1, length, 1, 1)

    got = advantages_over_decisions(
        shaped(reward, torch.float64),
        shaped(value, torch.float64),
        shaped(following, torch.float64),
        shaped([o == 1 for o in over], torch.bool),
        shaped([o == 2 for o in over], torch.bool),
        shaped(acting, torch.bool),
        shaped(replaced, torch.bool),
        DISCOUNT,
        DECAY,
    )
    torch.testing.assert_close(got.advantage.flatten(), torch.tensor(expected, dtype=torch.float64))
