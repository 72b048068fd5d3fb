"""A quicker way through PettingZoo's wrapper that plays an AEC environment in parallel.

mpe2 and the classic PettingZoo tasks are written to take turns (AEC); their `parallel_env` wraps them so that
one call makes a turn of every agent. Most of that call's time goes into looking attributes up through a chain
of wrappers. Where every wrapper of the chain is one of those below, by its exact type, each look-up and each
turn ends in the same method of the innermost environment, and so it is called directly:

- `OrderEnforcingWrapper` refuses calls before the first reset, and passes everything on;
- `AssertOutOfBoundsWrapper` refuses actions that are not in the agent's space, and passes everything on.
  Actions are checked before they come here.

The calls that reach the environment, and their order, are the wrapper's own, observations that it discards
included: an environment may draw random numbers when it is observed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Results = tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]


def shortcut(environment: Any) -> Callable[[Mapping[str, Any]], Results] | None:
    """A function equal to `environment.step` for actions that are in their spaces; None where it is not known."""
    from pettingzoo.utils.conversions import aec_to_parallel_wrapper
    from pettingzoo.utils.wrappers import AssertOutOfBoundsWrapper, OrderEnforcingWrapper

    if type(environment) is not aec_to_parallel_wrapper:
        return None
    inner = environment.aec_env
    while type(inner) in (OrderEnforcingWrapper, AssertOutOfBoundsWrapper):
        inner = inner.env
    if inner is not environment.aec_env.unwrapped:
        return None

    def step(actions: Mapping[str, Any]) -> Results:
        agents = inner.agents
        rewards = dict.fromkeys(agents, 0.0)
        for agent in agents:
            if agent != inner.agent_selection:
                raise RuntimeError(f"{agent} should move, but it is {inner.agent_selection}'s turn")
            inner.observe(agent)
            inner.step(actions[agent])
            paid = inner.rewards
            for other in inner.agents:
                rewards[other] += paid[other]
        terminations, truncations = dict(inner.terminations), dict(inner.truncations)
        infos = dict(inner.infos)
        observations = {agent: inner.observe(agent) for agent in inner.agents}
        while inner.agents and (
            inner.terminations[inner.agent_selection] or inner.truncations[inner.agent_selection]
        ):
            inner.step(None)
        environment.agents = inner.agents
        return observations, rewards, terminations, truncations, infos

    return step
