"""The highway as highway-env plays it, as a batch of rows."""

from __future__ import annotations

import importlib.util

from pydantic import Field

from marlbench.adapters.games import Rules
from marlbench.adapters.pettingzoo import version_of
from marlbench.adapters.worked import PlayedParameters, WorkedEnvironment
from marlbench.environments.contract import AnyParameters
from marlbench.environments.traffic.highway.environment import HighwayParameters


class HighwayEnvParameters(HighwayParameters, PlayedParameters):
    """The highway's own parameters, and how rows are played."""

    replay: bool = Field(
        default=True,
        description="resume an interrupted episode by playing its actions again, which is exact: an episode of "
        "highway-env follows from its seed",
    )


class HighwayEnvironment(WorkedEnvironment):
    """The highway on highway-env (Leurent 2018): kinematics, drivers, observations and rewards are the package's.

    The others' kinds are subclasses of its IDMVehicle with the constants of iPLAN's table. Metrics as in
    `marlbench.environments.traffic.highway.environment.Highway`, which plays the same task a thousand times as fast.
    """

    backend = "highway_env"
    maximum_rows = 32
    Parameters = HighwayEnvParameters

    @classmethod
    def simulator_version(cls, parameters: AnyParameters) -> str:
        """Name and version of highway-env.

        Raises ConfigurationError where it is not installed.
        """
        return version_of("highway_env")

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        if importlib.util.find_spec("highway_env") is None:
            return []
        return [HighwayEnvParameters(agents=2, others=5, lanes=2, length=4)]

    def rules(self, parameters: HighwayEnvParameters) -> Rules:
        names = HighwayParameters.model_fields
        return Rules(
            package="highway_env",
            kwargs={name: getattr(parameters, name) for name in names},
            id="highway",
            row="marlbench.adapters.highway.row:HighwayRow",
            fixed_agents=False,
            environment_state=True,
            episode_limit=parameters.length,
            keeps_actions=parameters.replay,
        )
