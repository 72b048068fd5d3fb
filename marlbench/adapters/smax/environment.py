"""SMAX behind the contract of an environment: torch on this side, JAX on the other, memory shared by DLPack."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from marlbench.adapters.games import how_to_install
from marlbench.adapters.pettingzoo import version_of
from marlbench.environments import contract
from marlbench.environments.contract import (
    AnyParameters,
    BatchedEnvironment,
    Discrete,
    EnvironmentSpecification,
    Step,
)
from marlbench.environments.keys import derive
from marlbench.errors import ConfigurationError

_METRICS = ("win_rate", "dead_allies", "dead_enemies")
SCENARIOS = (
    "3m", "2s3z", "25m", "3s5z", "8m", "5m_vs_6m", "10m_vs_11m", "27m_vs_30m", "3s5z_vs_3s6z", "3s_vs_5z", "6h_vs_8z",
    "smacv2_5_units", "smacv2_10_units", "smacv2_20_units",
)  # fmt: skip


class SmaxParameters(contract.Parameters):
    """Which battle of SMAX. See `Smax`."""

    scenario: str = Field(description="name of a scenario of SMAX")
    enemies: Literal["closest", "random"] = Field(
        default="closest", description="whom SMAX's scripted enemies choose of those in reach"
    )
    episode_limit: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="SMAX's `max_steps`, which it looks at before it counts: an episode has one step more",
    )

    @field_validator("scenario")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in SCENARIOS:
            raise ValueError(f"there is no scenario '{value}' in SMAX; there are {', '.join(SCENARIOS)}")
        return value


class Smax(BatchedEnvironment):
    """SMAX of JaxMARL 0.2: battles in the manner of SMAC with rules of their own, against scripted enemies.

    Actions: 0 to 3 move north, east, south, west, 4 stop (all that the dead have), 5 + j attack enemy j. Observations,
    state, masks and rewards are SMAX's: the mean share of health that the enemies lost, + 1 for a win. SMAX tells
    neither wins nor the limit; here a battle is won when all enemies are dead and an ally lives, and one that only its
    time ended is truncated.

    Everything follows from the rows' keys, see `marlbench.adapters.smax.battles`. A first step comes after some seconds
    or minutes in which JAX compiles: `compile_seconds`.

    Metrics: `win_rate`, `dead_allies`, `dead_enemies`.
    """

    backend = "smax"
    # How XLA orders sums may depend on the number of rows.
    independent_rows = False
    argument = "scenario"
    Parameters = SmaxParameters

    @classmethod
    def simulator_version(cls, parameters: AnyParameters) -> str:
        """Version of jaxmarl. Raises ConfigurationError where it is not installed."""
        return version_of("jaxmarl")

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        if importlib.util.find_spec("jaxmarl") is None:
            return []
        return [SmaxParameters(scenario="3m", episode_limit=4)]

    def __init__(self, parameters: SmaxParameters, rows: int, device: torch.device) -> None:
        self.rows, self.device = rows, device
        jax = _jax()
        from marlbench.adapters.smax.battles import Battles

        self._jax = jax
        self._jax_device = _jax_device(jax, device)
        self.battles = Battles(
            parameters.scenario, parameters.episode_limit, parameters.enemies, rows, self._jax_device
        )
        self.compile_seconds = self.battles.compile_seconds
        print(
            f"SMAX {parameters.scenario}, {rows} rows: compiled in {self.compile_seconds:.1f} s",
            file=sys.stderr,
        )
        inner = self.battles.environment
        self.specification = EnvironmentSpecification(
            agents=tuple(inner.agents),
            observation_size=int(inner.obs_size),
            state_size=int(inner.state_size),
            action=Discrete(int(inner.num_ally_actions)),
            metrics=_METRICS,
            episode_limit=parameters.episode_limit + 1,
            masks_actions=True,
        )
        agents = len(inner.agents)
        self._keys = torch.zeros(rows, dtype=torch.int64, device=device)
        self._episode = torch.zeros(rows, dtype=torch.int64, device=device)
        self._yes = torch.ones(rows, agents, dtype=torch.bool, device=device)
        self._no = torch.zeros(rows, agents, dtype=torch.bool, device=device)
        self._none_ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self._no_reward = torch.zeros(rows, agents, device=device)
        self._carried: Any = None
        self._shown: Any = None

    def reset(self, keys: Tensor) -> Step:
        self._keys = keys.to(self.device).clone()
        self._episode.zero_()
        self._carried, self._shown = self.battles.begin(
            self._given(self._episode_keys(self._keys, self._episode))
        )
        return self._show(self._shown)

    def step(self, action: Tensor) -> Step:
        self._carried, shown, taken = self.battles.advance(self._carried, self._given(action.to(torch.int32)))
        self._shown = shown
        over = self._taken(taken.over)
        ended = torch.nonzero(over).squeeze(1)
        if len(ended):
            self._begin_again(ended)
        step = self._show(self._shown)
        step.reward = self._taken(taken.reward).unsqueeze(1).expand_as(self._no_reward)
        if len(ended):
            cut = self._taken(taken.cut)
            step.any_ended, step.ended = True, over
            step.terminated = (over & ~cut).unsqueeze(1).expand_as(self._no)
            step.truncated = cut.unsqueeze(1).expand_as(self._no)
            final = [self._taken(one) for one in shown]
            step.final_observation, step.final_state, step.final_available_actions = final
            measured = (taken.won, taken.dead_allies, taken.dead_enemies)
            step.metrics = {
                name: self._taken(one).to(torch.float32) for name, one in zip(_METRICS, measured, strict=True)
            }
        return step

    def _begin_again(self, ended: Tensor) -> None:
        """Begin the next episodes of these rows, a few at a time."""
        self._episode[ended] += 1
        starts = self.battles.starts
        for rows in ended.split(starts):
            index = torch.full((starts,), self.rows, dtype=torch.int32, device=self.device)
            index[: len(rows)] = rows
            keys = torch.zeros(starts, 2, dtype=torch.int32, device=self.device)
            keys[: len(rows)] = self._episode_keys(self._keys[rows], self._episode[rows])
            self._carried, self._shown = self.battles.renew(
                self._carried, self._shown, self._given(index), self._given(keys)
            )

    @staticmethod
    def _episode_keys(keys: Tensor, episode: Tensor) -> Tensor:
        """int32 [row, 2]: the bits of the key of each episode."""
        return derive(keys, episode).unsqueeze(1).view(torch.int32)

    def _given(self, tensor: Tensor) -> Any:
        """A tensor for JAX, without a copy where both work on one device."""
        place = "cpu" if self._jax_device.platform == "cpu" else self.device
        return self._jax.dlpack.from_dlpack(tensor.to(place).contiguous())

    def _taken(self, array: Any) -> Tensor:
        """An array of JAX's as a tensor, without a copy where both work on one device."""
        return torch.from_dlpack(array).to(self.device)

    def _show(self, shown: Any) -> Step:
        observation, state, available = (self._taken(one) for one in shown)
        return Step(
            observation=observation,
            state=state,
            available_actions=available,
            acting=self._yes,
            new_occupant=self._no,
            reward=self._no_reward,
            terminated=self._no,
            truncated=self._no,
            ended=self._none_ended,
            any_ended=False,
            final_observation=observation,
            final_state=state,
            final_available_actions=available,
        )

    def state_dict(self) -> dict[str, object]:
        leaves = self._jax.tree.leaves((self._carried, self._shown))
        return {
            "keys": self._keys.clone(),
            "episode": self._episode.clone(),
            "battles": [torch.from_dlpack(leaf).cpu().clone() for leaf in leaves],
        }

    def load_state_dict(self, state: dict[str, Any]) -> Step:
        self._keys, self._episode = (
            state["keys"].to(self.device).clone(),
            state["episode"].to(self.device).clone(),
        )
        # For the shapes alone: every leaf is replaced.
        like = self.battles.begin(self._given(self._episode_keys(self._keys, self._episode)))
        structure = self._jax.tree.structure(like)
        leaves = [self._given(leaf.clone()) for leaf in state["battles"]]
        self._carried, self._shown = self._jax.tree.unflatten(structure, leaves)
        return self._show(self._shown)


def _jax() -> Any:
    """The module jax, told not to take the whole memory of a GPU that torch uses too."""
    for package in ("jax", "jaxmarl"):
        if importlib.util.find_spec(package) is None:
            raise ConfigurationError(
                f"the package '{package}' is not installed.", hint=how_to_install("jaxmarl")
            )
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        import jax
        import jax.dlpack
        import jaxmarl.environments.smax  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(f"jaxmarl does not import: {error}", how_to_install("jaxmarl")) from error
    return jax


def _jax_device(jax: Any, device: torch.device) -> Any:
    """JAX's name for torch's device; its CPU where it has no such device."""
    if device.type == "cuda":
        try:
            return jax.devices("cuda")[device.index or 0]
        except RuntimeError:
            print("JAX has no GPU here: SMAX is played on the CPU.", file=sys.stderr)
    return jax.devices("cpu")[0]
