"""Influence maps against plain sums over units, and actions against those of the contract they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from marlbench.environments.keys import row_keys
from marlbench.environments.smac.battle import HEALTH, SHIELD
from marlbench.environments.smac.influence import ACTIONS, ATTACK, observation_names
from marlbench.environments.smac.smac import Smac, SmacParameters
from marlbench.environments.smac.units import KINDS
from marlbench.environments.smac.view import TARGETS

CPU = torch.device("cpu")
SIZE, DECAY = 7, 0.8


def battles(scenario: str, rows: int, **options: object) -> tuple[Smac, Smac]:
    """The same battles by influence maps and by units."""
    parameters = {"representation": "influence_map", "map_size": SIZE, "map_decay": DECAY, **options}
    maps, units = (
        SmacParameters(scenario=scenario, **parameters),
        SmacParameters(scenario=scenario, **options),
    )
    return Smac(maps, rows, CPU), Smac(units, rows, CPU)


def some(available: Tensor, seed: int) -> Tensor:
    """An available action of each agent; attacks where there are any, in two of three cases."""
    noise = torch.rand(available.shape, generator=torch.Generator().manual_seed(seed))
    noise[..., TARGETS:] += 0.67 * torch.rand(
        available.shape[:-1], generator=torch.Generator().manual_seed(seed)
    ).unsqueeze(-1)
    return torch.where(available, noise, -1.0).argmax(-1)


def test_every_scenario_is_seen_and_played_alike() -> None:
    shapes = set()
    for scenario in ("3m", "MMM2", "protoss_10_vs_11", "zerg_5_vs_5"):
        one, _ = battles(scenario, 1)
        found = one.specification
        shapes.add((found.observation_size, found.state_size, found.action))
    ((seen, known, action),) = shapes
    assert (seen, known) == (5 + 4 + len(KINDS) + SIZE**2, 2 + SIZE**2)
    assert action.count == ACTIONS == 7
    assert len(observation_names(SIZE)) == seen


def summed(places: list[tuple[float, float, float]], half: float) -> Tensor:
    """The definition: over units (x, y, signed strength) and cells, with x and y from the middle in map units."""
    found = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    for row in range(SIZE):
        for column in range(SIZE):
            x, y = (2 * half * (index / (SIZE - 1)) - half for index in (column, row))
            for there_x, there_y, strength in places:
                found[row, column] += strength * DECAY ** (abs(there_x - x) + abs(there_y - y))
    return found.flatten()


@pytest.mark.parametrize("scenario", ["2s3z", "terran_5_vs_5"])
def test_maps_are_sums_over_units(scenario: str) -> None:
    maps, _ = battles(scenario, 3)
    step = maps.reset(row_keys([5], 0, 3, CPU))
    for time in range(22):
        step = maps.step(some(step.available_actions, time))
    battle, row = maps.battle, 1
    unit, traits = battle.unit[..., row].double(), battle.traits
    most = (traits["health"] + traits["shield"])[:, row].double()
    alive = unit[HEALTH] > 0
    strength = torch.where(alive, (unit[HEALTH] + unit[SHIELD]) / most, 0.0)
    strength[battle.allies :] *= -1.0
    everybody = [
        (float(unit[0, u]) - 16, float(unit[1, u]) - 16, float(strength[u])) for u in range(battle.units)
    ]
    assert torch.allclose(step.state[row, 2:].double(), summed(everybody, 16.0), atol=1e-5)
    assert float(step.state[row, 0]) == pytest.approx(float(alive[: battle.allies].double().mean()))
    sights = maps.view.units.sight  # type: ignore[union-attr]
    looked = 0
    for ally in range(battle.allies):
        shown = step.observation[row, ally]
        if not alive[ally]:
            assert not shown.any()
            continue
        sight = float(sights[ally, row])
        x, y = float(unit[0, ally]), float(unit[1, ally])
        others = [
            (float(unit[0, u]) - x, float(unit[1, u]) - y, float(strength[u]))
            for u in range(battle.units)
            if u != ally and (unit[0, u] - x) ** 2 + (unit[1, u] - y) ** 2 < sight**2
        ]
        looked += len(others)
        assert torch.allclose(shown[-(SIZE**2) :].double(), summed(others, sight), atol=1e-5)
        assert float(shown[5]) == pytest.approx(float(unit[HEALTH, ally] / traits["health"][ally, row]))
        assert int(shown[9 : 9 + len(KINDS)].argmax()) == int(battle.kind[ally, row])
    assert looked


@pytest.mark.parametrize("epo", [False, True])
@pytest.mark.parametrize("scenario", ["2s3z", "MMM2", "terran_5_vs_5"])
def test_attacks_are_those_of_the_contract(scenario: str, epo: bool) -> None:
    """The battles stay the same to the bit where attacks are played as attacks on the nearest, or most hurt."""
    maps, units = battles(scenario, 4, extended_partial_observability=epo)
    keys = row_keys([2], 0, 4, CPU)
    step, contract = maps.reset(keys), units.reset(keys)
    attacked = 0
    for time in range(35):
        assert torch.equal(step.available_actions[..., :TARGETS], contract.available_actions[..., :TARGETS])
        offered = contract.available_actions[..., TARGETS:]
        assert torch.equal(step.available_actions[..., ATTACK], offered.any(-1))
        action = some(step.available_actions, time)
        told = action.clone()
        for row, ally in (action == ATTACK).nonzero().tolist():
            told[row, ally] = TARGETS + wanted(units, offered[row, ally], row, ally)
            attacked += 1
        step, contract = maps.step(action), units.step(told)
        assert torch.equal(step.reward, contract.reward)
        assert torch.equal(maps.memory["unit"], units.memory["unit"])
        assert torch.equal(step.ended, contract.ended)
    assert attacked > 30


def wanted(env: Smac, offered: Tensor, row: int, ally: int) -> int:
    battle = env.battle
    heals = battle.heals is not None and bool(battle.heals[ally, row])
    place = battle.unit[:2, :, row]

    def rank(target: int) -> float:
        if heals:
            return float(battle.unit[HEALTH, target, row] / battle.traits["health"][target, row])
        return float((place[:, battle.allies + target] - place[:, ally]).square().sum())

    return min(offered.nonzero().squeeze(1).tolist(), key=rank)
