"""PettingZoo's environments, parallel or turn by turn, as a batch of rows played in worker processes.

The adapter reads what the package's module builds and changes nothing in it: rewards, ends and observations are the
package's, to the bit, in float32.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

from pydantic import Field, model_validator

from marlbench.adapters.games import Rules, how_to_install
from marlbench.adapters.worked import WorkedEnvironment, WorkedParameters
from marlbench.environments.contract import AnyParameters
from marlbench.errors import ConfigurationError

# In these packages no agent ever leaves an episode before the others do.
_FIXED = ("mpe2",)


class PettingZooParameters(WorkedParameters):
    """Which package is played, and how. See `PettingZooEnvironment`."""

    package: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$",
        description="dotted name of the module that has parallel_env, env or raw_env",
    )
    fixed_agents: bool | None = Field(
        default=None,
        description="every agent acts from the first step of an episode to its last; by default only where "
        "that is known of the package (mpe2)",
    )

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        """The default is resolved here, so that a cell's identity tells what was played."""
        if isinstance(values, dict) and values.get("fixed_agents") is None:
            top = str(values.get("package", "")).partition(".")[0]
            return {**values, "fixed_agents": top in _FIXED}
        return values


class PettingZooEnvironment(WorkedEnvironment):
    """Rows of `package.parallel_env(**kwargs)`, or turn by turn of `env` or `raw_env` where there is no such.

    An agent that leaves before the others is terminated or truncated then and does not act until the row's
    next episode. `fixed_agents: true` promises that none does, which spares the learners some work; a package
    that breaks the promise is an error.

    Turn by turn, a step is one turn: only the agent whose turn it is acts, and each agent is rewarded for what
    the turn brought it. See `WorkedEnvironment` for spaces, seeds and resuming.
    """

    backend = "pettingzoo"
    argument = "package"
    Parameters = PettingZooParameters

    @classmethod
    def simulator_version(cls, parameters: AnyParameters) -> str:
        """Name and version of the distribution that the package belongs to.

        Raises ConfigurationError where it is not installed.
        """
        assert isinstance(parameters, PettingZooParameters)
        return version_of(parameters.package)

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        tictactoe = "pettingzoo.classic.tictactoe_v3"
        examples: list[AnyParameters] = []
        if importlib.util.find_spec("pygame") is not None:
            examples.append(PettingZooParameters(package=tictactoe, workers=0, replay=True, episode_limit=6))
        if importlib.util.find_spec("mpe2") is None:
            return examples
        spread, tag = "mpe2.simple_spread_v3", "mpe2.simple_tag_v3"
        return [
            *examples,
            PettingZooParameters(package=spread, kwargs={"max_cycles": 4}, workers=2, replay=True),
            PettingZooParameters(package=tag, kwargs={"max_cycles": 3}, workers=0, state="environment"),
            PettingZooParameters(
                package=spread,
                kwargs={"max_cycles": 3, "continuous_actions": True},
                workers=1,
                episode_limit=2,
            ),
        ]

    def rules(self, parameters: PettingZooParameters) -> Rules:
        return Rules(
            package=parameters.package,
            kwargs=dict(parameters.kwargs),
            environment_state=parameters.state == "environment",
            fixed_agents=bool(parameters.fixed_agents),
            action_masks=parameters.action_masks,
            episode_limit=parameters.episode_limit,
            keeps_actions=parameters.replay,
            channels=parameters.channels,
        )


def version_of(package: str) -> str:
    """Name and version of the distribution that a package belongs to.

    Raises ConfigurationError where it is not installed.
    """
    top = package.partition(".")[0]
    if importlib.util.find_spec(top) is None:
        raise ConfigurationError(f"the package '{top}' is not installed.", hint=how_to_install(package))
    try:
        return f"{top} {importlib.metadata.version(top)}"
    except importlib.metadata.PackageNotFoundError:
        names = sorted(set(importlib.metadata.packages_distributions().get(top, [])))
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names) or f"{top}, unversioned"
