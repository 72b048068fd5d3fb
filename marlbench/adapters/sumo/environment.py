"""The job's side of a task on SUMO: parameters that all such tasks have, identity, one process for each row."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from marlbench.adapters.games import Rules
from marlbench.adapters.sumo.installation import version
from marlbench.adapters.worked import PlayedParameters, WorkedEnvironment
from marlbench.environments.contract import AnyParameters


class SumoParameters(PlayedParameters):
    """What every task on SUMO has."""

    replay: bool = Field(
        default=True,
        description="resume an interrupted episode by playing its actions again, which is exact: an episode of SUMO "
        "follows from its seed",
    )


class SumoEnvironment(WorkedEnvironment):
    """A batch of SUMO simulations, each in a process of its own. See `marlbench.adapters.sumo`.

    Subclasses set `row` and fill in `rules`, by way of `sumo_rules`.

    Class attributes:
        row: `module:Class` of the `SumoRow` that workers play.
    """

    backend = "sumo"
    maximum_rows = 16
    row: str

    @classmethod
    def simulator_version(cls, parameters: AnyParameters) -> str:
        """SUMO's version.

        Raises ConfigurationError where it is not installed.
        """
        return version()

    def sumo_rules(
        self, name: str, kwargs: dict[str, Any], episode_limit: int, fixed_agents: bool = True
    ) -> Rules:
        """How rows are played.

        Args:
            name: of the task, for messages.
            kwargs: what the row in the worker is told: anything that can be pickled.
            episode_limit: steps of an episode.
            fixed_agents: whether all agents act at every step, and their slots keep their occupants.
        """
        assert isinstance(self.parameters, SumoParameters)
        return Rules(
            package="libsumo",
            kwargs=kwargs,
            id=name,
            row=self.row,
            alone=True,
            fresh=True,
            fixed_agents=fixed_agents,
            environment_state=True,
            episode_limit=episode_limit,
            keeps_actions=self.parameters.replay,
        )
