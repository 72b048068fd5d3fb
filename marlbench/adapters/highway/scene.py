"""highway-env's `HighwayEnv` with iPLAN's settings and kinds of drivers; runs in workers, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highway_env.envs.highway_env import HighwayEnv
from highway_env.utils import near_split
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle

from marlbench.adapters.highway.drivers import driver
from marlbench.environments.traffic.highway import drivers
from marlbench.environments.traffic.highway.layout import FEATURES, SEEN


class Scene(HighwayEnv):
    """One highway. The agents are `controlled_vehicles`.

    Args:
        options: the fields of `HighwayParameters`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        kinds = drivers.drivers(options["behaviour"], options["politeness"])
        self.kinds = [driver(constants) for constants in kinds]
        seen = {
            "type": "Kinematics",
            "vehicles_count": SEEN,
            "features": list(FEATURES),
            "features_range": {"x": [-100, 100], "y": [-100, 100], "vx": [-20, 20], "vy": [-20, 20]},
            "absolute": False,
            "order": "sorted",
        }
        config = {
            "observation": {"type": "MultiAgentObservation", "observation_config": seen},
            "action": {"type": "MultiAgentAction", "action_config": {"type": "DiscreteMetaAction"}},
            "lanes_count": options["lanes"],
            "vehicles_count": options["others"],
            "controlled_vehicles": options["agents"],
            "duration": options["length"],
            "simulation_frequency": 5,
            "policy_frequency": 1,
            "scaling": 2.0,
            "screen_width": 1000,
            "screen_height": 110,
        }
        super().__init__(config, render_mode="rgb_array")

    def _create_vehicles(self) -> None:
        """As highway-env's own, with each of the others of a kind that is drawn."""
        options, random = self.options, self.np_random
        self.controlled_vehicles = []
        for others in near_split(options["others"], num_bins=options["agents"]):
            placed = Vehicle.create_random(self.road, speed=25.0, spacing=self.config["ego_spacing"])
            agent = self.action_type.vehicle_class(self.road, placed.position, placed.heading, placed.speed)
            self.controlled_vehicles.append(agent)
            self.road.vehicles.append(agent)
            for _ in range(others):
                drawn, kind = random.random(), drivers.NORMAL
                if drawn < options["aggressive"]:
                    kind = drivers.AGGRESSIVE
                elif drawn >= 1 - options["defensive"]:
                    kind = drivers.DEFENSIVE
                other = self.kinds[kind].create_random(self.road, spacing=1 / self.config["vehicles_density"])
                other.randomize_behavior()
                self.road.vehicles.append(other)

    def reward_of(self, agent: int) -> float:
        """What highway-env would pay an agent for the last decision if it was the only one."""
        agents = self.controlled_vehicles
        self.controlled_vehicles = [agents[agent]]
        try:
            return float(self._reward(None))
        finally:
            self.controlled_vehicles = agents

    def shown_to(self, agent: int) -> list[int]:
        """Whom the rows of an agent's observation show, itself first: places in `road.vehicles`."""
        vehicle, road = self.controlled_vehicles[agent], self.road
        near = road.close_objects_to(
            vehicle, self.PERCEPTION_DISTANCE, SEEN - 1, see_behind=False, sort=True, vehicles_only=True
        )
        place = {id(one): number for number, one in enumerate(road.vehicles)}
        return [place[id(one)] for one in (vehicle, *near)]

    def leave_to_idm(self, agent: int) -> None:
        """Let highway-env's driver decide for an agent from now on."""
        vehicle = self.controlled_vehicles[agent]
        replaced: IDMVehicle = self.kinds[drivers.AGENT].create_from(vehicle)
        self.road.vehicles[self.road.vehicles.index(vehicle)] = replaced
        self.controlled_vehicles[agent] = replaced
        self.define_spaces()

    def decide(self, actions: Mapping[int, str]) -> None:
        """One decision of a second; agents without an action keep to what they chose before."""
        for agent, action in actions.items():
            self.controlled_vehicles[agent].act(action)
        self.time += 1
        self._simulate(None)
