"""Iterated games: known returns of constant players and fixed rules, who meets whom, the mixed pool's halves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from marlbench.environments.contract import Step
from marlbench.environments.keys import row_keys
from marlbench.environments.matrix_games.iterated import IteratedGame, IteratedGameParameters

CPU = torch.device("cpu")
PAYOFFS = {
    "prisoners_dilemma": (1, -1, 2, 0),
    "stag_hunt": (4, 0, 3, 1),
    "chicken": (3, 1, 4, 0),
}


def make(rows: int = 3, seed: int = 0, **parameters: object) -> tuple[IteratedGame, Step]:
    game = IteratedGame(IteratedGameParameters(**parameters), rows, CPU)
    return game, game.reset(row_keys([seed], 0, rows, CPU))


def repeat(game: IteratedGame, actions: list[int]) -> tuple[Tensor, Step]:
    """Whole episodes in which every agent repeats one action: returns [row, agent] and the last step."""
    total = torch.zeros(game.rows, game.agents)
    for _ in range(game.rounds):
        step = game.step(torch.tensor(actions).expand(game.rows, -1))
        total += step.reward
    return total, step


@pytest.mark.parametrize("name", PAYOFFS)
@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_constant_players_earn_the_payoffs_times_a_hundred_rounds(name: str, first: int, second: int):
    game, step = make(game=name)
    assert step.observation[0].tolist() == [[0, 0, 0, 0, 1]] * 2
    total, step = repeat(game, [first, second])
    own, other = PAYOFFS[name][2 * first + second], PAYOFFS[name][2 * second + first]
    assert total.tolist() == [[100.0 * own, 100.0 * other]] * 3
    assert bool(step.truncated.all())
    found = {metric: float(value[0]) for metric, value in step.metrics.items()}
    assert found == pytest.approx(
        {
            "payoff_mean": (own + other) / 2,
            "payoff_agent_0": own,
            "payoff_agent_1": other,
            "cooperation_level": 1 - (first + second) / 2,
            "mutual_cooperation": float(first == second == 0),
            "mutual_defection": float(first == second == 1),
            "exploitation": float(first != second),
        }
    )


def test_each_player_sees_its_own_action_first():
    game, _ = make()
    step = game.step(torch.tensor([[0, 1]] * 3))
    assert step.observation[0].argmax(1).tolist() == [1, 2]
    assert step.state[0].tolist() == step.observation[0].flatten().tolist()


@pytest.mark.parametrize(
    ("co_player", "action", "expected"),
    [
        ("tit_for_tat", 0, 100.0),
        ("tit_for_tat", 1, 2.0),
        ("always_cooperate", 0, 100.0),
        ("always_cooperate", 1, 200.0),
        ("always_defect", 0, -100.0),
        ("always_defect", 1, 0.0),
        ("win_stay_lose_shift", 0, 100.0),
        # It cooperates, is exploited, defects, is paid P, cooperates again.
        ("win_stay_lose_shift", 1, 100.0),
    ],
)
def test_returns_against_fixed_rules(co_player: str, action: int, expected: float):
    game, _ = make(opponents="co_players", co_player=co_player)
    total, step = repeat(game, [action, action])
    assert total.tolist() == [[expected] * 2] * 3
    assert float(step.metrics["payoff_against_co_players"][0]) == pytest.approx(expected / 100)
    assert float(step.metrics["cooperation_against_co_players"][0]) == 1 - action


def stationary(learner: tuple[float, ...], co_player: tuple[float, ...]) -> np.ndarray:
    """Long-run shares of CC, CD, DC, DD of two memory-1 players, given as p(C) after each, their own action first."""
    mirrored = (co_player[0], co_player[2], co_player[1], co_player[3])
    matrix = np.array(
        [[p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)] for p, q in zip(learner, mirrored, strict=True)]
    )
    values, vectors = np.linalg.eig(matrix.T)
    found = np.real(vectors[:, np.argmax(np.real(values))])
    return found / found.sum()


def test_a_tabular_player_plays_its_probabilities_in_its_own_view():
    """Against a memory-1 learner: the stationary shares of the Markov chain of the two (Press and Dyson 2012)."""
    learner, co_player = (0.7, 0.2, 0.9, 0.4), (0.9, 0.1, 0.6, 0.3)
    rows, rounds = 256, 1_000
    game, step = make(
        rows, opponents="co_players", agents=1, rounds=rounds, co_player_probabilities=(0.5, *co_player)
    )
    generator = torch.Generator().manual_seed(0)
    chances = torch.tensor([*learner, 0.5])
    for _ in range(rounds):
        cooperates = chances[step.observation.argmax(2)]
        step = game.step((torch.rand(rows, 1, generator=generator) >= cooperates).long())
    both, first, second, neither = stationary(learner, co_player)
    assert float(step.metrics["cooperation_against_co_players"].mean()) == pytest.approx(
        both + first, abs=5e-3
    )
    assert float(step.metrics["exploitation_by_co_players"].mean()) == pytest.approx(first, abs=5e-3)
    assert float(step.metrics["exploitation_of_co_players"].mean()) == pytest.approx(second, abs=5e-3)
    expected = both - first + 2 * second
    assert float(step.metrics["payoff_mean"].mean()) == pytest.approx(expected, abs=1e-2)
    assert 1 - both - first - second == pytest.approx(neither)


def test_drawn_co_players_are_uniform_and_new_in_every_episode():
    game, _ = make(4_000, opponents="co_players", rounds=2)
    before = game.memory["probability"].clone()
    repeat(game, [0, 0])
    after = game.memory["probability"]
    assert not bool((before == after).any())
    assert len(before.flatten().unique()) > 0.99 * before.numel()
    for drawn in (before, after):
        quarters = torch.histc(drawn, 4, 0, 1) / drawn.numel()
        torch.testing.assert_close(quarters, torch.full((4,), 0.25), atol=0.01, rtol=0)


@pytest.mark.parametrize("agents", [4, 8])
def test_in_the_mixed_pool_half_of_everybodys_episodes_are_against_another_learner(agents: int):
    rows = 4_000
    game, _ = make(rows, opponents="mixed", agents=agents, rounds=1)
    paired, partner = game.memory["paired"], game.memory["partner"]
    assert bool((paired.sum(1) == agents // 2).all())
    torch.testing.assert_close(paired.float().mean(0), torch.full((agents,), 0.5), atol=0.03, rtol=0)
    itself = torch.arange(agents).expand(rows, -1)
    # The partner's partner is oneself, and whoever meets a learner meets one that does so, too.
    assert bool((partner.gather(1, partner) == itself)[paired].all())
    assert bool((partner != itself)[paired].all())
    assert torch.equal(paired.gather(1, partner)[paired], torch.ones(int(paired.sum()), dtype=torch.bool))
    # All others are met alike.
    met = torch.bincount(partner[:, 0][paired[:, 0]], minlength=agents) / int(paired[:, 0].sum())
    torch.testing.assert_close(met[1:], torch.full((agents - 1,), 1 / (agents - 1)), atol=0.05, rtol=0)


def test_games_of_the_mixed_pool_do_not_touch_each_other():
    """Each agent is paid by its own action and its opponent's; metrics tell the two kinds of games apart."""
    game, step = make(200, opponents="mixed", co_player="always_defect", rounds=3, identity=True)
    paired, partner = game.memory["paired"], game.memory["partner"]
    assert torch.equal(step.observation[..., 5] == 1, ~paired)
    # Agents 0 and 1 cooperate, 2 and 3 defect.
    actions = torch.tensor([0, 0, 1, 1]).expand(200, -1)
    payoffs = torch.tensor([[1.0, -1.0], [2.0, 0.0]])
    opponents = torch.where(paired, actions.gather(1, partner), 1)
    for _ in range(3):
        last = step = game.step(actions)
        torch.testing.assert_close(step.reward, payoffs[actions, opponents])
    level = ((1 - actions) * paired).sum(1) / 2
    torch.testing.assert_close(last.metrics["cooperation_level"], level)
    both = ((actions + opponents == 0) & paired).sum(1) / 2
    torch.testing.assert_close(last.metrics["mutual_cooperation"], both)
    torch.testing.assert_close(last.metrics["exploitation"], ((actions != opponents) & paired).sum(1) / 2)
    exploited = ((actions == 0) & ~paired).sum(1) / 2
    torch.testing.assert_close(last.metrics["exploitation_by_co_players"], exploited)
    assert float(last.metrics["exploitation_of_co_players"].abs().max()) == 0


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)), st.lists(st.integers(0, 1), min_size=4, max_size=4), st.integers(0, 99))
def test_payoffs_do_not_depend_on_the_order_of_the_agents(order: list[int], actions: list[int], seed: int):
    game, _ = make(1, seed, agents=4)
    partner = game.memory["partner"][0]
    step = game.step(torch.tensor([actions]))
    renamed, _ = make(1, seed, agents=4)
    place = torch.tensor(order)
    inverse = place.argsort()
    renamed.memory["partner"] = inverse[partner[place]].unsqueeze(0)
    again = renamed.step(torch.tensor([[actions[agent] for agent in order]]))
    assert torch.equal(again.reward[0], step.reward[0, place])
    assert torch.equal(again.observation[0], step.observation[0, place])


def test_other_payoffs_are_played():
    game, _ = make(payoffs=(5, 6, 7, 8), rounds=2)
    assert game.step(torch.tensor([[0, 1]] * 3)).reward[0].tolist() == [6, 7]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"opponents": "mixed", "agents": 2}, "multiple of 4"),
        ({"agents": 3}, "must be even"),
        ({"co_player": "tit_for_tat", "co_player_probabilities": (0, 0, 0, 0, 0)}, "belong to co_player"),
        ({"co_player_probabilities": (0, 0, 2, 0, 0)}, "lie in"),
        ({"game": "climbing"}, "prisoners_dilemma"),
    ],
)
def test_contradictions_are_refused(parameters: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        IteratedGameParameters(**parameters)


def test_resolved_parameters_show_how_many_learn():
    assert IteratedGameParameters().agents == 2
    assert IteratedGameParameters(opponents="mixed").agents == 4
