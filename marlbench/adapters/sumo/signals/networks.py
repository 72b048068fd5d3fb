"""The networks of RESCO (Ault and Sharon 2021), which ship with the package sumo-rl."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from marlbench.adapters.games import how_to_install
from marlbench.errors import ConfigurationError


@dataclass(frozen=True)
class Network:
    """When a network is simulated and how often its signals decide [code: RESCO's map_config].

    Attributes:
        begin, end: seconds since midnight.
        decision_interval: seconds.
        yellow: seconds.
        minimum_green: seconds; RESCO has none, so nothing that its signals may do is forbidden here.
        routes: ending of the file of demand.
        shortest_lane: metres. Only Ingolstadt's larger networks have incoming lanes on which nobody can stand.
        commented_phases: whether sumo-rl's copy of the network lacks phases that RESCO's has, and has them in comments.
    """

    begin: int
    end: int
    decision_interval: int = 10
    yellow: int = 3
    minimum_green: int = 5
    routes: str = ".rou.xml"
    shortest_lane: float = 0.0
    commented_phases: bool = False


_MORNING, _AFTERNOON = (25_200, 28_800), (57_600, 61_200)

NETWORKS = {
    "cologne1": Network(*_MORNING),
    "cologne3": Network(*_MORNING),
    "cologne8": Network(*_MORNING),
    "ingolstadt1": Network(*_AFTERNOON),
    "ingolstadt7": Network(*_AFTERNOON, shortest_lane=5.0, commented_phases=True),
    "ingolstadt21": Network(*_AFTERNOON, shortest_lane=5.0, commented_phases=True),
    "grid4x4": Network(0, 3_600, routes="_1.rou.xml"),
    "arterial4x4": Network(0, 3_600, decision_interval=5, yellow=2, minimum_green=3, routes="_1.rou.xml"),
}


def files(name: str) -> tuple[Path, Path]:
    """The network and its demand.

    Raises ConfigurationError where sumo-rl is not installed or lacks them. The package is not imported.
    """
    spec = importlib.util.find_spec("sumo_rl")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            f"the network {name} comes with the package 'sumo-rl', which is not installed.",
            hint=how_to_install("sumo_rl"),
        )
    folder = Path(next(iter(spec.submodule_search_locations)), "nets", "RESCO", name)
    found = folder / f"{name}.net.xml", folder / f"{name}{NETWORKS[name].routes}"
    for path in found:
        if not path.is_file():
            raise ConfigurationError(
                f"sumo-rl is installed, but {path.name} is not in it.", hint="pip install 'sumo-rl>=1.4.5'"
            )
    return found
