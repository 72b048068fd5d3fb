"""Commons Harvest and Clean Up as tests set them up, and their published numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from marlbench.environments.keys import row_keys
from marlbench.environments.social_dilemmas.clean_up import CleanUp, CleanUpParameters
from marlbench.environments.social_dilemmas.grids import layouts
from marlbench.environments.social_dilemmas.grids.world import GridWorld
from marlbench.environments.social_dilemmas.harvest import Harvest, HarvestParameters

from .plain_grid import PlainGrid

CPU = torch.device("cpu")
STAY, FORWARD, BACKWARD, LEFT, RIGHT, TURN_LEFT, TURN_RIGHT = range(7)
NORTH, EAST, SOUTH, WEST = range(4)
NUMBERS = {
    ("harvest", "melting_pot"): {
        "beam_length": 3, "zap_wait": 2, "clean_wait": 0, "time_out": 4, "zap_cost": 0, "fine": 0,
        "agents_stop_cleaning": True, "chances": [0.0, 0.0025, 0.005, 0.025], "squared_radius": 4,
    },
    ("harvest", "hughes"): {
        "beam_length": 5, "zap_wait": 0, "clean_wait": 0, "time_out": 0, "zap_cost": 1, "fine": 50,
        "agents_stop_cleaning": True, "chances": [0.0, 0.005, 0.02, 0.05], "squared_radius": 2,
    },
    ("clean_up", "melting_pot"): {
        "beam_length": 3, "zap_wait": 10, "clean_wait": 2, "time_out": 50, "zap_cost": 0, "fine": 0,
        "agents_stop_cleaning": False,
    },
    ("clean_up", "hughes"): {
        "beam_length": 5, "zap_wait": 0, "clean_wait": 0, "time_out": 0, "zap_cost": 1, "fine": 50,
        "agents_stop_cleaning": True,
    },
}  # fmt: skip
MAPS = {
    ("harvest", "melting_pot"): layouts.HARVEST_MELTING_POT,
    ("harvest", "hughes"): layouts.HARVEST_HUGHES,
    ("clean_up", "melting_pot"): layouts.CLEAN_UP_MELTING_POT,
    ("clean_up", "hughes"): layouts.CLEAN_UP_HUGHES,
}
WINDOWS = {"melting_pot": (5, 5, 9, 1), "hughes": (7, 7, 7, 7)}


def built(game: str, variant: str = "melting_pot", rows: int = 1, seed: int = 0, **parameters) -> GridWorld:
    if game == "harvest":
        world: GridWorld = Harvest(HarvestParameters(variant=variant, **parameters), rows, CPU)
    else:
        world = CleanUp(CleanUpParameters(variant=variant, **parameters), rows, CPU)
    world.reset(row_keys([seed], 0, rows, CPU))
    return world


def cell(world: GridWorld, y: int, x: int) -> int:
    """The index of a cell of the map without its margin."""
    return (y + world.layout.margin) * world.layout.width + x + world.layout.margin


def coordinates(world: GridWorld, index: int) -> tuple[int, int]:
    y, x = divmod(index, world.layout.width)
    return y - world.layout.margin, x - world.layout.margin


def put(world: GridWorld, *agents: tuple[int, int, int]) -> None:
    """Place agents (row, column, where they face) in every row."""
    for number, (y, x, facing) in enumerate(agents):
        world.memory["place"][:, number] = cell(world, y, x)
        world.memory["facing"][:, number] = facing


def act(world: GridWorld, *actions: int):
    return world.step(torch.tensor(actions).expand(world.rows, -1).contiguous())


def where(world: GridWorld, agent: int, row: int = 0) -> tuple[int, int]:
    return coordinates(world, int(world.memory["place"][row, agent]))


def marked(world: GridWorld, bit: int, row: int = 0) -> set[tuple[int, int]]:
    found = np.flatnonzero(world.memory["cells"][row].numpy() & bit)
    return {coordinates(world, index) for index in found.tolist()}


def has(world: GridWorld, bit: int, y: int, x: int) -> Tensor:
    return (world.memory["cells"][:, cell(world, y, x)] & bit) > 0


def plain_copy(world: GridWorld, game: str, variant: str) -> PlainGrid:
    plain = PlainGrid(MAPS[game, variant], NUMBERS[game, variant], ripe=game == "harvest")
    for agent in range(world.agents):
        facing = int(world.memory["facing"][0, agent])
        plain.agents.append({"place": where(world, agent), "facing": facing, "out": 0, "zap": 0, "clean": 0})
    return plain
