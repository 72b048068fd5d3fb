"""The vehicles of an episode and their routes, drawn from a context."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from marlbench.adapters.sumo.ecodriving.contexts import Context
from marlbench.adapters.sumo.ecodriving.intersection import Approach, Intersection, Movement
from marlbench.adapters.sumo.ecodriving.settings import Settings
from marlbench.errors import ConfigurationError

_DEPART_SPEED = 5.0

# Kinds of vehicles [code: the authors' mix of source types 21 and 31, 32, 42, with petrol and diesel]:
# share, length in metres, whether it drives like a car.
_MIX = {
    ("car", "petrol"): (0.8664, 5.0, True),
    ("car", "diesel"): (0.0310, 5.0, True),
    ("light_truck", "petrol"): (0.0929, 7.1, False),
    ("light_truck", "diesel"): (0.0062, 7.1, False),
    ("bus", "diesel"): (0.0035, 12.0, False),
}

# SUMO's emission classes of the kinds [ours: average European stock of Euro 4; PHEMlight5 ships with two cars only].
_CLASSES = {
    "HBEFA4": {
        ("car", "petrol"): "HBEFA4/PC_petrol_Euro-4",
        ("car", "diesel"): "HBEFA4/PC_diesel_Euro-4",
        ("light_truck", "petrol"): "HBEFA4/LCV_petrol_N1-III_Euro-4",
        ("light_truck", "diesel"): "HBEFA4/LCV_diesel_N1-III_Euro-4",
        ("bus", "diesel"): "HBEFA4/UBus_Std_gt15-18t_Euro-IV_EGR",
    },
    "PHEMlight5": {
        ("car", "petrol"): "PHEMlight5/PC_EU4_G",
        ("car", "diesel"): "PHEMlight5/PC_EU4_D_MW",
        ("light_truck", "petrol"): "PHEMlight5/PC_EU4_G",
        ("light_truck", "diesel"): "PHEMlight5/PC_EU4_D_MW",
        ("bus", "diesel"): "PHEMlight5/PC_EU4_D_MW",
    },
}
NO_EMISSIONS = "Zero/default"

# The intelligent driver model of those who are not controlled: mean and deviation over drivers [code: the authors draw
# from calibrated drivers, of which these are the moments].
_DRIVERS = {
    True: {"accel": (0.744, 0.007), "decel": (1.665, 0.083), "tau": (0.296, 0.041), "minGap": (2.204, 0.178)},
    False: {
        "accel": (0.746, 0.007),
        "decel": (1.544, 0.223),
        "tau": (0.570, 0.139),
        "minGap": (1.299, 0.554),
    },
}
_LEAST = {"accel": 0.5, "decel": 0.8, "tau": 0.1, "minGap": 0.2}

# Of those who are controlled, while they drive by themselves [code].
_CONTROLLED = {"accel": 2.6, "decel": 4.5, "tau": 1.0, "minGap": 2.0}
_CONTROLLED_LENGTH = 5.0


@dataclass(frozen=True)
class Vehicle:
    """A vehicle of the demand.

    Attributes:
        name: SUMO's.
        depart: seconds.
        lane: on which it departs.
        entry: edge on which it departs.
        approach: number of its approach.
        movement: where it leaves.
        controlled: whether it may take a slot.
        length: metres.
        emissions: SUMO's emission class.
        driver: of the intelligent driver model, where a human drives.
    """

    name: str
    depart: float
    lane: int
    entry: str
    approach: int
    movement: Movement
    controlled: bool
    length: float
    emissions: str
    driver: dict[str, float]


@dataclass(frozen=True)
class Demand:
    """The traffic of an episode.

    Attributes:
        vehicles: by name, in the order of their departures.
        approaches: numbers of the approaches that have traffic.
    """

    vehicles: dict[str, Vehicle]
    approaches: tuple[int, ...]


def draw(
    context: Context,
    intersection: Intersection,
    settings: Settings,
    random: np.random.Generator,
) -> Demand:
    """Poisson traffic on every lane of the approaches that have some.

    Raises ConfigurationError where the context has fewer flows than the intersection has approaches.
    """
    flows = _flows(context, intersection)
    chosen = range(len(flows))
    if settings.approaches == "one":
        busy = [number for number, flow in enumerate(flows) if flow > 0] or list(chosen)
        chosen = range(first := int(random.choice(busy)), first + 1)
    arrivals: list[tuple[float, int, int, str, Movement]] = []
    for number in chosen:
        approach = intersection.approaches[number]
        for lane in range(approach.lanes):
            for time in _poisson(flows[number] / 3600.0, settings.duration, random):
                entry, movement = _way(approach, random)
                arrivals.append((time, number, lane, entry, movement))
    arrivals.sort(key=lambda arrival: arrival[:3])
    vehicles = [
        _vehicle(number, arrival, intersection, settings, random) for number, arrival in enumerate(arrivals)
    ]
    return Demand({vehicle.name: vehicle for vehicle in vehicles}, tuple(chosen))


def _flows(context: Context, intersection: Intersection) -> tuple[float, ...]:
    count = len(intersection.approaches)
    if len(context.flows) < count:
        raise ConfigurationError(
            f"{context.name} has {count} approaches and flows of {len(context.flows)} only.",
            hint="inflows.txt needs a line for each road that leads to the signal.",
        )
    return context.flows[:count]


def _poisson(rate: float, until: float, random: np.random.Generator) -> Iterator[float]:
    time = 0.0
    while rate > 0 and (time := time + float(random.exponential(1.0 / rate))) < until:
        yield time


def _way(approach: Approach, random: np.random.Generator) -> tuple[str, Movement]:
    entries, movements = list(approach.entries), list(approach.movements.values())
    entry = entries[random.choice(len(entries), p=list(approach.entries.values()))]
    return entry, movements[random.choice(len(movements), p=[movement.share for movement in movements])]


def _vehicle(
    number: int,
    arrival: tuple[float, int, int, str, Movement],
    intersection: Intersection,
    settings: Settings,
    random: np.random.Generator,
) -> Vehicle:
    time, approach, lane, entry, movement = arrival
    kinds = list(_MIX)
    shares = np.array([share for share, _, _ in _MIX.values()])
    kind = kinds[random.choice(len(kinds), p=shares / shares.sum())]
    _, length, like_a_car = _MIX[kind]
    # The same numbers are drawn for everyone, so that one vehicle's fate is not another's.
    chance, electric, *normal = (*random.random(2), *random.standard_normal(4))
    controlled = chance < settings.controlled_share
    emissions = _CLASSES[settings.emissions][kind]
    if controlled and electric < settings.electric_share:
        emissions = NO_EMISSIONS
    moments = _DRIVERS[like_a_car].items()
    driver = {
        name: max(_LEAST[name], mean + deviation * float(drawn))
        for (name, (mean, deviation)), drawn in zip(moments, normal, strict=True)
    }
    return Vehicle(
        name=f"{'controlled' if controlled else 'human'}_{number}",
        depart=time,
        lane=min(lane, intersection.lane_counts[entry] - 1),
        entry=entry,
        approach=approach,
        movement=movement,
        controlled=controlled,
        length=length,
        emissions=emissions,
        driver=driver,
    )


def routes(demand: Demand, intersection: Intersection, all_human: bool = False) -> bytes:
    """SUMO's file of vehicles; with `all_human`, those that are controlled drive like the others."""
    lines = ["<routes>"]
    for vehicle in demand.vehicles.values():
        approach = intersection.approaches[vehicle.approach]
        upstream = () if vehicle.entry == approach.name else (vehicle.entry,)
        edges = " ".join((*upstream, *approach.edges, vehicle.movement.exit))
        apart = vehicle.controlled and not all_human
        model = _CONTROLLED if apart else vehicle.driver
        length = _CONTROLLED_LENGTH if apart else vehicle.length
        driver = " ".join(f'{name}="{value:.4f}"' for name, value in model.items())
        lines.append(
            f'<vType id="{vehicle.name}" carFollowModel="IDM" speedFactor="1" speedDev="0" length="{length}" '
            f'emissionClass="{vehicle.emissions}" {driver}/>'
            f'<vehicle id="{vehicle.name}" type="{vehicle.name}" depart="{vehicle.depart:.2f}" '
            f'departLane="{vehicle.lane}" departSpeed="{_DEPART_SPEED}"><route edges="{edges}"/></vehicle>'
        )
    return "\n".join([*lines, "</routes>"]).encode()
