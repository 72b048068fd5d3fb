"""Commons Harvest and Clean Up against a plain grid; growth, waste and measures in cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marlbench.environments.keys import derive
from marlbench.environments.social_dilemmas.grids import layouts
from marlbench.environments.social_dilemmas.grids.rules import APPLE, CLEAN, RIVER, WALL, WASTE, ZAP, Layout
from marlbench.environments.social_dilemmas.grids.world import GridWorld
from marlbench.environments.social_dilemmas.measures import equality, peace, sustainability

from .grid_worlds import (
    EAST,
    FORWARD,
    MAPS,
    NORTH,
    NUMBERS,
    STAY,
    WINDOWS,
    act,
    built,
    cell,
    coordinates,
    has,
    marked,
    plain_copy,
    put,
    where,
)


@pytest.mark.parametrize(("game", "variant"), list(NUMBERS))
def test_the_same_as_a_plain_grid(game: str, variant: str):
    """Rewards, places, apples, waste and all pictures over random play, much of it beams in a crowd."""
    length = 100
    world = built(game, variant, seed=3, length=length + 1)
    plain = plain_copy(world, game, variant)
    generator = torch.Generator().manual_seed(7)
    key = int(world.memory["key"][0])
    weights = torch.tensor([1.0, 6, 1, 2, 2, 2, 2, 3, 4][: world.specification.action.count])
    eaten = fired = 0
    for time in range(length):
        if game == "clean_up":
            # Waste that appears is a draw of its own, tested below.
            plain.waste = marked(world, WASTE)
        actions = torch.multinomial(weights, world.agents, replacement=True, generator=generator)
        if time < 30:
            # Walk towards each other first.
            actions = torch.where(torch.rand(world.agents, generator=generator) < 0.5, FORWARD, actions)
        waste_before = set(plain.waste)
        reward = plain.step(actions.tolist(), key)
        step = world.step(actions.unsqueeze(0))
        assert step.reward[0].tolist() == reward
        eaten += sum(value == 1 for value in reward)
        fired += len(plain.zapped)
        for number, agent in enumerate(plain.agents):
            assert (int(world.memory["timers"][0, number, 0]) > 0) == (agent["out"] > 0)
            if not agent["out"]:
                assert where(world, number) == agent["place"]
                assert int(world.memory["facing"][0, number]) == agent["facing"]
        assert marked(world, APPLE) == plain.apples
        new = marked(world, WASTE) - plain.waste
        assert plain.waste <= waste_before
        assert len(new) <= 1
        plain.waste |= new
        if time % 5:
            continue
        left, right, ahead, behind = WINDOWS[variant]
        size = int(np.prod(world.specification.image))
        for number, agent in enumerate(plain.agents):
            picture = step.observation[0, number, :size].view(world.specification.image)
            if agent["out"]:
                assert not bool(step.observation[0, number].any())
            else:
                expected = plain.window(number, left, right, ahead, behind, game == "clean_up")
                assert torch.equal(picture, torch.tensor(expected))
    assert fired > 20
    assert eaten > 3 or game == "clean_up"


def test_the_maps_have_the_published_numbers_of_cells():
    """Counted in the sources: 64 apples in the open harvest; the orchard and the river of Clean Up."""
    layout = Layout(layouts.HARVEST_MELTING_POT, 9)
    assert (len(layout.apples), len(layout.inside), len(layout.spawns)) == (64, 2, 60)
    for text in MAPS.values():
        lines = text.splitlines()
        assert {len(line) for line in lines} == {len(lines[0])}
        assert set(lines[0] + lines[-1] + "".join(line[0] + line[-1] for line in lines)) == {"#"}
    river = Layout(layouts.CLEAN_UP_MELTING_POT, 9)
    covered = (river.cells & WASTE > 0).sum() / len(river.waste)
    assert 0.4 < covered < 0.6


def test_apples_are_eaten_and_paid():
    world = built("harvest", agents=1)
    put(world, (6, 2, EAST))
    world.memory["cells"][0, cell(world, 6, 3)] |= APPLE
    assert act(world, FORWARD).reward.tolist() == [[1.0]]
    assert (6, 3) not in marked(world, APPLE)


@pytest.mark.parametrize(
    ("variant", "near", "chance"),
    [
        ("melting_pot", [], 0.0),
        ("melting_pot", [(0, 2)], 0.0025),
        ("melting_pot", [(0, 2), (1, 1)], 0.005),
        ("melting_pot", [(0, 2), (1, 1), (-2, 0)], 0.025),
        ("melting_pot", [(0, 2), (1, 1), (-2, 0), (0, -1)], 0.025),
        # Too far: a knight's move is the root of five away.
        ("melting_pot", [(1, 2), (2, 2), (0, 3)], 0.0),
        ("hughes", [(0, 1)], 0.005),
        ("hughes", [(0, 1), (1, 1)], 0.02),
        ("hughes", [(0, 1), (1, 1), (-1, 0)], 0.05),
        ("hughes", [(0, 2), (2, 0)], 0.0),
    ],
)
def test_an_apple_grows_back_as_often_as_its_neighbours_say(variant: str, near: list, chance: float):
    """Shares over many rows, within the interval that a binomial leaves once in some ten thousand times."""
    rows = 20_000
    world = built("harvest", variant, rows=rows, agents=1)
    y, x = (3, 6) if variant == "melting_pot" else (4, 7)
    bare = torch.from_numpy(world.layout.cells).clone()
    for down, right in near:
        bare[cell(world, y + down, x + right)] |= APPLE
    world.memory["cells"] = bare.expand(rows, -1).clone()
    put(world, (13, 3, NORTH))
    assert cell(world, y, x) in world.layout.apples
    act(world, STAY)
    grown = int(has(world, APPLE, y, x).sum())
    deviation = (rows * chance * (1 - chance)) ** 0.5
    assert abs(grown - rows * chance) <= 4 * deviation


def test_apples_do_not_grow_under_agents():
    world = built("harvest", rows=4_000, agents=1)
    put(world, (2, 2, NORTH))
    world.memory["cells"][:, cell(world, 2, 2)] &= 255 - APPLE
    act(world, STAY)
    assert not bool(has(world, APPLE, 2, 2).any())


@pytest.mark.parametrize("covered", [0, 20, 40, 60, 200])
@pytest.mark.parametrize("variant", ["melting_pot", "hughes"])
def test_the_orchard_grows_with_the_cleanliness_of_the_river(variant: str, covered: int):
    rows = 400
    world = built("clean_up", variant, rows=rows, agents=1)
    river = world.layout.waste
    covered = min(covered, len(river))
    cells = torch.from_numpy(world.layout.cells & (255 - WASTE)).clone()
    cells[torch.from_numpy(river[:covered])] |= WASTE
    world.memory["cells"] = cells.expand(rows, -1).clone()
    y, x = coordinates(world, int(world.layout.spawns[0]))
    put(world, (y, x, NORTH))
    act(world, STAY)
    grown = int(((world.memory["cells"] & APPLE) > 0).sum())
    share = covered / len(river)
    chance = max(0.0, 0.05 * (0.4 - share) / 0.4)
    trials = rows * len(world.layout.apples)
    assert abs(grown - trials * chance) <= 4 * (trials * chance * (1 - chance)) ** 0.5


def new_waste(world: GridWorld, before: Tensor) -> Tensor:
    """Cells that waste has come to: bool [row, cell]."""
    return ((world.memory["cells"] & WASTE) > 0) & ((before & WASTE) == 0)


def test_waste_comes_with_its_probability_after_a_delay_and_to_every_cell_alike():
    rows = 8_000
    world = built("clean_up", rows=rows, agents=1)
    before = world.memory["cells"].clone()
    world.memory["time"][:] = 49
    act(world, STAY)
    assert not bool(new_waste(world, before).any())
    act(world, STAY)
    came = new_waste(world, before)
    assert int(came.sum(1).max()) == 1
    assert float(came.sum()) / rows == pytest.approx(0.5, abs=4 * 0.5 / rows**0.5)
    clean = torch.from_numpy(world.layout.waste)[(before[0, world.layout.waste] & WASTE) == 0]
    counts = came[:, clean].sum(0).double()
    mean = counts.mean()
    assert counts.sum() == came.sum()
    # Chi-square with n - 1 degrees of freedom, mean n - 1 and variance 2 (n - 1).
    squares, free = float(((counts - mean) ** 2 / mean).sum()), len(clean) - 1
    assert abs(squares - free) < 4.5 * (2 * free) ** 0.5


def test_in_the_variant_of_hughes_waste_comes_until_nothing_grows():
    rows = 500
    world = built("clean_up", "hughes", rows=rows, agents=1)
    river = torch.from_numpy(world.layout.waste)
    for covered, comes in ((0.35, True), (0.45, False)):
        cells = torch.from_numpy(world.layout.cells & (255 - WASTE)).clone()
        cells[river[: round(covered * len(river))]] |= WASTE
        world.memory["cells"] = cells.expand(rows, -1).clone()
        before = world.memory["cells"].clone()
        put(world, (*coordinates(world, int(world.layout.spawns[0])), NORTH))
        act(world, STAY)
        assert bool(new_waste(world, before).any(1).all()) == comes
        assert comes or not bool(new_waste(world, before).any())


def test_the_cleaning_beam_removes_the_first_waste_of_each_ray():
    world = built("clean_up", agents=1)
    clean = torch.from_numpy(world.layout.cells & (255 - WASTE)).clone()
    for y, x in ((3, 10), (2, 10), (3, 9), (2, 11)):
        assert clean[cell(world, y, x)] & RIVER
        clean[cell(world, y, x)] |= WASTE
    world.memory["cells"] = clean.unsqueeze(0).clone()
    put(world, (4, 10, NORTH))
    act(world, CLEAN)
    assert marked(world, WASTE) == {(2, 10)}
    assert float(world.memory["sums"][0, 0, 4]) == 3
    # A ray ends at what it cleans.
    assert marked(world, 32) == {(3, 10), (4, 9), (3, 9), (4, 11), (3, 11), (2, 11)}


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(list(NUMBERS)), st.integers(0, 10**6))
def test_what_always_holds(which: tuple[str, str], seed: int):
    world = built(*which, rows=2, seed=seed, length=60)
    generator = torch.Generator().manual_seed(seed)
    layout = world.layout
    returns = torch.zeros(2, world.agents)
    for _ in range(60):
        before = world.memory["cells"].clone()
        waits = world.memory["timers"][:, :, 0].clone()
        step = world.step(
            torch.randint(world.specification.action.count, (2, world.agents), generator=generator)
        )
        returns += step.reward
        if step.any_ended:
            break
        cells, out = world.memory["cells"].numpy(), world.memory["timers"][:, :, 0].numpy() > 0
        for row in range(2):
            places = world.memory["place"][row].numpy()[~out[row]]
            assert len(set(places.tolist())) == len(places)
            assert not (cells[row, places] & WALL).any()
            assert set(np.flatnonzero(cells[row] & APPLE)) <= set(layout.apples)
            assert not (cells[row, places] & APPLE).any()
            assert set(np.flatnonzero(cells[row] & WASTE)) <= set(layout.waste)
        assert torch.equal(before & (WALL | RIVER), world.memory["cells"] & (WALL | RIVER))
        missed = waits > 0
        assert not bool(step.reward[missed].clamp(min=0).any())
    torch.testing.assert_close(step.metrics["efficiency"], returns.sum(1) / 60)
    assert bool((step.metrics["peace"] <= 1).all())
    assert bool((step.metrics["equality"] <= 1).all())


def test_measures_by_hand():
    """Agent 0 collects at steps 1 and 3, agent 1 at step 4, agent 2 never and is out of the game for two steps."""
    times, count = torch.tensor([[4.0, 4.0, 0.0]]), torch.tensor([[2.0, 1.0, 0.0]])
    assert sustainability(times, count).tolist() == [2.0]
    assert peace(torch.tensor([[0.0, 0.0, 2.0]]), 4).tolist() == pytest.approx([1 - 2 / 12])
    # |2-1| + |2-0| + |1-0| = 4, each pair twice, over 2 x 3 x 3.
    assert equality(count).tolist() == pytest.approx([1 - 8 / 18])


def test_the_metrics_of_an_episode():
    world = built("harvest", agents=2, length=4)
    put(world, (6, 2, EAST), (13, 10, EAST))
    for x in (3, 4):
        world.memory["cells"][0, cell(world, 6, x)] |= APPLE
    act(world, FORWARD, STAY)
    act(world, STAY, STAY)
    act(world, FORWARD, STAY)
    step = act(world, STAY, ZAP)
    found = {name: float(value[0]) for name, value in step.metrics.items()}
    assert found == pytest.approx(
        {
            "efficiency": 2 / 4,
            "equality": 0.5,
            "sustainability": (1 + 3) / 2 / 2,
            "peace": 1.0,
            "apples_mean": 1.0,
            "zaps_mean": 0.5,
        }
    )


def test_two_of_melting_pots_agents_begin_inside_and_all_others_below():
    world = built("harvest", rows=300)
    inside = torch.from_numpy(world.layout.inside)
    within = torch.isin(world.memory["place"], inside)
    assert bool((within.sum(1) == 2).all())
    torch.testing.assert_close(within.float().mean(0), torch.full((7,), 2 / 7), atol=0.12, rtol=0)
    assert bool(
        torch.isin(world.memory["place"], torch.cat([inside, torch.from_numpy(world.layout.spawns)])).all()
    )
    assert all(len(set(row.tolist())) == 7 for row in world.memory["place"])


def test_everybody_stands_at_every_place_of_the_order_alike():
    from marlbench.environments.social_dilemmas.grids.dynamics import draw_order

    rows, agents = 6_000, 4
    keys = derive(torch.tensor(5), torch.arange(rows)).numpy().astype(np.uint64)
    counts = np.zeros((agents, agents))
    order = np.empty(agents, np.int64)
    for key in keys:
        draw_order(key, order)
        assert sorted(order) == list(range(agents))
        counts[order, np.arange(agents)] += 1
    assert np.abs(counts / rows - 0.25).max() < 4.5 * (0.1875 / rows) ** 0.5


def test_a_picture_can_be_drawn():
    for game in ("harvest", "clean_up"):
        world = built(game)
        act(world, *([ZAP] * 7))
        picture = world.render(0)
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
