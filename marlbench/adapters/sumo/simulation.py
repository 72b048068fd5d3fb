"""The one SUMO simulation that a process can hold, with what SUMO writes kept in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from marlbench.adapters.arrays import anonymous_file
from marlbench.adapters.sumo.installation import library
from marlbench.errors import ConfigurationError, MarlbenchError


@dataclass(frozen=True)
class Counts:
    """Vehicles since the simulation began, and now.

    Attributes:
        loaded: read from the demand so far.
        departed: got onto the road.
        running: on the road now, or between two places of it while they are teleported.
        waiting: wait for room to depart.
        teleported: how often a vehicle was taken out of a jam and put elsewhere.
    """

    loaded: int
    departed: int
    running: int
    waiting: int
    teleported: int


class Output:
    """A file that SUMO writes into memory: nothing stays behind however the process ends.

    Attributes:
        path: what to give to SUMO as the name of an output.
    """

    def __init__(self) -> None:
        self._file = anonymous_file()
        self.path = f"/proc/self/fd/{self._file}"

    def read(self) -> bytes:
        """What was written since the simulation began; complete once the simulation is over."""
        size = os.fstat(self._file).st_size
        return os.pread(self._file, size, 0)

    def clear(self) -> None:
        os.ftruncate(self._file, 0)

    def close(self) -> None:
        os.close(self._file)


class Simulation:
    """SUMO's simulation of this process.

    Attributes:
        libsumo: its module, for reads and commands (`simulation.libsumo.vehicle.getSpeed(...)`).

    Raises MarlbenchError where the process already has one: libsumo would silently put the second into its place.
    """

    _held: ClassVar[bool] = False

    def __init__(self) -> None:
        if Simulation._held:
            raise MarlbenchError(
                "this process already holds a SUMO simulation, and libsumo has room for one only.",
                hint="Every row needs a process of its own.",
            )
        self.libsumo: Any = library()
        Simulation._held = True
        self._errors = Output()
        self._open = False

    def begin(self, options: Sequence[str]) -> None:
        """Start a new simulation in the place of the last one, with options as on SUMO's command line.

        Raises:
            ConfigurationError: SUMO refuses the options, the network or the demand.
        """
        self._errors.clear()
        given = ["--error-log", self._errors.path, "--no-step-log", "--no-warnings", *options]
        try:
            if self._open:
                self.libsumo.load(given)
            else:
                self.libsumo.start(["sumo", *given])
                self._open = True
        except self.libsumo.TraCIException as error:
            self._open = False
            raise self._refused(error, options) from error

    def _refused(self, error: Exception, options: Sequence[str]) -> ConfigurationError:
        lines = [str(error), *self._errors.read().decode(errors="replace").splitlines()]
        said = [" ".join(line.removeprefix("Error: ").split()) for line in lines]
        # What SUMO says last is only that it quits.
        told = dict.fromkeys(
            line for line in said if line and line not in ("Process Error", "Quitting (on error).")
        )
        files = ", ".join(Path(option).name for option in options if option.endswith(".xml"))
        return ConfigurationError(
            f"SUMO refuses {files or 'its options'}: {' '.join(told) or 'it does not say why'}",
            hint="`sumo --net-file ... --route-files ...` on the command line says more.",
        )

    @property
    def time(self) -> float:
        """Seconds."""
        return float(self.libsumo.simulation.getTime())

    def step_to(self, time: float) -> None:
        """Simulate until a time in seconds."""
        self.libsumo.simulationStep(time)

    def counts(self) -> Counts:
        def told(name: str) -> int:
            return int(self.libsumo.simulation.getParameter("", f"stats.{name}"))

        return Counts(
            loaded=told("vehicles.loaded"),
            departed=told("vehicles.inserted"),
            running=told("vehicles.running"),
            waiting=told("vehicles.waiting"),
            teleported=told("teleports.total"),
        )

    def end(self) -> None:
        """End the simulation, which completes its outputs; `begin` may follow."""
        if self._open:
            self._open = False
            self.libsumo.close()

    def close(self) -> None:
        """End the simulation for good; another may then be made in this process."""
        self.end()
        self._errors.close()
        Simulation._held = False
