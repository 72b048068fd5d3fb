"""The SMAC suite on the real game: the contract of an environment over smacv2 and smac."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from pydantic import Field, field_validator, model_validator

from marlbench.adapters.games import Rules
from marlbench.adapters.sc2 import installation, scenarios
from marlbench.adapters.worked import PlayedParameters, WorkedEnvironment
from marlbench.environments.contract import AnyParameters
from marlbench.environments.files import content_hash
from marlbench.environments.smac.scenarios import SCENARIOS
from marlbench.environments.smac.view import observation_names
from marlbench.errors import ConfigurationError


class Sc2Parameters(PlayedParameters):
    """Which battle, and its variants. See `Sc2`."""

    scenario: str = Field(description="name of a scenario of smacv2 or of a map of SMAC")
    extended_partial_observability: bool = Field(
        default=False,
        description="only the first ally that sees an enemy goes on to see it, and attacks are not masked by range; "
        "scenarios of smacv2 alone",
    )
    sparse_reward: bool = Field(default=False, description="1 for a win, -1 for a loss, nothing else")
    episode_limit: int | None = Field(
        default=None, ge=1, le=10_000, description="steps of an episode; the scenario's own by default"
    )
    difficulty: Literal["1", "2", "3", "4", "5", "6", "7", "8", "9", "A"] = Field(
        default="7", description="of the computer player: 1 very easy to 7 very hard, 8, 9 and A cheat"
    )
    fix_obs: bool = Field(
        default=True,
        description="an agent sees the enemies it sees, also beside unseen ones, as when the published numbers were "
        "made; false is smacv2 as it is today (its issue 50); scenarios of smacv2 alone",
    )
    step_timeout: float = Field(
        default=3600.0,
        gt=0,
        description="seconds after which a worker that does not come back is an error; it watches its game by itself; "
        "not part of a cell's identity",
        json_schema_extra={"stands_as": None},
    )
    patience: float = Field(
        default=180.0,
        gt=0,
        le=600,
        description="seconds after which a game that has not started, or not answered, is lost and replaced; not part "
        "of a cell's identity",
        json_schema_extra={"stands_as": None},
    )

    @field_validator("scenario")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in SCENARIOS:
            raise ValueError(f"there is no scenario '{value}'; there are {', '.join(SCENARIOS)}")
        return value

    @model_validator(mode="after")
    def _can_be_played(self) -> Sc2Parameters:
        if self.extended_partial_observability and not scenarios.is_drawn(self.scenario):
            raise ValueError(f"extended_partial_observability is smacv2's, and smac plays '{self.scenario}'")
        return self


class Sc2(WorkedEnvironment):
    """StarCraft II: smacv2's fifteen scenarios and maps of the first SMAC, each row a game in a process of its own.

    Actions, observations, state, rewards and ends are the package's (see `marlbench.environments.smac`, which has the
    same names and layout); the limit is told as truncation. An episode whose game crashed, hung or did not show its
    units is dropped and counted in `lost_games`, and the row goes on with another game.

    The teams and places of episode e follow from the row's key and e. The game's own randomness does not, so nothing
    here is deterministic, and an interrupted training goes on with fresh episodes.

    Metrics: `win_rate`, `dead_allies`, `dead_enemies`, and `lost_games`: of the row, since its episode before.
    """

    backend = "sc2"
    deterministic = False
    argument = "scenario"
    Parameters = Sc2Parameters
    # A game takes about a gigabyte.
    maximum_rows = 8

    @classmethod
    def simulator_version(cls, parameters: AnyParameters) -> str:
        """Versions of the package and of the game, and whether observations are repaired, wherever they are told.

        Raises ConfigurationError where one is missing.
        """
        assert isinstance(parameters, Sc2Parameters)
        package = installation.package_version(scenarios.package(parameters.scenario))
        if scenarios.is_drawn(parameters.scenario):
            package += f", fix_obs {'on' if parameters.fix_obs else 'off'}"
        return f"{package}, {installation.game_version()}"

    @classmethod
    def data_hashes(cls, parameters: AnyParameters) -> dict[str, str]:
        """Of the map; raises ConfigurationError where it is missing."""
        assert isinstance(parameters, Sc2Parameters)
        installation.require(parameters.scenario)
        file = scenarios.map_file(parameters.scenario)
        return {file: content_hash(installation.map_path(file), "the map", "`marlbench doctor smac`.")}

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        examples: list[AnyParameters] = [
            Sc2Parameters(scenario="terran_5_vs_5", episode_limit=5, extended_partial_observability=True),
            Sc2Parameters(scenario="3m", episode_limit=4, sparse_reward=True),
        ]
        return [one for one in examples if isinstance(one, Sc2Parameters) and _playable(one.scenario)]

    def __init__(self, parameters: Sc2Parameters, rows: int, device: torch.device) -> None:
        installation.require(parameters.scenario)
        super().__init__(parameters, rows, device)
        scenario = SCENARIOS[parameters.scenario]
        names = observation_names(scenario)
        told = self.specification
        if (len(told.agents), told.observation_size) != (scenario.allies, len(names)):
            self.close()
            raise ConfigurationError(
                f"the package shows {len(told.agents)} agents {told.observation_size} features each, where "
                f"'{parameters.scenario}' has {scenario.allies} and {len(names)} by contract.",
                hint="Another version of the package may be installed; `marlbench doctor smac` tells which.",
            )
        self.specification = dataclasses.replace(told, features=_named(parameters.scenario, names))

    def rules(self, parameters: Sc2Parameters) -> Rules:
        scenario = parameters.scenario
        return Rules(
            package=scenarios.package(scenario),
            id=scenario,
            kwargs={
                "arguments": scenarios.arguments(
                    scenario,
                    parameters.difficulty,
                    parameters.extended_partial_observability,
                    parameters.sparse_reward,
                ),
                "fix_obs": parameters.fix_obs,
                "patience": parameters.patience,
            },
            row="marlbench.adapters.sc2.row:BattleRow",
            alone=True,
            episode_limit=parameters.episode_limit or SCENARIOS[scenario].limit,
        )


def _named(scenario: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the features as the package orders them: smac tells zealots before stalkers of enemies alone."""
    if scenarios.is_drawn(scenario):
        return names
    places = {name: place for place, name in enumerate(names)}
    turned = list(names)
    for name, place in places.items():
        unit, _, kind = name.partition(".")
        if unit.startswith("enemy_") and kind == "type_stalker":
            other = places[f"{unit}.type_zealot"]
            turned[place], turned[other] = names[other], names[place]
    return tuple(turned)


def _playable(scenario: str) -> bool:
    try:
        installation.require(scenario)
    except ConfigurationError:
        return False
    return True
