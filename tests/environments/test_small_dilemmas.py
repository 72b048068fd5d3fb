"""The public goods game by hand, and the coin game against a plain one that moves coins about one at a time."""

from __future__ import annotations

import pytest
import torch

from marlbench.environments.keys import row_keys
from marlbench.environments.social_dilemmas.coin_game import CoinGame, CoinGameParameters
from marlbench.environments.social_dilemmas.public_goods import PublicGoods, PublicGoodsParameters

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("actions", "payoffs"),
    [
        ([0, 0, 0, 0], [1.6, 1.6, 1.6, 1.6]),
        ([1, 1, 1, 1], [1.0, 1.0, 1.0, 1.0]),
        ([0, 1, 1, 1], [0.4, 1.4, 1.4, 1.4]),
        ([0, 0, 1, 1], [0.8, 0.8, 1.8, 1.8]),
    ],
)
def test_contributions_are_multiplied_and_shared(actions: list[int], payoffs: list[float]):
    environment = PublicGoods(PublicGoodsParameters(agents=4, factor=1.6), 1, CPU)
    environment.reset(row_keys([0], 0, 1, CPU))
    step = environment.step(torch.tensor([actions]))
    assert step.reward[0].tolist() == pytest.approx(payoffs)
    own, others = step.observation[0, :, 0], step.observation[0, :, 2]
    gave = [float(action == 0) for action in actions]
    assert own.tolist() == gave
    assert others.tolist() == pytest.approx([(sum(gave) - mine) / 3 for mine in gave])


def test_the_metrics_are_means_over_rounds():
    environment = PublicGoods(PublicGoodsParameters(agents=2, factor=1.5, rounds=4), 1, CPU)
    environment.reset(row_keys([0], 0, 1, CPU))
    rewards = []
    for actions in ([0, 0], [0, 1], [1, 1], [1, 0]):
        step = environment.step(torch.tensor([actions]))
        rewards.append(step.reward.mean())
    assert float(step.metrics["cooperation_rate"]) == 0.5
    assert float(step.metrics["payoff_mean"]) == pytest.approx(float(torch.stack(rewards).mean()))


def test_a_factor_that_leaves_no_dilemma_is_refused():
    with pytest.raises(ValueError, match="no dilemma"):
        PublicGoodsParameters(agents=3, factor=3.0)


@pytest.mark.parametrize("side", [2, 3, 5])
def test_the_coin_game_by_hand(side: int):
    rows, length = 20, 60
    environment = CoinGame(CoinGameParameters(side=side, length=length), rows, CPU)
    step = environment.reset(row_keys([4], 0, rows, CPU))
    generator = torch.Generator().manual_seed(0)
    moves = [(-1, 0), (0, 1), (1, 0), (0, -1)]
    taken = torch.zeros(rows, 2)
    own = torch.zeros(rows, 2)

    def parsed(observation):
        """(own cell, other's cell, coin's cell, whether the coin is of one's own colour), by hand."""
        planes = observation.view(4, side, side)
        assert planes[0].sum() == planes[1].sum() == planes[2:].sum() == 1
        cells = [divmod(int(plane.argmax()), side) for plane in (planes[0], planes[1], planes[2] + planes[3])]
        return (*cells, bool(planes[2].sum() == 1))

    for _ in range(length):
        before = [[parsed(step.observation[row, agent]) for agent in range(2)] for row in range(rows)]
        action = torch.randint(4, (rows, 2), generator=generator)
        step = environment.step(action)
        shown = step.final_observation
        for row in range(rows):
            reward = [0.0, 0.0]
            (red, blue, coin, of_red), (mirrored_blue, mirrored_red, same, of_blue) = before[row]
            assert (mirrored_blue, mirrored_red, same, of_blue) == (blue, red, coin, not of_red)
            places = []
            for agent, place in enumerate((red, blue)):
                down, right = moves[int(action[row, agent])]
                place = ((place[0] + down) % side, (place[1] + right) % side)
                places.append(place)
                if place == coin:
                    reward[agent] += 1
                    taken[row, agent] += 1
                    if of_red == (agent == 0):
                        own[row, agent] += 1
                    else:
                        reward[1 - agent] -= 2
            assert step.reward[row].tolist() == reward
            after = parsed(shown[row, 0])
            assert list(after[:2]) == places
            if coin in places:
                assert after[2] not in places
            else:
                assert (after[2], after[3]) == (coin, of_red)
    assert taken.sum() > 50
    torch.testing.assert_close(step.metrics["own_share"], own.sum(1) / taken.sum(1).clamp(min=1))
    torch.testing.assert_close(step.metrics["coins_per_step"], taken.sum(1) / (2 * length))


def test_coins_appear_on_every_free_cell_alike():
    rows = 30_000
    environment = CoinGame(CoinGameParameters(), rows, CPU)
    environment.reset(row_keys([2], 0, rows, CPU))
    place, coin = environment.memory["place"], environment.memory["coin"]
    assert not bool((place == coin.unsqueeze(1)).any())
    here = ((place[:, 0] == 4) & (place[:, 1] == 7)) | ((place[:, 0] == 7) & (place[:, 1] == 4))
    counts = torch.bincount(coin[here], minlength=9)
    free = counts[[0, 1, 2, 3, 5, 6, 8]]
    mean = float(here.sum()) / 7
    # Chi-square with 6 degrees of freedom: beyond 25 once in 3,000.
    assert float(((free - mean) ** 2 / mean).sum()) < 25
    assert int(counts[[4, 7]].sum()) == 0
