"""Melting Pot's substrates and scenarios, and the levels of dmlab2d under them, as batches of rows."""

from __future__ import annotations

import importlib.util
from typing import ClassVar

from pydantic import Field, JsonValue

from marlbench.adapters.games import Rules
from marlbench.adapters.pettingzoo import version_of
from marlbench.adapters.worked import WorkedEnvironment, WorkedParameters
from marlbench.environments.contract import AnyParameters


class PlayersParameters(WorkedParameters):
    """Which game is played, and what of it is seen. See `MeltingPot` and `Lab2d`."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]*$", description="name of the substrate, scenario or level"
    )
    observations: tuple[str, ...] | None = Field(
        default=None,
        description="names of the numbers that players see besides their picture; by default those that Melting Pot "
        "permits in its tests, as far as the game has them",
    )
    scale: int = Field(
        default=1, ge=1, le=64, description="side of the squares of pixels that are averaged into one"
    )


class _PlayersEnvironment(WorkedEnvironment):
    """What both have in common.

    Class attributes:
        package: the module that is played.
        builder: what builds one row of it, in a worker.
    """

    argument = "name"
    Parameters = PlayersParameters
    # A row holds a whole engine, with its pictures.
    maximum_rows = 32
    package: ClassVar[str]
    builder: ClassVar[str]

    @classmethod
    def simulator_version(cls, parameters: AnyParameters) -> str:
        """Name and version of the package.

        Raises ConfigurationError where it is not installed.
        """
        return version_of(cls.package)

    def rules(self, parameters: PlayersParameters) -> Rules:
        seen = {"observations": parameters.observations, "scale": parameters.scale}
        return Rules(
            package=self.package,
            kwargs={**parameters.kwargs, **seen},
            id=parameters.name,
            builder=self.builder,
            environment_state=parameters.state == "environment",
            action_masks=False,
            episode_limit=parameters.episode_limit,
            keeps_actions=parameters.replay,
            channels="last",
        )


class MeltingPot(_PlayersEnvironment):
    """`melting_pot:clean_up`, a substrate, or `melting_pot:clean_up_0`, a scenario with bots (Leibo et al. 2021).

    Rows are `substrate.build(name, roles=...)`, with the substrate's default roles where `kwargs` give none, or
    `scenario.build(name)`. Observation: the picture `RGB`, then the numbers in `observations`. A row is built anew for
    every episode, with Python's generator seeded, from which Melting Pot draws the seed of a substrate. Episodes do not
    follow from it all the same: substrates of 2.4.1 built twice from one seed go apart, and bots draw from elsewhere.
    """

    backend = "melting_pot"
    package = "meltingpot"
    builder = "marlbench.adapters.players:build_melting_pot"
    deterministic = False

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        if importlib.util.find_spec(cls.package) is None:
            return []
        return [
            PlayersParameters(
                name="collaborative_cooking__cramped", workers=0, episode_limit=5, replay=False, scale=8
            )
        ]


class Lab2d(_PlayersEnvironment):
    """`dmlab2d:clean_up` or `dmlab2d:commons_harvest`: levels that come with dmlab2d (Beattie et al. 2020).

    `kwargs` are the level's settings, such as `numPlayers`. The parts of an action (move, turn, beams) are enumerated
    into one. An episode follows from its seed.
    """

    backend = "dmlab2d"
    package = "dmlab2d"
    builder = "marlbench.adapters.players:build_lab2d"

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        if importlib.util.find_spec(cls.package) is None:
            return []
        few: dict[str, JsonValue] = {"numPlayers": 2}
        return [
            PlayersParameters(
                name="clean_up", kwargs=few, workers=0, episode_limit=4, replay=True, scale=16,
                observations=("POSITION",),
            ),
            PlayersParameters(name="commons_harvest", kwargs=few, workers=1, episode_limit=4, scale=8),
        ]  # fmt: skip
