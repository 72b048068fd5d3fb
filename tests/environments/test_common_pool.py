"""Harvests against hand-worked rounds, and the sharing of a scarce stock against every order of units."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marlbench.environments.compiled_keys import below, derived, drawn
from marlbench.environments.keys import derive, row_keys, uniform
from marlbench.environments.social_dilemmas.common_pool import CommonPool, CommonPoolParameters
from marlbench.environments.social_dilemmas.measures import equality
from marlbench.environments.social_dilemmas.sharing import hand_out

CPU = torch.device("cpu")


def built(rows: int = 1, **parameters) -> CommonPool:
    return CommonPool(CommonPoolParameters(**parameters), rows, CPU)


def stock(environment: CommonPool) -> float:
    return float(environment.memory["shown"][0, 0])


def handed_out(asked: torch.Tensor, stock: float, seed: int = 5) -> torch.Tensor:
    """What each row receives, all of one stock."""
    received = asked.numpy().copy()
    rows = len(received)
    there, rounds = torch.full((rows,), float(stock)), torch.zeros(rows)
    hand_out(received, there.numpy(), row_keys([seed], 0, rows, CPU).numpy(), rounds.numpy())
    return torch.from_numpy(received)


def asking(environment: CommonPool, *amounts: int):
    """Play rounds in which everybody asks for the same amount; the last step and all rewards [round, agent]."""
    environment.reset(row_keys([1], 0, 1, CPU))
    rewards = []
    step = None
    for amount in amounts:
        step = environment.step(torch.full((1, environment.agents), amount))
        rewards.append(step.reward[0])
    return step, torch.stack(rewards)


def test_the_sustainable_share_feeds_everybody_for_ever():
    step, rewards = asking(built(), *[10] * 12)
    assert rewards.sum(0).tolist() == [120.0] * 5
    assert bool(step.ended[0])
    found = {name: float(value[0]) for name, value in step.metrics.items()}
    assert found == {
        "survival_rounds": 12,
        "survival_rate": 1,
        "gain_mean": 120,
        "efficiency": 1,
        "equality": 1,
        "over_usage": 0,
    }


def test_greed_collapses_in_the_first_round():
    step, rewards = asking(built(), 20)
    assert rewards.tolist() == [[20.0] * 5]
    assert bool(step.ended[0])
    assert bool(step.terminated.all())
    assert float(step.metrics["survival_rounds"][0]) == 0
    assert float(step.metrics["over_usage"][0]) == 1
    assert float(step.metrics["efficiency"][0]) == pytest.approx(100 / 600)


def test_what_is_left_doubles_up_to_the_capacity():
    environment = built()
    # 100 - 80 = 20 -> 40; 40 - 10 = 30 -> 60; 60 - 5 = 55 -> 100.
    stocks = []
    environment.reset(row_keys([1], 0, 1, CPU))
    for amount in (16, 2, 1):
        environment.step(torch.full((1, 5), amount))
        stocks.append(stock(environment))
    assert stocks == [40, 60, 100]


def test_five_left_is_no_collapse_and_four_is():
    environment = built(agents=2, most=50)
    environment.reset(row_keys([1], 0, 1, CPU))
    step = environment.step(torch.tensor([[50, 45]]))
    assert not bool(step.ended[0])
    assert stock(environment) == 10
    step, _ = asking(built(agents=2, most=48), 48)
    assert bool(step.ended[0])


def test_the_outsider_takes_its_part_of_the_stock_and_is_no_agent():
    environment = built(agents=2, outsider=True, most=50)
    environment.reset(row_keys([1], 0, 1, CPU))
    step = environment.step(torch.tensor([[10, 0]]))
    assert step.reward.tolist() == [[10.0, 0.0]]
    assert stock(environment) == 80
    # Own request first, then the other's, then the outsider's.
    assert step.observation[0, :, 3:].flatten().tolist() == pytest.approx([0.2, 0.0, 1.0, 0.0, 1.0, 0.2])


def test_the_observation_begins_with_oneself_and_goes_round():
    environment = built(agents=3, most=10)
    environment.reset(row_keys([1], 0, 1, CPU))
    step = environment.step(torch.tensor([[1, 2, 3]]))
    seen = (step.observation[0, :, 3:] * 10).round().int().tolist()
    assert seen == [[1, 2, 3], [2, 3, 1], [3, 1, 2]]
    assert step.observation[0, 0, :3].tolist() == pytest.approx([1.0, 1 / 12, 1.0])


@cache
def expected(asked: tuple[int, ...], stock: int) -> tuple[Fraction, ...]:
    """What each receives on average when every unit goes to one drawn among those who still want."""
    wanting = [agent for agent, amount in enumerate(asked) if amount]
    if not wanting or not stock:
        return (Fraction(0),) * len(asked)
    total = [Fraction(0)] * len(asked)
    for agent in wanting:
        rest = tuple(amount - (other == agent) for other, amount in enumerate(asked))
        for other, value in enumerate(expected(rest, stock - 1)):
            total[other] += (value + (other == agent)) / len(wanting)
    return tuple(total)


@pytest.mark.parametrize(("asked", "stock"), [((3, 1), 2), ((5, 2, 2), 6), ((1, 6, 6, 2), 7), ((4, 4), 7)])
def test_units_are_drawn_one_by_one_among_those_who_still_want(asked: tuple[int, ...], stock: int):
    rows = 40_000
    received = handed_out(torch.tensor(asked, dtype=torch.float32).expand(rows, -1), stock)
    deviation = received.std(0) / rows**0.5
    wanted = torch.tensor([float(value) for value in expected(asked, stock)])
    assert bool(((received.mean(0) - wanted).abs() <= 4.5 * deviation + 1e-6).all())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=6), st.integers(0, 40), st.integers(0, 10**9))
def test_nothing_is_lost_and_nobody_gets_more_than_asked_for(asked: list[int], stock: int, seed: int):
    wishes = torch.tensor([asked], dtype=torch.float32)
    received = handed_out(wishes, stock, seed)
    assert float(received.sum()) == min(sum(asked), stock)
    assert bool((received <= wishes).all())
    assert bool((received >= 0).all())


def test_equality_is_one_less_the_gini_coefficient():
    gains = torch.rand(20, 6) * 10
    pairs = (gains.unsqueeze(1) - gains.unsqueeze(2)).abs().sum((1, 2))
    torch.testing.assert_close(equality(gains), (1 - pairs / (2 * 6 * gains.sum(1))).double())
    special = torch.tensor([[0.0, 0, 0, 0], [7, 0, 0, 0], [2, 2, 2, 2]])
    assert equality(special).tolist() == pytest.approx([1.0, 0.25, 1.0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_fish_are_conserved(seed: int, outsider: bool):
    """What was there is what was received and what is left; what is left doubles, up to 100."""
    environment = built(outsider=outsider)
    environment.reset(row_keys([seed], 0, 1, CPU))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(environment.rounds):
        before = stock(environment)
        step = environment.step(torch.randint(0, 21, (1, 5), generator=generator))
        if bool(step.ended[0]):
            return
        # The outsider is the only one who is not paid here, and never gets more than it asks for.
        taken = float(step.reward.sum())
        after = stock(environment)
        if after < 100:
            outsiders = before - taken - after / 2
            assert outsiders == (0 if not outsider else min(outsiders, 20)) >= 0
        else:
            assert before - taken >= 50


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 10**6))
def test_where_the_stock_suffices_agents_may_be_renamed(order: list[int], seed: int):
    requests = torch.randint(0, 13, (1, 4), generator=torch.Generator().manual_seed(seed))
    plain, renamed = built(agents=4), built(agents=4)
    for environment in (plain, renamed):
        environment.reset(row_keys([seed], 0, 1, CPU))
    place = torch.tensor(order)
    one, other = plain.step(requests), renamed.step(requests[:, place])
    assert torch.equal(one.reward[:, place], other.reward)
    assert stock(plain) == stock(renamed)


def test_a_scarce_stock_favours_no_place_in_the_order_of_the_agents():
    rows = 40_000
    received = handed_out(torch.full((rows, 5), 9.0), 12)
    deviation = received.std(0) / rows**0.5
    assert bool(((received.mean(0) - 12 / 5).abs() <= 4.5 * deviation).all())


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**6), st.integers(0, 300))
def test_compiled_draws_are_those_of_the_keys(key: int, index: int, place: int):
    here = torch.tensor([key])
    assert derived(key, index) == int(derive(here, index)) % (1 << 64)
    plain = np.uint64(key % (1 << 64))
    assert drawn(plain, place) == float(uniform(here, place + 1)[0, place])
    assert below(plain, place, 7) == int(uniform(here, place + 1)[0, place] * 7)
