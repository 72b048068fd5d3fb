"""SMAX's battles, compiled by JAX for a number of rows.

Imports jax: whoever imports this module has checked that it is there. An episode has a key, two numbers of 32 bits:
`reset` takes fold_in(key, 0), and step t, counted from 1, fold_in(key, t).
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

# Rows of which new episodes are begun at once: few rows end at a step, and a start costs as much as a step.
_STARTS = 64


class Shown(NamedTuple):
    """What rows show.

    Attributes:
        observation: float32 [row, agent, features].
        state: float32 [row, features].
        available: bool [row, agent, action].
    """

    observation: jax.Array
    state: jax.Array
    available: jax.Array


class Taken(NamedTuple):
    """What a step brought.

    Attributes:
        reward: float32 [row], the same for all agents.
        over: bool [row]; cut: bool [row], over by the limit alone; won: bool [row].
        dead_allies, dead_enemies: float32 [row].
    """

    reward: jax.Array
    over: jax.Array
    cut: jax.Array
    won: jax.Array
    dead_allies: jax.Array
    dead_enemies: jax.Array


class Battles:
    """The functions of one scenario, compiled ahead of the first step.

    Attributes:
        environment: SMAX's own object.
        compile_seconds: what compiling took.
        starts: rows that `renew` begins at once.
    """

    def __init__(self, scenario: str, limit: int, attack: str, rows: int, device: Any) -> None:
        self.environment = HeuristicEnemySMAX(
            scenario=map_name_to_scenario(scenario), max_steps=limit, attack_mode=attack
        )
        self.rows, self.starts = rows, min(rows, _STARTS)
        began = time.monotonic()
        with jax.default_device(device):
            keys = jnp.zeros((rows, 2), jnp.int32)
            action = jnp.zeros((rows, len(self.environment.agents)), jnp.int32)
            carried, shown = jax.eval_shape(self._begin, keys)
            index = jnp.zeros(self.starts, jnp.int32)
            self.begin = jax.jit(self._begin).lower(keys).compile()
            self.advance = jax.jit(self._advance).lower(carried, action).compile()
            self.renew = jax.jit(self._renew).lower(carried, shown, index, keys[: self.starts]).compile()
        self.compile_seconds = time.monotonic() - began

    def _begin(self, keys: jax.Array) -> tuple[Any, Shown]:
        """Begin the episodes of keys int32 [row, 2]: what rows carry, and what they show."""
        keys = jax.lax.bitcast_convert_type(keys, jnp.uint32)
        observed, state = jax.vmap(lambda key: self.environment.reset(jax.random.fold_in(key, 0)))(keys)
        return (keys, state), self._shown(observed, state)

    def _advance(self, carried: Any, action: jax.Array) -> tuple[Any, Shown, Taken]:
        """Take action int32 [row, agent]; rows that are over are not begun again."""
        keys, state = carried
        agents = self.environment.agents

        def step(key: jax.Array, before: Any, taken: jax.Array) -> Any:
            folded = jax.random.fold_in(key, before.state.step + 1)
            return self.environment.step_env(folded, before, dict(zip(agents, taken, strict=True)))

        observed, state, rewards, dones, _ = jax.vmap(step)(keys, state, action)
        alive = state.state.unit_alive
        allies, enemies = alive[:, : len(agents)], alive[:, len(agents) :]
        fallen, beaten = ~allies.any(1), ~enemies.any(1)
        over = dones["__all__"]
        brought = Taken(
            rewards[agents[0]],
            over,
            over & ~fallen & ~beaten,
            beaten & ~fallen,
            (~allies).sum(1).astype(jnp.float32),
            (~enemies).sum(1).astype(jnp.float32),
        )
        return (keys, state), self._shown(observed, state), brought

    def _renew(self, carried: Any, shown: Shown, index: jax.Array, keys: jax.Array) -> tuple[Any, Shown]:
        """Begin the episodes of keys int32 [start, 2] in the rows of `index`; numbers beyond the rows are skipped."""
        fresh = self._begin(keys)
        return jax.tree.map(lambda old, new: old.at[index].set(new, mode="drop"), (carried, shown), fresh)

    def _shown(self, observed: Any, state: Any) -> Shown:
        agents = self.environment.agents
        available = jax.vmap(self.environment.get_avail_actions)(state)
        return Shown(
            jnp.stack([observed[agent] for agent in agents], 1),
            observed["world_state"],
            jnp.stack([available[agent] for agent in agents], 1) > 0,
        )
