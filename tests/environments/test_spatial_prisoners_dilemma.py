"""Neighbourhoods and payoffs against brute force, and the order in which neighbours are observed."""

from __future__ import annotations

import pytest
import torch

from marlbench.environments.keys import row_keys
from marlbench.environments.social_dilemmas.neighbourhoods import lattice, random_regular, well_mixed
from marlbench.environments.social_dilemmas.spatial_prisoners_dilemma import (
    SpatialPrisonersDilemma,
    SpatialPrisonersDilemmaParameters,
)

CPU = torch.device("cpu")


def test_the_neighbours_of_a_lattice_are_up_right_down_left():
    found = lattice(4)
    #  0  1  2  3
    #  4  5  6  7
    #  8  9 10 11
    # 12 13 14 15
    assert found[5].tolist() == [1, 6, 9, 4]
    assert found[0].tolist() == [12, 1, 4, 3]
    assert found[15].tolist() == [11, 12, 3, 14]


@pytest.mark.parametrize(("agents", "degree"), [(9, 4), (16, 4), (100, 4), (12, 3)])
def test_a_random_regular_graph_is_simple_and_regular(agents: int, degree: int):
    networkx = pytest.importorskip("networkx")
    for key in range(5):
        found = random_regular(agents, degree, key)
        graph = networkx.Graph([(agent, int(other)) for agent in range(agents) for other in found[agent]])
        assert set(dict(graph.degree).values()) == {degree}
        assert networkx.number_of_selfloops(graph) == 0
        assert graph.number_of_edges() == agents * degree // 2
    assert not torch.equal(random_regular(agents, degree, 0), random_regular(agents, degree, 1))
    assert torch.equal(random_regular(agents, degree, 3), random_regular(agents, degree, 3))


def test_well_mixed_agents_meet_everybody_else_alike():
    found = well_mixed(row_keys([1], 0, 4000, CPU), 5, 4)
    assert not bool((found == torch.arange(5).view(1, 5, 1)).any())
    counts = torch.bincount(found[:, 2].flatten(), minlength=5).float()
    share = counts[[0, 1, 3, 4]] / 16_000
    assert bool(((share - 0.25).abs() < 4.5 * (0.25 * 0.75 / 16_000) ** 0.5).all())


@pytest.mark.parametrize("topology", ["lattice", "random_regular", "well_mixed"])
def test_payoffs_and_observations_by_brute_force(topology: str):
    strength = 0.3
    parameters = SpatialPrisonersDilemmaParameters(side=4, topology=topology, dilemma_strength=strength)
    environment = SpatialPrisonersDilemma(parameters, 2, CPU)
    step = environment.reset(row_keys([3], 0, 2, CPU))
    payoffs = {(0, 0): 1.0, (0, 1): -strength, (1, 0): 1 + strength, (1, 1): 0.0}
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        neighbours = environment.memory.get("neighbours", lattice(4).expand(2, -1, -1)).clone()
        last = step.observation[..., -1]
        for row in range(2):
            for agent in range(16):
                shown = step.observation[row, agent, :4].tolist()
                assert shown == [float(last[row, other]) for other in neighbours[row, agent]]
        action = torch.randint(2, (2, 16), generator=generator)
        step = environment.step(action)
        for row in range(2):
            for agent in range(16):
                paid = [
                    payoffs[int(action[row, agent]), int(action[row, other])]
                    for other in neighbours[row, agent]
                ]
                assert float(step.reward[row, agent]) == pytest.approx(sum(paid) / 4, abs=1e-6)
        assert torch.equal(step.observation[..., -1], action.float())
        assert step.metrics["cooperation_level"].tolist() == pytest.approx(
            (1 - action.float().mean(1)).tolist()
        )


def test_the_first_actions_are_fair_coins():
    environment = SpatialPrisonersDilemma(SpatialPrisonersDilemmaParameters(side=30), 20, CPU)
    step = environment.reset(row_keys([3], 0, 20, CPU))
    assert abs(float(step.state.mean()) - 0.5) < 4 * 0.5 / (20 * 900) ** 0.5
