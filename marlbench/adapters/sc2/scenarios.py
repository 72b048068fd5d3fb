"""Which package plays a scenario, and with which arguments; imports nothing, so that workers may use it too."""

from __future__ import annotations

import re
from typing import Any

# Configurations of the authors of SMACv2 [code: examples/configs of smacv2 at 577ab5a]: the order of kinds matters for
# what a seed draws.
_RACES: dict[str, tuple[tuple[str, ...], tuple[float, ...], tuple[str, ...]]] = {
    "protoss": (("stalker", "zealot", "colossus"), (0.45, 0.45, 0.1), ()),
    "terran": (("marine", "marauder", "medivac"), (0.45, 0.45, 0.1), ("medivac",)),
    "zerg": (("zergling", "baneling", "hydralisk"), (0.45, 0.1, 0.45), ("baneling",)),
}
_DRAWN = re.compile(r"(protoss|terran|zerg)_([0-9]+)_vs_([0-9]+)")
# The map on which SMACv2 draws all its battles [code].
_FLAT_MAP = "32x32_flat"


def is_drawn(scenario: str) -> bool:
    """Whether teams are drawn for every episode: a scenario of SMACv2, and not a map of the first SMAC."""
    return _DRAWN.fullmatch(scenario) is not None


def package(scenario: str) -> str:
    """The package that plays it."""
    return "smacv2" if is_drawn(scenario) else "smac"


def map_file(scenario: str) -> str:
    """The file below the game's Maps/SMAC_Maps that it is played on."""
    return f"{_FLAT_MAP if is_drawn(scenario) else scenario}.SC2Map"


def arguments(scenario: str, difficulty: str, extended: bool, sparse: bool) -> dict[str, Any]:
    """The package's arguments, new objects at every call: the packages write into them.

    Args:
        difficulty: of the computer player, as the packages number it.
        extended: extended partial observability with p = 0 (SMACv2 alone).
        sparse: reward 1 for a win and -1 for a loss, undivided.
    """
    common = {"difficulty": difficulty, "reward_sparse": sparse, "reward_scale": not sparse}
    drawn = _DRAWN.fullmatch(scenario)
    if drawn is None:
        return {"map_name": scenario, **common}
    race, allies, enemies = drawn[1], int(drawn[2]), int(drawn[3])
    kinds, weights, exceptions = _RACES[race]
    team: dict[str, Any] = {
        "dist_type": "weighted_teams",
        "unit_types": list(kinds),
        "weights": list(weights),
        "observe": True,
    }
    if exceptions:
        team["exception_unit_types"] = list(exceptions)
    start = {"dist_type": "surrounded_and_reflect", "p": 0.5, "map_x": 32, "map_y": 32}
    return {
        "map_name": f"10gen_{race}",
        "obs_own_pos": True,
        "use_unit_ranges": True,
        "min_attack_range": 2,
        "prob_obs_enemy": 0.0 if extended else 1.0,
        "action_mask": not extended,
        "capability_config": {
            "n_units": allies,
            "n_enemies": enemies,
            "team_gen": team,
            "start_positions": start,
        },
        **common,
    }
