"""A few episodes of smacv2 or smac without marlbench: `alone.py SCENARIO ARGUMENTS.json OUT.npz SEED...`.

The generators are seeded for each episode by the rule that the adapter documents; actions are the last available ones
of even agents, the first of odd ones. Written are observations, states, masks and rewards of all steps, one after the
other.
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

import numpy as np


def generators(held: Any) -> list[tuple[Any, str]]:
    """Every generator in a distribution and in those inside it, in the order of names."""
    found = []
    for name, value in sorted(vars(held).items()):
        if isinstance(value, np.random.Generator):
            found.append((held, name))
        elif hasattr(value, "generate"):
            found += generators(value)
    return found


def main() -> None:
    scenario, arguments, out, *seeds = sys.argv[1:]
    if "_vs_" in scenario and scenario.split("_")[0] in ("protoss", "terran", "zerg"):
        from smacv2.env.starcraft2.wrapper import StarCraftCapabilityEnvWrapper as Environment
    else:
        from smac.env import StarCraft2Env as Environment
    environment = Environment(**json.loads(arguments))
    inner = getattr(environment, "env", environment)
    inner._seed = int(seeds[0])
    told: dict[str, list[Any]] = {
        name: [] for name in ("observation", "state", "available", "reward", "over")
    }

    def show(observations: Any, state: Any) -> None:
        told["observation"].append(np.stack(observations))
        told["state"].append(state)
        told["available"].append(environment.get_avail_actions())

    for seed in map(int, seeds):
        random.seed(seed)
        np.random.seed(seed)
        source = np.random.SeedSequence(seed)
        for distribution in getattr(environment, "env_key_to_distribution_map", {}).values():
            for holder, name in generators(distribution):
                setattr(holder, name, np.random.default_rng(source.spawn(1)[0]))
        show(*environment.reset())
        over = False
        while not over:
            actions = []
            for agent, mask in enumerate(environment.get_avail_actions()):
                legal = np.nonzero(mask)[0]
                actions.append(int(legal[0] if agent % 2 else legal[-1]))
            reward, over, info = environment.step(actions)
            assert info, "the game crashed"
            told["reward"].append(reward)
            told["over"].append([over, info["battle_won"], info["dead_allies"], info["dead_enemies"]])
            show(environment.get_obs(), environment.get_state())
    environment.close()
    np.savez(out, **{name: np.array(values) for name, values in told.items()})


if __name__ == "__main__":
    main()
