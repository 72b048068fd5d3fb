"""Contexts of eco-driving: intersections with their flows, to train on or held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marlbench.errors import ConfigurationError

if TYPE_CHECKING:
    # Workers read contexts, and have no use for what parameters need.
    from marlbench.adapters.sumo.ecodriving.parameters import EcoDrivingParameters, Split

ARMS = 4
"""Of a network that is made."""

NETWORK, INFLOWS = "net.net.xml", "inflows.txt"

# Hours of the day: share of the annual average daily traffic in such an hour [code].
FLOW_OF_HOUR = {"peak": 0.084, "off_peak": 0.055}

# The authors cap the flow of a lane [code].
_MOST_VEHICLES_PER_HOUR = 900.0


@dataclass(frozen=True)
class Drawn:
    """A network for `netgenerate` to make: four arms with one signal.

    Attributes:
        lanes: of every arm.
        length: of an arm, metres.
        speed_limit: metres per second.
        green, red: seconds of the two main phases.
    """

    lanes: int
    length: float
    speed_limit: float
    green: float
    red: float


@dataclass(frozen=True)
class Context:
    """An intersection and its traffic.

    Attributes:
        name: for messages.
        network: a network file, or what to make one from.
        flows: vehicles per hour and lane, of each approach in the order of their names.
    """

    name: str
    network: Path | Drawn
    flows: tuple[float, ...]


def contexts(parameters: EcoDrivingParameters, split: Split) -> list[Context]:
    """The contexts of a split; the same for the same parameters.

    Raises ConfigurationError where the data folder cannot be used.
    """
    if parameters.data is None:
        return [_draw(parameters, split, number) for number in range(parameters.contexts)]
    return [_read(folder, parameters) for folder in _folders(parameters, split)]


def _draw(parameters: EcoDrivingParameters, split: Split, number: int) -> Context:
    random = np.random.default_rng([parameters.context_seed, split == "held_out", number])
    lanes = int(random.integers(parameters.lanes[0], parameters.lanes[1] + 1))
    ranges = (parameters.approach_length, parameters.speed_limit, parameters.green, parameters.red)
    length, speed, green, red = (round(float(random.uniform(*found)), 2) for found in ranges)
    flow = float(random.uniform(*parameters.inflow))
    return Context(f"{split} context {number}", Drawn(lanes, length, speed, green, red), (flow,) * ARMS)


def _folders(parameters: EcoDrivingParameters, split: Split) -> list[Path]:
    """Those of a split: a random order of all, by their names alone, whose first share is held out."""
    folders = intersections(Path(parameters.data or ""))
    order = sorted(folders, key=lambda folder: _digest(f"{parameters.context_seed}/{folder.name}".encode()))
    held_out = min(max(1, round(len(order) * parameters.held_out_share)), len(order) - 1)
    chosen = order[:held_out] if split == "held_out" else order[held_out:]
    return sorted(chosen)


def intersections(data: Path) -> list[Path]:
    """The folders of intersections in a data folder, by name.

    Raises ConfigurationError where there is no such folder, or fewer than two intersections.
    """
    if not data.is_dir():
        raise ConfigurationError(
            f"the data folder {data} does not exist.",
            hint="`data` names a folder that has a folder for each intersection.",
        )
    found = sorted(folder for folder in data.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    for folder in found:
        for name in (NETWORK, INFLOWS):
            if not (folder / name).is_file():
                raise ConfigurationError(
                    f"the intersection {folder} has no {name}.",
                    hint=f"Every folder in `data` is an intersection with {NETWORK} and {INFLOWS}; remove others.",
                )
    if len(found) < 2:
        raise ConfigurationError(
            f"the data folder {data} has {len(found)} intersections.",
            hint="At least two are needed: one to train on and one that is held out.",
        )
    return found


def _read(folder: Path, parameters: EcoDrivingParameters) -> Context:
    share = FLOW_OF_HOUR[parameters.hour]
    flows = tuple(min(daily * share, _MOST_VEHICLES_PER_HOUR) for daily in read_inflows(folder / INFLOWS))
    return Context(f"intersection {folder.name}", folder / NETWORK, flows)


def read_inflows(path: Path) -> list[float]:
    """Annual average daily traffic, a number on each line: those of the approaches A, B, ... in their order.

    The published files have one line more than the intersection has approaches; what is left over is not used [code].

    Raises ConfigurationError that names the line.
    """
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error}.", hint="It is text, a number on each line."
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = float(line)
        except ValueError:
            value = -1.0
        if not 0 <= value < 1e7:
            raise ConfigurationError(
                f"{path}, line {number}: '{line.strip()[:40]}' is no number of vehicles per day.",
                hint="Write one number from 0 on each line: the daily traffic of the approaches A, B, ...",
            )
        found.append(value)
    if not found:
        raise ConfigurationError(
            f"{path} is empty.", hint="Write the daily traffic of each approach, one on a line."
        )
    return found


def data_hash(data: Path) -> str:
    """sha256 of all intersections of a data folder: names, networks and flows.

    Raises ConfigurationError where a file is missing or flows cannot be read: before anything is run.
    """
    found = hashlib.sha256()
    for folder in intersections(data):
        read_inflows(folder / INFLOWS)
        for name in (NETWORK, INFLOWS):
            found.update(f"{folder.name}/{name}:{_digest((folder / name).read_bytes())}\n".encode())
    return found.hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
