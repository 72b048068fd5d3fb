"""A row of the highway in a worker: highway-env plays it; runs without torch."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.games import Rules, how_to_install
from marlbench.adapters.row import WritingRow
from marlbench.adapters.spaces import Description
from marlbench.environments.traffic.highway.layout import (
    ACTIONS,
    FEATURES,
    MEASURES,
    PLAYERS,
    SEEN,
    agents_of,
    features,
)
from marlbench.errors import ConfigurationError

_IDLE = 1


class HighwayRow(WritingRow):
    """Agents that crash are terminated and do not act again; at the limit the others are truncated."""

    def __init__(self, rules: Rules) -> None:
        if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
            # pygame opens a window even for pictures that go into arrays.
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        try:
            from marlbench.adapters.highway.scene import Scene
        except ImportError as error:
            raise ConfigurationError(
                f"highway-env does not import: {error}", hint=how_to_install("highway_env")
            ) from error
        options = rules.kwargs
        count = options["agents"]
        names = agents_of(count)
        description = Description(
            agents=names,
            observation_sizes=(SEEN * len(FEATURES),) * count,
            image=None,
            beside=0,
            channels="last",
            types=(0,) * count,
            action_counts=(len(ACTIONS),) * count,
            actions_range=None,
            state_size=(count + options["others"]) * len(FEATURES),
            masks=False,
            turns=False,
            metrics=MEASURES,
            names=features(),
            built_in=dict.fromkeys(names, PLAYERS),
            entities=(SEEN, FEATURES, count + options["others"]),
        )
        super().__init__(rules, description)
        self.scene = Scene(options)
        self._players: list[str | None] = [None] * count
        self._out = np.zeros(count, bool)
        self._survived = np.zeros(count)
        self._speeds = np.zeros(count)

    def start(self, seed: int) -> None:
        self.scene.reset(seed=seed)
        for array in (self._out, self._survived, self._speeds):
            array[:] = 0
        self._players = [None] * len(self._out)
        self._show()

    def advance(self) -> bool:
        arrays, scene = self._arrays, self.scene
        taken = arrays["action"].tolist()
        if self.steps == 1:
            self._let_play(taken)
        chosen = {}
        for agent, action in enumerate(taken):
            player = self._players[agent]
            if self._out[agent] or player == "idm":
                continue
            if player == "slower":
                action = ACTIONS.index("SLOWER")
            elif player == "random":
                action = int(scene.np_random.integers(len(ACTIONS)))
            chosen[agent] = ACTIONS[action]
        scene.decide(chosen)
        late = self.steps >= self.rules.kwargs["length"]
        for agent, vehicle in enumerate(scene.controlled_vehicles):
            crashed = bool(vehicle.crashed)
            was_out = bool(self._out[agent])
            arrays["reward"][agent] = 0.0 if was_out else scene.reward_of(agent)
            arrays["terminated"][agent] = crashed and not was_out
            arrays["truncated"][agent] = late and not crashed
            if not crashed:
                self._survived[agent] += 1
                self._speeds[agent] += vehicle.speed
            self._out[agent] = crashed
        self._show()
        return late or bool(self._out.all())

    def _let_play(self, taken: list[int]) -> None:
        for agent, action in enumerate(taken):
            if action >= 0:
                continue
            self._players[agent] = PLAYERS[-1 - action]
            if self._players[agent] == "idm":
                self.scene.leave_to_idm(agent)

    def _show(self) -> None:
        arrays, scene = self._arrays, self.scene
        for agent, seen in enumerate(scene.observation_type.observe()):
            arrays["observation"][agent] = seen.ravel()
            shown = scene.shown_to(agent)
            arrays["identity"][agent] = -1
            arrays["identity"][agent, : len(shown)] = shown
        arrays["acting"][:] = ~self._out
        arrays["available_actions"][:] = True
        arrays["available_actions"][self._out] = np.arange(len(ACTIONS)) == _IDLE
        told = np.array([[1.0, *vehicle.position, *vehicle.velocity] for vehicle in scene.road.vehicles])
        told[:, 1] -= np.mean([agent.position[0] for agent in scene.controlled_vehicles])
        arrays["state"][:] = (told / (1.0, 100.0, 100.0, 20.0, 20.0)).ravel()

    def measure(self) -> list[float]:
        agents = self.scene.controlled_vehicles
        others = [vehicle for vehicle in self.scene.road.vehicles if vehicle not in agents]
        crashed = sum(bool(vehicle.crashed) for vehicle in others)
        survived = float(self._survived.sum())
        return [
            1 - float(self._out.mean()),
            survived / len(self._out),
            float(self._speeds.sum()) / survived if survived else 0.0,
            crashed / max(len(others), 1),
        ]

    def render(self) -> NDArray[np.uint8]:
        """Each agent with its surroundings, as highway-env draws them, one below the other."""
        scene, pictures = self.scene, []
        scene.render()
        for agent in scene.controlled_vehicles:
            scene.viewer.observer_vehicle = agent
            picture: Any = scene.render()
            pictures.append(picture)
        return np.ascontiguousarray(np.concatenate(pictures)[:, :, :3], dtype=np.uint8)

    def close(self) -> None:
        self.scene.close()
