"""How one copy of another library's environment is built, with the interface of PettingZoo's ParallelEnv.

This module runs inside worker processes: it imports neither torch nor, before it is asked to, any package that is
played.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any, Literal

from marlbench.adapters.turns import Turns
from marlbench.errors import ConfigurationError


@dataclass(frozen=True)
class Rules:
    """How rows are played.

    Attributes:
        package: dotted name of the module that has `parallel_env`, `env` or `raw_env`, or that registers `id`.
        kwargs: arguments of what builds the environment.
        id: the environment's name in gymnasium's registry; '' for PettingZoo.
        environment_state: whether the state is the package's own instead of the observations side by side.
        fixed_agents: whether every agent must act from the first step of an episode to its last.
        action_masks: whether actions are masked; None finds out at the first reset.
        episode_limit: steps after which an episode is truncated, if it is still going on.
        keeps_actions: whether the actions of the present episode are kept, so that it can be played again.
        channels: which axis of an image tells its channels; None finds out.
        builder: `module:function` that builds the environment `id` from `kwargs`; '' for PettingZoo and gymnasium.
        row: `module:Class` of a `WritingRow`, built from the rules alone, that is played instead of an environment.
        alone: whether a process can play one row only.
        fresh: whether each episode of a `WritingRow` is played in a copy of the process that has played nothing yet.
    """

    package: str
    kwargs: dict[str, Any]
    id: str = ""
    environment_state: bool = False
    fixed_agents: bool = True
    action_masks: bool | None = None
    episode_limit: int | None = None
    keeps_actions: bool = False
    channels: Literal["first", "last"] | None = None
    builder: str = ""
    row: str = ""
    alone: bool = False
    fresh: bool = False

    @property
    def name(self) -> str:
        return self.id or self.package


def build(rules: Rules, drawn: bool = False) -> Any:
    """A ParallelEnv, or what behaves like one: a `Turns` where agents act one after the other; or a `WritingRow`.

    Args:
        drawn: ask the package for pictures (`render_mode="rgb_array"`), unless `kwargs` say something else.

    Raises ConfigurationError where the package has no such environment or refuses the arguments.
    """
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        # pygame opens a window even for pictures that go into arrays.
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if rules.row:
        return _named(rules.row)(rules)
    module = _imported(rules.package)
    if rules.builder:
        return _named(rules.builder)(rules.id, rules.kwargs)
    kwargs = {"render_mode": "rgb_array", **rules.kwargs} if drawn else rules.kwargs
    if rules.id:
        from marlbench.adapters.registered import build_registered

        return build_registered(rules.id, kwargs)
    for name in ("parallel_env", "env", "raw_env"):
        factory = getattr(module, name, None)
        if factory is None:
            continue
        try:
            environment = factory(**kwargs)
        except Exception as error:
            given = ", ".join(f"{key}={value!r}" for key, value in kwargs.items())
            raise ConfigurationError(
                f"{rules.package}.{name}({given}) failed: {type(error).__name__}: {error}",
                hint=f"`kwargs` of the task are the arguments of {name}.",
            ) from error
        return environment if name == "parallel_env" else Turns(environment)
    raise ConfigurationError(
        f"'{rules.package}' has no parallel_env, env or raw_env.",
        hint="Name the module of a PettingZoo task, for instance mpe2.simple_spread_v3.",
    )


def _named(target: str) -> Any:
    """The attribute that `module:attribute` names."""
    where, _, name = target.partition(":")
    return getattr(importlib.import_module(where), name)


def _imported(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigurationError(
            f"the package '{package}' does not import: {error}", hint=how_to_install(package)
        ) from error


# Which extra of ours brings a package.
_EXTRAS = {
    "mpe2": "mpe",
    "lbforaging": "lbforaging",
    "rware": "rware",
    "magent2": "magent2",
    "vmas": "vmas",
    "jaxmarl": "smax",
    "meltingpot": "meltingpot",
    "dmlab2d": "lab2d",
    "libsumo": "traffic",
    "sumo": "traffic",
    "sumo_rl": "traffic",
    "highway_env": "traffic",
}
_FAMILIES = ("sisl", "butterfly", "classic")


def how_to_install(package: str) -> str:
    """What to type so that a package can be imported."""
    top, _, rest = package.partition(".")
    if top in _EXTRAS:
        return f"pip install 'marlbench[{_EXTRAS[top]}]'"
    family = rest.partition(".")[0]
    if top == "pettingzoo" and family in _FAMILIES:
        return (
            f"pip install 'marlbench[{family}]'; a name that ends with another version may be meant: "
            f"`python -c 'import pettingzoo.{family}.all_modules as m; print(*dir(m))'` lists them."
        )
    return "Install it; the tasks of mpe2, for instance, come with `pip install 'marlbench[mpe]'`."
