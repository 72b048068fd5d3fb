"""Matrix games: returns of simple players in closed form, what each player sees, exact draws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from marlbench.environments.contract import Step
from marlbench.environments.keys import row_keys
from marlbench.environments.matrix_games.game import MatrixGame, MatrixGameParameters
from marlbench.environments.matrix_games.games import GAMES

CPU = torch.device("cpu")


def make(rows: int = 3, seed: int = 0, **parameters: object) -> tuple[MatrixGame, Step]:
    game = MatrixGame(MatrixGameParameters(**parameters), rows, CPU)
    return game, game.reset(row_keys([seed], 0, rows, CPU))


def play(game: MatrixGame, *joint: int, rounds: int = 1) -> tuple[Tensor, Step]:
    """The sum of rewards [row, agent] of repeating one joint action, and the last step."""
    action = torch.tensor(joint).expand(game.rows, -1)
    total = torch.zeros(game.rows, len(joint))
    for _ in range(rounds):
        step = game.step(action)
        total += step.reward
    return total, step


@pytest.mark.parametrize(
    ("name", "joint", "expected"),
    [
        ("prisoners_dilemma", (0, 0), (100.0, 100.0)),
        ("prisoners_dilemma", (0, 1), (-100.0, 200.0)),
        ("prisoners_dilemma", (1, 1), (0.0, 0.0)),
        ("stag_hunt", (0, 1), (0.0, 300.0)),
        ("stag_hunt", (0, 0), (400.0, 400.0)),
        ("chicken", (1, 0), (400.0, 100.0)),
        ("chicken", (1, 1), (0.0, 0.0)),
        ("climbing", (0, 0), (275.0, 275.0)),
        ("climbing", (1, 1), (175.0, 175.0)),
        ("climbing", (1, 2), (150.0, 150.0)),
        ("climbing", (2, 1), (0.0, 0.0)),
        ("climbing", (0, 1), (-750.0, -750.0)),
        ("penalty", (2, 2), (250.0, 250.0)),
        ("penalty", (1, 1), (50.0, 50.0)),
        ("penalty", (0, 2), (-625.0, -625.0)),
    ],
)
def test_constant_players_earn_the_matrix_times_the_rounds(
    name: str, joint: tuple[int, int], expected: tuple[float, float]
) -> None:
    game, _ = make(game=name)
    total, step = play(game, *joint, rounds=GAMES[name].rounds)
    assert total[0].tolist() == list(expected)
    assert step.any_ended
    assert bool(step.truncated.all())
    assert not bool(step.terminated.any())
    assert step.metrics["payoff_mean"][0] == pytest.approx(sum(expected) / 2 / GAMES[name].rounds)


def test_the_dilemmas_have_the_orders_of_payoffs_that_define_them() -> None:
    for name, order in {
        "prisoners_dilemma": lambda r, s, t, p: t > r > p > s and 2 * r > t + s,
        "stag_hunt": lambda r, s, t, p: r > t > p > s,
        "chicken": lambda r, s, t, p: t > r > s > p,
    }.items():
        ((both, exploited), (exploiting, neither)) = GAMES[name].stages[0]
        assert order(both[0], exploited[0], exploiting[0], neither[0])
        assert exploited == exploiting[::-1]


@pytest.mark.parametrize("penalty", [0.0, -100.0])
def test_the_penalty_game_takes_its_parameter(penalty: float) -> None:
    game, _ = make(game="penalty", penalty=penalty, rounds=2)
    assert play(game, 0, 2)[0][0].tolist() == [penalty, penalty]
    assert play(game, 0, 0)[0][0].tolist() == [10, 10]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(0, (0, 0), 7), (0, (1, 1), 7), (1, (0, 0), 0), (1, (1, 0), 1), (1, (1, 1), 8)],
)
@pytest.mark.parametrize("partner", [0, 1])
def test_two_step_pays_what_the_first_players_first_action_picked(
    first: int, second: tuple[int, int], expected: float, partner: int
) -> None:
    game, step = make(game="two_step")
    assert step.observation[0].tolist() == [[1, 0, 0], [1, 0, 0]]
    reward, step = play(game, first, partner)
    assert reward.abs().sum() == 0
    assert not step.any_ended
    assert step.state[0].tolist() == ([0, 1, 0] if first == 0 else [0, 0, 1])
    reward, step = play(game, *second)
    assert reward[0].tolist() == [expected, expected]
    assert bool(step.terminated.all())
    assert not bool(step.truncated.any())
    assert step.state[0].tolist() == [1, 0, 0]


def test_one_round_is_the_whole_game() -> None:
    game, _ = make(game="chicken", rounds=1)
    _, step = play(game, 0, 1)
    assert bool(step.terminated.all())
    assert not bool(step.truncated.any())


def test_each_player_sees_the_joint_action_from_its_own_side() -> None:
    game, step = make(game="prisoners_dilemma", agent_identity=True)
    assert step.observation[0].argmax(1).tolist() == [4, 4]
    assert step.observation[0, :, 5:].tolist() == [[1, 0], [0, 1]]
    _, step = play(game, 0, 1)
    assert step.observation[0, :, :5].argmax(1).tolist() == [1, 2]
    assert step.state[0].tolist() == [0, 1, 0, 0, 0]


def test_without_memory_nothing_is_seen() -> None:
    game, step = make(game="prisoners_dilemma", memory=0)
    assert step.observation.shape == (3, 2, 1)
    _, after = play(game, 1, 1)
    assert torch.equal(step.observation, after.observation)


@pytest.mark.parametrize(
    ("action", "first_action", "expected"), [(0, 0, 100), (1, 0, 2), (0, 1, -100), (1, 1, 0)]
)
def test_constant_learners_against_fixed_players(action: int, first_action: int, expected: int) -> None:
    """Against tit-for-tat a cooperator earns R each round, a defector T once; against a defector S or P."""
    co_player = "tit_for_tat" if first_action == 0 else "constant"
    extra = {"co_player_action": 1} if first_action else {}
    game, _ = make(co_player=co_player, **extra)
    total, step = play(game, action, rounds=100)
    assert total[:, 0].tolist() == [expected] * 3
    assert step.metrics["cooperation_rate"].tolist() == [1 - action] * 3
    cooperating = {(0, 0): 1.0, (1, 0): 0.01, (0, 1): 0.0, (1, 1): 0.0}[action, first_action]
    assert step.metrics["co_player_cooperation_rate"][0] == pytest.approx(cooperating)


def test_win_stay_lose_shift_alternates_against_a_defector() -> None:
    """It plays C (S: shift), D (P: shift), C, ...: the defector earns T and P in turn."""
    game, _ = make(co_player="win_stay_lose_shift", rounds=10)
    assert play(game, 1, rounds=10)[0][:, 0].tolist() == [5 * 2 + 5 * 0] * 3
    assert play(game, 0, rounds=10)[0][:, 0].tolist() == [10 * 1] * 3


def test_tit_for_tat_copies_in_games_of_three_actions() -> None:
    game, _ = make(game="climbing", co_player="tit_for_tat", rounds=3)
    assert play(game, 2)[0][0, 0] == 0  # (2, 0)
    assert play(game, 1)[0][0, 0] == 6  # (1, 2)
    assert play(game, 0)[0][0, 0] == -30  # (0, 1)


@settings(max_examples=20, deadline=None)
@given(
    rule=st.sampled_from(
        [
            ("tit_for_tat", (1, 1, 0, 1, 0)),
            ("win_stay_lose_shift", (1, 1, 0, 0, 1)),
            ("constant", (1, 1, 1, 1, 1)),
        ]
    ),
    actions=st.lists(st.integers(0, 1), min_size=6, max_size=6),
)
def test_tabular_players_contain_the_fixed_ones(
    rule: tuple[str, tuple[float, ...]], actions: list[int]
) -> None:
    name, probabilities = rule
    fixed, _ = make(co_player=name, rounds=6)
    tabular, _ = make(co_player="tabular", co_player_probabilities=probabilities, rounds=6)
    for action in actions:
        assert torch.equal(play(fixed, action)[0], play(tabular, action)[0])


def test_a_tabular_player_cooperates_as_often_as_its_table_says() -> None:
    """Against a cooperator its own actions are a Markov chain whose stationary share is known."""
    after_cooperating, after_defecting = 0.9, 0.3
    game, _ = make(
        rows=64,
        co_player="tabular",
        co_player_probabilities=(0.5, after_cooperating, 0.0, after_defecting, 0.0),
        rounds=2000,
    )
    _, step = play(game, 0, rounds=2000)
    share = after_defecting / (1 - after_cooperating + after_defecting)
    assert step.metrics["co_player_cooperation_rate"].mean() == pytest.approx(share, abs=0.01)


def test_drawn_tabular_players_differ_between_rows_and_episodes_and_follow_the_key() -> None:
    game, _ = make(rows=8, co_player="tabular", rounds=4)
    first = game.memory["probability"].clone()
    play(game, 0, rounds=4)
    second = game.memory["probability"].clone()
    assert len(torch.unique(torch.cat([first, second]))) == first.numel() * 2
    assert bool(((first >= 0) & (first < 1)).all())
    again, _ = make(rows=8, co_player="tabular", rounds=4)
    assert torch.equal(again.memory["probability"], first)
    other, _ = make(rows=8, seed=1, co_player="tabular", rounds=4)
    assert not torch.equal(other.memory["probability"], first)


def test_other_payoffs_are_played() -> None:
    game, _ = make(game="chicken", payoffs=(((3, 4), (5, 6)), ((7, 8), (9, 10))), rounds=2)
    assert play(game, 1, 0)[0][0].tolist() == [7, 8]


def test_resolved_parameters_show_the_usual_values() -> None:
    assert MatrixGameParameters(game="climbing").model_dump()["rounds"] == 25
    assert MatrixGameParameters(game="penalty").penalty == -25
    assert MatrixGameParameters().memory == 1
    dumped = MatrixGameParameters(game="penalty", co_player="constant").model_dump()
    assert MatrixGameParameters(**dumped).model_dump() == dumped


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"game": "two_step", "rounds": 3}, "always lasts 2 rounds"),
        ({"game": "two_step", "memory": 1}, "memory must be 0"),
        ({"game": "two_step", "co_player": "tit_for_tat"}, "no co-players"),
        ({"game": "two_step", "payoffs": (((1, 1), (1, 1)), ((1, 1), (1, 1)))}, "cannot be given"),
        ({"game": "climbing", "co_player": "tabular"}, "knows two actions"),
        ({"game": "climbing", "payoffs": (((1, 1), (1, 1)), ((1, 1), (1, 1)))}, "3 lines of 3 pairs"),
        ({"game": "climbing", "penalty": -1}, "parameter of the game 'penalty'"),
        ({"game": "penalty", "penalty": 1}, "less than or equal to 0"),
        ({"co_player": "constant", "co_player_action": 2}, "at most 1"),
        ({"co_player": "tit_for_tat", "co_player_action": 1}, "belongs to co_player 'constant'"),
        ({"co_player": "tabular", "co_player_probabilities": (2, 0, 0, 0, 0)}, "lie in"),
        ({"co_player_probabilities": (0, 0, 0, 0, 0)}, "belong to co_player 'tabular'"),
        ({"co_player": "constant", "agent_identity": True}, "there is one"),
        ({"game": "chess"}, "prisoners_dilemma"),
        ({"payoffs": (((float("nan"), 1), (1, 1)), ((1, 1), (1, 1)))}, "finite"),
    ],
)
def test_contradictions_are_refused(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MatrixGameParameters(**parameters)
