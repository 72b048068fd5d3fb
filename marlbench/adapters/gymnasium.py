"""Level-based foraging and the robotic warehouse, which gymnasium's registry holds, as batches of rows."""

from __future__ import annotations

import importlib.util
from typing import ClassVar

from pydantic import Field, JsonValue

from marlbench.adapters.games import Rules
from marlbench.adapters.pettingzoo import version_of
from marlbench.adapters.worked import WorkedEnvironment, WorkedParameters
from marlbench.environments.contract import AnyParameters


class RegisteredParameters(WorkedParameters):
    """Which registered environment is played, and how. See `WorkedEnvironment`."""

    id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="name of the environment in gymnasium's registry"
    )


class RegisteredEnvironment(WorkedEnvironment):
    """Rows of `gymnasium.make(id, **kwargs)`; agents act together and their episodes stop together.

    The packages call an episode done when their own time limit is reached. Here it is truncated then, so that
    learners do not take the clock for an end of the game; all else is the package's. See `WorkedEnvironment`.

    Class attributes:
        package: the module that registers the environments.
    """

    argument = "id"
    Parameters = RegisteredParameters
    package: ClassVar[str]

    @classmethod
    def simulator_version(cls, parameters: AnyParameters) -> str:
        """Name and version of the package.

        Raises ConfigurationError where it is not installed.
        """
        return version_of(cls.package)

    def rules(self, parameters: RegisteredParameters) -> Rules:
        return Rules(
            package=self.package,
            kwargs=dict(parameters.kwargs),
            id=parameters.id,
            environment_state=parameters.state == "environment",
            action_masks=parameters.action_masks,
            episode_limit=parameters.episode_limit,
            keeps_actions=parameters.replay,
            channels=parameters.channels,
        )


class LevelBasedForaging(RegisteredEnvironment):
    """`lbforaging:Foraging-8x8-2p-3f-v3`: agents gather food that needs several of them (Papoudakis et al. 2021)."""

    backend = "lbforaging"
    package = "lbforaging"

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        if importlib.util.find_spec(cls.package) is None:
            return []
        short: dict[str, JsonValue] = {"max_episode_steps": 4}
        return [
            RegisteredParameters(id="Foraging-5x5-2p-1f-v3", kwargs=short, workers=0, replay=True),
            RegisteredParameters(id="Foraging-2s-8x8-3p-2f-coop-v3", kwargs=short, workers=1),
        ]


class RoboticWarehouse(RegisteredEnvironment):
    """`rware:rware-tiny-2ag-v2`: robots carry requested shelves to a workstation (Papoudakis et al. 2021).

    `kwargs` name the members of its enumerations: `{reward_type: GLOBAL, observation_type: IMAGE}`.
    """

    backend = "rware"
    package = "rware"

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        if importlib.util.find_spec(cls.package) is None:
            return []
        short: dict[str, JsonValue] = {"max_steps": 4}
        image: dict[str, JsonValue] = {**short, "observation_type": "IMAGE", "reward_type": "GLOBAL"}
        return [
            RegisteredParameters(id="rware-tiny-2ag-v2", kwargs=short, workers=0, replay=True),
            RegisteredParameters(id="rware-tiny-2ag-v2", kwargs=image, workers=1),
        ]
