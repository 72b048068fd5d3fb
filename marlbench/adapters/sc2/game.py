"""One game of StarCraft II behind smacv2 or smac, with what these packages leave to their user; runs in workers.

What is put right: seeds reach every generator, nobody resets twice before an episode ended, a reset that fails is not
None, a lost game is told as lost, a limit as a limit, and the game dies with its worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.sc2 import scenarios
from marlbench.adapters.sc2.watch import Watch
from marlbench.errors import ConfigurationError

# A game that leaves within this time after its start will not come; pysc2 would ask it for more than half a minute.
_AT_ONCE = 0.5
_KILLED_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


class GameLost(Exception):
    """The game crashed, hung or could not show a battle: its episode says nothing."""


@dataclass(frozen=True)
class Outcome:
    """What a step brought.

    Attributes:
        reward: the same for all agents.
        over: whether the episode ended, and `limit` whether its time ran out.
        won: whether the battle was won.
        dead_allies, dead_enemies: units that are dead now.
    """

    reward: float
    over: bool
    limit: bool
    won: bool
    dead_allies: int
    dead_enemies: int


class Game:
    """One environment object of the package, from its construction to its end, at most one game process.

    Args:
        scenario: as marlbench calls it.
        arguments: of the package, see `scenarios.arguments`; taken over.
        fix_obs: repair smacv2's issue 50, see `_repair`.
        watch: over the start of the game, and every answer.
        episode_limit: steps of an episode.

    Attributes:
        agents, actions, observation_size, state_size: as the package tells them without a game.
    """

    def __init__(
        self, scenario: str, arguments: dict[str, Any], fix_obs: bool, watch: Watch, episode_limit: int
    ) -> None:
        self._watch = watch
        made = _constructed(scenario, arguments)
        # smacv2 wraps its environment in one that draws teams; smac does not.
        self._outer, self._inner = made, getattr(made, "env", made)
        self._began = False
        self._inner.episode_limit = episode_limit
        self._known = _Masks(self._inner)
        if fix_obs and scenarios.is_drawn(scenario):
            _repair(self._inner)
        self._inner.full_restart = _lost
        # Called where smacv2 could not show all units and would begin again; resetting goes through the class.
        self._outer.reset = _lost
        told = self._inner.get_env_info()
        self.agents, self.actions = int(told["n_agents"]), int(told["n_actions"])
        self.observation_size, self.state_size = int(told["obs_shape"]), int(told["state_shape"])

    @property
    def scale(self) -> float:
        """The most that an episode's rewards can add up to before they are scaled: the divisor of rewards.

        The packages take it from the first battle of an environment and keep it.
        """
        return float(self._inner.max_reward)

    @scale.setter
    def scale(self, value: float) -> None:
        self._inner.max_reward = value

    def reset(self, seed: int) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
        """Begin the episode of a seed; starts the game at the first call.

        The teams, their places and what the package draws later follow from the seed; the game's own randomness
        follows from the seed of the first episode and from all that was played since.

        Returns:
            observations of the agents, and the state.

        Raises:
            GameLost: there is no battle to show.
        """
        inner = self._inner
        self._known.forget()
        _seed(self._outer, seed)
        if not self._began:
            inner._seed = seed & 0x7FFFFFFF
        elif inner._episode_count == 0:
            # A reset within the first episode would launch a second game and count the enemies' health twice.
            inner._episode_count = 1
        with self._watch.over(), _losses():
            shown = type(self._outer).reset(self._outer)
        if shown is None:
            raise GameLost("the package showed no battle")
        self._began = True
        return shown

    def step(self, actions: list[int]) -> Outcome:
        """Take one action for each agent.

        Raises:
            GameLost: what the package shows after this step says nothing.
        """
        inner = self._inner
        limits = inner.timeouts
        with self._watch.over(), _losses():
            reward, over, info = self._outer.step(actions)
        if not info:
            # The packages' word for a crash.
            raise GameLost("the package restarted the game")
        return Outcome(
            float(reward),
            bool(over),
            bool(over) and inner.timeouts > limits,
            bool(info["battle_won"]),
            int(info["dead_allies"]),
            int(info["dead_enemies"]),
        )

    def look(self) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
        """Observations of the agents, and the state. Once a step: smacv2 draws the order in which agents look."""
        with _losses():
            return self._outer.get_obs(), self._outer.get_state()

    def available(self) -> list[list[int]]:
        """[agent][action]: 1 where the action is available. Asked for before `look`, which then needs them as well."""
        self._known.forget()
        actions: list[list[int]] = self._outer.get_avail_actions()
        self._known.keep(actions)
        return actions

    def close(self) -> None:
        """End the game, whatever state it is in."""
        process = getattr(getattr(self._inner, "_sc2_proc", None), "_proc", None)
        if process is not None:
            # A game that hangs would let its controller wait for minutes.
            process.kill()
        with contextlib.suppress(Exception):
            self._inner.close()
        self._inner._sc2_proc = None


class _Masks:
    """Which actions are available to whom, until something changes.

    The packages work it out three times a step: to check the actions, for what an agent sees of its ways, and when
    asked. It follows from the units alone, which nothing but `update_units` changes between two steps.
    """

    def __init__(self, inner: Any) -> None:
        self._kept: list[list[int]] | None = None
        self._follows = hasattr(inner, "get_avail_agent_actions") and hasattr(inner, "update_units")
        if not self._follows:
            return
        whole, update = inner.get_avail_agent_actions, inner.update_units

        def available(agent: int) -> list[int]:
            found: list[int] = whole(agent) if self._kept is None else self._kept[agent]
            return found

        def update_units(*given: Any, **named: Any) -> Any:
            self.forget()
            return update(*given, **named)

        inner.get_avail_agent_actions, inner.update_units = available, update_units

    def forget(self) -> None:
        self._kept = None

    def keep(self, actions: list[list[int]]) -> None:
        if self._follows:
            self._kept = actions


def _constructed(scenario: str, arguments: dict[str, Any]) -> Any:
    package = scenarios.package(scenario)
    where, name = f"{package}.env", "StarCraft2Env"
    if package == "smacv2":
        where, name = "smacv2.env.starcraft2.wrapper", "StarCraftCapabilityEnvWrapper"
    try:
        made = getattr(importlib.import_module(where), name)(**arguments)
        _watch_launches()
    except (ImportError, AttributeError, TypeError) as error:
        # TypeError is what s2clientprotocol raises with a protobuf that is too new.
        raise ConfigurationError(
            f"{where} of the package {package} cannot be used: {type(error).__name__}: "
            f"{str(error).strip().partition(chr(10))[0]}",
            hint="`marlbench doctor smac` says what is missing.",
        ) from error
    return made


def _lost(*_: Any, **__: Any) -> Any:
    raise GameLost("the game no longer answers, or did not show all units")


@contextlib.contextmanager
def _losses() -> Iterator[None]:
    """Whatever the packages raise while they speak with the game is the game's loss, but for wrong actions."""
    try:
        yield
    except (GameLost, AssertionError):
        raise
    except Exception as error:
        raise GameLost(f"{type(error).__name__}: {error}") from error


def _seed(environment: Any, seed: int) -> None:
    """Seed all that the package draws from: its distributions, and the generators that are global."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    source = np.random.SeedSequence(seed)
    for distribution in getattr(environment, "env_key_to_distribution_map", {}).values():
        _reseed(distribution, source)


def _reseed(distribution: Any, source: np.random.SeedSequence) -> None:
    """Replace every generator of a distribution and of those inside it, in the order of their names."""
    for name, value in sorted(vars(distribution).items()):
        if isinstance(value, np.random.Generator):
            setattr(distribution, name, np.random.default_rng(source.spawn(1)[0]))
        elif hasattr(value, "generate"):
            _reseed(value, source)


def _repair(inner: Any) -> None:
    """Show an agent the enemies it sees, also beside one that it does not see (smacv2, issue 50).

    smacv2 wipes what an agent sees of all enemies with lower numbers whenever one comes that nobody has told it of.
    Here it is asked about those enemies only that it has been told of or sees first, for which it wipes nothing.
    """
    whole = inner.get_obs_agent

    def get_obs_agent(agent: int, fully_observable: bool = False) -> Any:
        enemies, tags = inner.enemies, inner.enemy_tags
        # One look at the array: single numbers of it cost more than all else here.
        told = inner.obs_enemies[:, agent].tolist()
        place, sight = inner.agents[agent].pos, inner.unit_sight_range(agent)

        def sees_first(number: int, enemy: Any) -> bool:
            there = enemy.pos
            return tags[number] is None and inner.distance(place.x, place.y, there.x, there.y) < sight

        inner.enemies = {
            number: enemy for number, enemy in enemies.items() if told[number] or sees_first(number, enemy)
        }
        try:
            return whole(agent, fully_observable)
        finally:
            inner.enemies = enemies

    inner.get_obs_agent = get_obs_agent


def _watch_launches() -> None:
    """Let pysc2's games die with this process, and tell at once where one does not even start."""
    try:
        from pysc2.lib import sc_process
    except ImportError:
        return
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def in_game() -> None:
        # Workers ignore both, and what is ignored is inherited.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if libc is not None:
            libc.prctl(_KILLED_WITH_PARENT, signal.SIGKILL)

    def launch(_: Any, run_config: Any, args: list[str], **__: Any) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(args, cwd=run_config.cwd, env=run_config.env, preexec_fn=in_game)
        except OSError as error:
            raise GameLost(f"{args[0]} does not start: {error.strerror}") from error
        end = time.monotonic() + _AT_ONCE
        while time.monotonic() < end:
            if process.poll() is not None:
                raise GameLost(f"{args[0]} left at once with exit code {process.returncode}")
            time.sleep(0.05)
        return process

    sc_process.StarcraftProcess._launch = launch
