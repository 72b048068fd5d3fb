"""How agents of Commons Harvest and Clean Up move, are stopped and reach each other, in cases worked by hand."""

from __future__ import annotations

import pytest
import torch

from marlbench.environments.social_dilemmas.grids.rules import WALL, ZAP

from .grid_worlds import (
    BACKWARD,
    EAST,
    FORWARD,
    LEFT,
    NORTH,
    RIGHT,
    SOUTH,
    STAY,
    TURN_LEFT,
    TURN_RIGHT,
    WEST,
    act,
    built,
    cell,
    marked,
    put,
    where,
)


def test_moves_by_hand():
    world = built("harvest", agents=3)
    put(world, (11, 5, NORTH), (11, 8, EAST), (12, 12, SOUTH))
    act(world, FORWARD, FORWARD, FORWARD)
    assert [where(world, agent) for agent in range(3)] == [(10, 5), (11, 9), (13, 12)]
    act(world, LEFT, LEFT, LEFT)
    assert [where(world, agent) for agent in range(3)] == [(10, 4), (10, 9), (13, 13)]
    act(world, BACKWARD, RIGHT, RIGHT)
    assert [where(world, agent) for agent in range(3)] == [(11, 4), (11, 9), (13, 12)]
    act(world, TURN_LEFT, TURN_RIGHT, STAY)
    assert world.memory["facing"][0].tolist() == [WEST, SOUTH, SOUTH]


def test_walls_and_others_stop_a_move():
    world = built("harvest", rows=64, agents=3)
    put(world, (13, 1, WEST), (12, 5, EAST), (12, 6, WEST))
    act(world, FORWARD, FORWARD, STAY)
    assert {where(world, 0, row) for row in range(64)} == {(13, 1)}
    assert {where(world, 1, row) for row in range(64)} == {(12, 5)}
    # Nobody swaps places with another.
    act(world, STAY, FORWARD, FORWARD)
    assert {(where(world, 1, row), where(world, 2, row)) for row in range(64)} == {((12, 5), (12, 6))}


def test_a_contested_cell_is_won_by_everybody_alike():
    rows = 6_000
    world = built("harvest", rows=rows, agents=3)
    put(world, (11, 5, EAST), (11, 7, WEST), (12, 6, NORTH))
    act(world, FORWARD, FORWARD, FORWARD)
    target = cell(world, 11, 6)
    won = (world.memory["place"] == target).float()
    assert bool((won.sum(1) == 1).all())
    torch.testing.assert_close(won.mean(0), torch.full((3,), 1 / 3), atol=4 * (2 / 9 / rows) ** 0.5, rtol=0)


def test_whoever_fires_first_is_drawn_too():
    """Two agents face each other and zap: one is out, either with the same probability."""
    rows = 6_000
    world = built("harvest", rows=rows, agents=2)
    put(world, (11, 5, EAST), (11, 7, WEST))
    act(world, ZAP, ZAP)
    out = (world.memory["timers"][:, :, 0] > 0).float()
    assert bool((out.sum(1) == 1).all())
    assert float(out[:, 0].mean()) == pytest.approx(0.5, abs=4 * 0.5 / rows**0.5)


def test_who_follows_whom_decides_whether_a_line_moves():
    """The follower gets the cell of who goes ahead if that one is first, which is so half of the time."""
    rows = 6_000
    world = built("harvest", rows=rows, agents=2)
    put(world, (11, 5, EAST), (11, 6, EAST))
    act(world, FORWARD, FORWARD)
    follows = (world.memory["place"][:, 0] == cell(world, 11, 6)).float()
    assert float(follows.mean()) == pytest.approx(0.5, abs=4 * 0.5 / rows**0.5)
    assert bool((world.memory["place"][:, 1] == cell(world, 11, 7)).all())


def test_the_cells_of_a_beam_by_hand():
    world = built("harvest", agents=1)
    put(world, (11, 10, NORTH))
    act(world, ZAP)
    ahead = {(10, 10), (9, 10), (8, 10)}
    sides = {(11, 9), (10, 9), (9, 9), (11, 11), (10, 11), (9, 11)}
    assert marked(world, 16) == ahead | sides
    act(world, STAY)
    assert marked(world, 16) == set()


def test_the_first_agent_stops_a_ray():
    world = built("harvest", agents=3)
    # Ahead, behind that one, and beside.
    put(world, (11, 10, EAST), (11, 12, NORTH), (11, 13, NORTH))
    act(world, ZAP, STAY, STAY)
    assert (world.memory["timers"][0, :, 0] > 0).tolist() == [False, True, False]
    world = built("harvest", agents=3)
    put(world, (11, 10, EAST), (12, 10, NORTH), (12, 11, NORTH))
    act(world, ZAP, STAY, STAY)
    assert (world.memory["timers"][0, :, 0] > 0).tolist() == [False, True, False]


def test_walls_stop_a_beam():
    world = built("harvest", agents=2)
    put(world, (16, 1, WEST), (14, 3, NORTH))
    act(world, ZAP, STAY)
    # Ahead is a wall; beside it, the wall's own corner and the way along it.
    assert marked(world, 16) == {(15, 1)} - marked(world, WALL)


@pytest.mark.parametrize(("game", "time_out"), [("harvest", 4), ("clean_up", 50)])
def test_whoever_is_zapped_misses_so_many_steps(game: str, time_out: int):
    world = built(game, agents=2)
    put(world, (11, 10, EAST), (11, 12, NORTH))
    step = act(world, ZAP, STAY)
    assert not bool(step.observation[0, 1].any())
    for _ in range(time_out - 1):
        step = act(world, STAY, FORWARD)
        assert not bool(step.observation[0, 1].any())
    step = act(world, STAY, STAY)
    assert bool(step.observation[0, 1].any())
    assert int(world.memory["place"][0, 1]) in world.layout.spawns
    assert float(world.memory["sums"][0, 1, 2]) == time_out


def test_a_beam_has_to_be_waited_for():
    world = built("harvest", agents=2)
    put(world, (11, 10, EAST), (11, 20, NORTH))
    ready = []
    for _ in range(7):
        step = act(world, ZAP, STAY)
        ready.append((bool(marked(world, 16)), float(step.observation[0, 0, -1])))
    assert ready == [(True, 0.0), (False, 0.5), (False, 1.0)] * 2 + [(True, 0.0)]


def test_fines_are_paid_in_the_variant_of_hughes():
    world = built("harvest", "hughes", agents=3)
    put(world, (14, 20, WEST), (14, 18, NORTH), (14, 17, NORTH))
    step = act(world, ZAP, STAY, STAY)
    assert step.reward[0].tolist() == [-1.0, -50.0, 0.0]
    assert world.memory["timers"][0, :, 0].tolist() == [0, 0, 0]
    other = built("harvest", agents=2, fine=3.0, zap_cost=0.5)
    put(other, (11, 10, EAST), (11, 12, NORTH))
    assert act(other, ZAP, STAY).reward[0].tolist() == [-0.5, -3.0]
