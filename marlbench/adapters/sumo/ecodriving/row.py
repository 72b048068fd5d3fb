"""The control loop of eco-driving, in a process of its own: one intersection at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.codecs import Range
from marlbench.adapters.games import Rules
from marlbench.adapters.spaces import Description
from marlbench.adapters.sumo.ecodriving import demand, generated, intersection, view
from marlbench.adapters.sumo.ecodriving.aside import Aside
from marlbench.adapters.sumo.ecodriving.contexts import Context
from marlbench.adapters.sumo.ecodriving.intersection import Intersection
from marlbench.adapters.sumo.ecodriving.ledger import COMPARED, Drive, Ledger, compared
from marlbench.adapters.sumo.ecodriving.settings import Settings
from marlbench.adapters.sumo.ecodriving.slots import Slots
from marlbench.adapters.sumo.ecodriving.vehicles import Moving, Platoon, Traffic
from marlbench.adapters.sumo.row import SumoRow
from marlbench.adapters.sumo.simulation import Counts

LEAST_ACCELERATION, MOST_ACCELERATION = -20.0, 10.0
"""Metres per second squared; SUMO clips to what is safe and what the vehicle can do."""

PLAYERS = ("idm",)

COUNTED = ("departed", "arrived", "running", "teleported", "waiting_to_depart")
METRICS = (*COMPARED, "jammed", "left_without_slot", *COUNTED)

# The authors end an episode where so many controlled vehicles stand [code].
_JAM, _JAM_SPEED = 150, 0.5
_STOPS_BELOW = 1.0

_OPTIONS = ("--time-to-teleport", "-1", "--collision.action", "none", "--begin", "0")


class EcoDrivingRow(SumoRow):
    """One episode after another, each of a context that its seed draws.

    Acceleration a over a step d makes v + a d, at most the speed limit, the speed that SUMO is asked for; it clips that
    to what its safety model and the vehicle allow. A vehicle on a lane that does not lead where it goes is left to
    SUMO, which has to slow it down to change lanes [ours; the authors guess that from SUMO's speeds]. NaN leaves a
    vehicle to SUMO's intelligent driver model.
    """

    def __init__(self, rules: Rules) -> None:
        self.settings: Settings = rules.kwargs["settings"]
        self.contexts: list[Context] = rules.kwargs["contexts"]
        # Of SUMO, for what a caller wants written.
        self._further: list[str] = rules.kwargs.get("options", [])
        self._network, self._routes = generated.Handed(), generated.Handed()
        self._networks: dict[int, bytes] = {}
        self._intersections: dict[int, Intersection] = {}
        self._aside: Aside | None = None
        super().__init__(rules)

    def describe(self, rules: Rules) -> Description:
        slots = self.settings.slots
        names = tuple(f"vehicle_{slot}" for slot in range(slots))
        return Description(
            agents=names,
            observation_sizes=(len(view.FEATURES),) * slots,
            image=None,
            beside=0,
            channels="first",
            types=(0,) * slots,
            action_counts=(),
            actions_range=Range(1, LEAST_ACCELERATION, MOST_ACCELERATION, False),
            state_size=view.state_size(slots),
            masks=False,
            turns=False,
            metrics=METRICS,
            occupants=True,
            names=view.FEATURES,
            built_in=dict.fromkeys(names, PLAYERS),
        )

    def start(self, seed: int) -> None:
        self._draw(seed)
        self._slots = Slots(self.settings.slots)
        self._jammed, self._left_out, self._controlled = False, 0, 0
        if self._aside is not None:
            self._aside.close()
        self._aside = Aside(self._drive_plainly)
        self._begin_drive(all_human=False)
        self._warm_up()
        self._show()
        self._arrays["available_actions"][:] = True
        # The first occupants of an episode are nobody's successors.
        self._arrays["new_occupant"][:] = False

    def _draw(self, seed: int) -> None:
        """The context of an episode and its traffic."""
        random = np.random.default_rng(seed)
        number = int(random.integers(len(self.contexts)))
        self._choose(number)
        self._demand = demand.draw(self.contexts[number], self.intersection, self.settings, random)
        self._seed = seed

    def _choose(self, number: int) -> None:
        """Make the network of a context SUMO's, and read it."""
        context = self.contexts[number]
        if isinstance(context.network, generated.Drawn):
            if number not in self._networks:
                self._networks[number] = generated.network(context.network)
            self._network.write(self._networks[number])
            self._network_path = self._network.path
        else:
            self._network_path = str(context.network)
        if number not in self._intersections:
            self._intersections[number] = intersection.read(context.name, self._network_path)
        self.intersection = self._intersections[number]

    def _begin_drive(self, all_human: bool) -> None:
        self._routes.write(demand.routes(self._demand, self.intersection, all_human))
        options = [
            "--net-file", self._network_path,
            "--route-files", self._routes.path,
            "--step-length", str(self.settings.step_length),
            *_OPTIONS,
        ]  # fmt: skip
        self.begin_simulation([*options, *self._further], self._seed)
        self._traffic = Traffic(self.simulation.libsumo, self.intersection, self._demand)
        self._view = view.View(self._traffic, self.intersection, self.settings)
        self._ledger = Ledger(self._demand.approaches, self.settings.step_length)
        self._arrived = 0

    def _warm_up(self) -> None:
        for _ in range(self.settings.warm_up_steps):
            self.simulation.libsumo.simulationStep()
            self._arrived += len(self._traffic.read())
            for moving in self._traffic.moving.values():
                moving.warmed_up |= moving.near

    def _drive(self) -> None:
        self.simulation.libsumo.simulationStep()
        arrived = self._traffic.read()
        self._arrived += len(arrived)
        self._ledger.add(self._traffic.moving.values(), arrived)

    def advance(self) -> bool:
        acted = list(self._slots.occupants)
        for name in ("terminated", "truncated"):
            self._arrays[name][:] = False
        self._command(self._arrays["action"][:, 0].tolist())
        self._drive()
        present = self._show()
        self._reward(acted)
        self._left_out += self._slots.left_out
        self._controlled += len(present)
        if len(present) > _JAM:
            self._jammed = sum(moving.speed for moving in present) / len(present) < _JAM_SPEED
        over = self._jammed or self.steps >= self.settings.steps
        if over:
            for slot, moving in enumerate(self._slots.occupants):
                # Whoever left is gone for good; whoever is there is only cut off.
                self._arrays["truncated" if moving is not None else "terminated"][slot] = True
        return over

    def _command(self, accelerations: Sequence[float]) -> None:
        told, step = self.simulation.libsumo.vehicle, self.settings.step_length
        for acceleration, moving in zip(accelerations, self._slots.occupants, strict=True):
            if moving is None:
                continue
            if math.isnan(acceleration) or not moving.may_go_on:
                told.setSpeed(moving.vehicle.name, -1)
                continue
            speed = min(moving.speed + acceleration * step, self._traffic.speed_limit(moving))
            told.setSpeed(moving.vehicle.name, max(0.0, speed))

    def _show(self) -> list[Moving]:
        """Write what is seen after a step; returns the controlled vehicles near the intersection."""
        traffic, arrays, slots = self._traffic, self._arrays, self._slots
        traffic.line_up()
        present = [moving for moving in traffic.moving.values() if moving.near and moving.vehicle.controlled]
        slots.update(present)
        time = self.simulation.time
        observation = arrays["observation"]
        for slot, moving in enumerate(slots.occupants):
            observation[slot] = 0.0 if moving is None else self._view.observe(moving, time)
            arrays["acting"][slot] = moving is not None
        arrays["new_occupant"][:] = slots.fresh
        self._view.write_state(arrays["state"], slots.occupants, self._demand.approaches[0], time)
        return present

    def _reward(self, acted: Sequence[Moving | None]) -> None:
        """The mean over a vehicle's platoon of [v - p (1 - v) 1{v < 1} - q e] / 15 [code].

        v is the speed in m/s, e the emission of the step in grams, p and q the penalties.
        """
        found: dict[Platoon, float] = {}
        grams = self.settings.step_length / 1000.0
        rewards = self._arrays["reward"]
        for slot, moving in enumerate(acted):
            rewards[slot] = 0.0
            if moving is None or moving.vehicle.name not in self._traffic.moving or not moving.near:
                continue
            key = self._traffic.platoon(moving)
            if key not in found:
                members = self._traffic.platoons[key]
                found[key] = sum(self._merit(member, grams) for member in members) / len(members)
            rewards[slot] = found[key]

    def _merit(self, moving: Moving, grams: float) -> float:
        penalty = self.settings.emission_penalty * moving.co2 * grams
        if moving.speed < _STOPS_BELOW:
            penalty += self.settings.stop_penalty * (_STOPS_BELOW - moving.speed)
        return (moving.speed - penalty) / view.SPEED

    def measure(self) -> list[float]:
        drive, counts, arrived = self._close_drive()
        left_without_slot = self._left_out / self._controlled if self._controlled else 0.0
        assert self._aside is not None
        # As long as this drive, which a jam may have ended.
        plain: Drive = self._aside.ask(self.steps)
        self._aside = None
        told = (counts.departed, arrived, counts.running, counts.teleported, counts.waiting)
        return [
            *compared(drive, plain).values(),
            float(self._jammed),
            left_without_slot,
            *(float(count) for count in told),
        ]

    def _drive_plainly(self, steps: int) -> Drive:
        """The same traffic, with nobody controlled, for so many steps."""
        self._begin_drive(all_human=self.settings.reference == "human")
        self._warm_up()
        for _ in range(steps):
            self._drive()
        return self._close_drive()[0]

    def carried(self) -> tuple[dict[int, bytes], dict[int, Intersection]]:
        """Networks that were made, and read: every episode is played in a fresh copy of the process."""
        return self._networks, self._intersections

    def carry(self, kept: tuple[dict[int, bytes], dict[int, Intersection]]) -> None:
        self._networks, self._intersections = kept

    def _close_drive(self) -> tuple[Drive, Counts, int]:
        counts = self.simulation.counts()
        return self._ledger.close(self._traffic.moving.values()), counts, self._arrived

    def render(self) -> NDArray[np.uint8]:
        from marlbench.adapters.sumo.ecodriving.picture import picture

        return picture(self.intersection, self._traffic, self.simulation.time)

    def close(self) -> None:
        if self._aside is not None:
            self._aside.close()
        super().close()
        self._network.close()
        self._routes.close()
