"""SMAX through the adapter against SMAX alone; skipped where jaxmarl is not installed."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from marlbench.adapters.smax.environment import SCENARIOS, Smax, SmaxParameters
from marlbench.environments.contract import Step
from marlbench.environments.keys import derive, row_keys
from marlbench.errors import ConfigurationError

CPU = torch.device("cpu")
ROWS, LIMIT = 6, 15


@cache
def built() -> Smax:
    """One environment for all tests: compiling it takes most of their time."""
    pytest.importorskip("jaxmarl", reason="the extra smax is not installed")
    return Smax(SmaxParameters(scenario="3m", episode_limit=LIMIT), ROWS, CPU)


def keys(seed: int = 0) -> torch.Tensor:
    return row_keys([seed], 0, ROWS, CPU)


def choose(step: Step, generator: torch.Generator) -> torch.Tensor:
    """Mostly forward and the first enemy in reach, so that battles are won, lost and cut."""
    preference = torch.rand(step.available_actions.shape, generator=generator)
    preference[..., 1] += 0.5
    enemies = preference.shape[2] - 5
    preference[..., 5:] += torch.arange(enemies, 0, -1)
    return preference.masked_fill(~step.available_actions, -1).argmax(2)


def played(environment: Smax, steps: int) -> tuple[list[Step], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    shown, taken = [environment.reset(keys())], []
    for _ in range(steps):
        taken.append(choose(shown[-1], generator))
        shown.append(environment.step(taken[-1]))
    return shown, taken


def test_battles_are_smax_s_own_for_the_same_keys() -> None:
    """Row by row, with nothing of the adapter: reset and step_env of JaxMARL, and the keys that are documented."""
    environment = built()
    import jax
    import jax.numpy as jnp
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

    smax = HeuristicEnemySMAX(scenario=map_name_to_scenario("3m"), max_steps=LIMIT)
    reset, step_env = jax.jit(smax.reset), jax.jit(smax.step_env)
    available = jax.jit(smax.get_avail_actions)
    shown, taken = played(environment, 70)

    def key(row: int, episode: int) -> Any:
        bits = (
            derive(keys()[row : row + 1], torch.tensor([episode])).view(torch.int32).numpy().view(np.uint32)
        )
        return jnp.asarray(bits)

    def same(name: str, ours: torch.Tensor, theirs: Any) -> None:
        assert np.allclose(ours.numpy(), np.asarray(theirs), atol=1e-5), name

    ends, wins, cuts = 0, 0, 0
    for row in range(ROWS):
        episode, time = 0, 0
        observed, state = reset(jax.random.fold_in(key(row, 0), 0))
        for number, action in enumerate(taken):
            step = shown[number]
            same("observation", step.observation[row], jnp.stack([observed[agent] for agent in smax.agents]))
            same("state", step.state[row], observed["world_state"])
            masks = available(state)
            same("mask", step.available_actions[row], jnp.stack([masks[agent] for agent in smax.agents]))
            time += 1
            chosen = dict(zip(smax.agents, jnp.asarray(action[row].numpy()), strict=True))
            folded = jax.random.fold_in(key(row, episode), time)
            observed, state, rewards, dones, _ = step_env(folded, state, chosen)
            after = shown[number + 1]
            same("reward", after.reward[row], jnp.stack([rewards[agent] for agent in smax.agents]))
            assert bool(after.ended[row]) == bool(dones["__all__"])
            if after.ended[row]:
                final = jnp.stack([observed[agent] for agent in smax.agents])
                same("final observation", after.final_observation[row], final)
                same("final state", after.final_state[row], observed["world_state"])
                # A win shows in the reward alone: nobody takes all of the enemies' health in one step.
                won = float(rewards[smax.agents[0]]) >= 1
                alive = np.asarray(state.state.unit_alive)
                assert after.metrics["win_rate"][row] == won
                assert after.metrics["dead_allies"][row] == (~alive[:3]).sum()
                assert after.metrics["dead_enemies"][row] == (~alive[3:]).sum()
                limit_alone = bool(alive[:3].any() and alive[3:].any())
                assert bool(after.truncated[row].all()) == limit_alone
                assert bool(after.terminated[row].all()) != limit_alone
                ends, wins, cuts = ends + 1, wins + won, cuts + limit_alone
                episode, time = episode + 1, 0
                observed, state = reset(jax.random.fold_in(key(row, episode), 0))
    assert ends > ROWS
    assert wins
    assert cuts


def test_a_saved_state_goes_on_to_the_bit() -> None:
    environment = built()
    shown, taken = played(environment, 40)
    copies = [(one.observation.clone(), one.state.clone(), one.reward.clone()) for one in shown]
    environment.reset(keys())
    for action in taken[:17]:
        environment.step(action)
    file = io.BytesIO()
    torch.save(environment.state_dict(), file)
    file.seek(0)
    environment.reset(keys(seed=3))
    step = environment.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(step.observation, copies[17][0])
    for action, expected in zip(taken[17:], copies[18:], strict=True):
        step = environment.step(action)
        assert torch.equal(step.observation, expected[0])
        assert torch.equal(step.state, expected[1])
        assert torch.equal(step.reward, expected[2])


def test_tensors_of_a_step_outlive_the_next() -> None:
    environment = built()
    step = environment.reset(keys())
    kept, generator = step.observation.clone(), torch.Generator().manual_seed(0)
    environment.step(choose(step, generator))
    assert torch.equal(step.observation, kept)


def test_compile_time_is_told_apart() -> None:
    assert built().compile_seconds > 0


def test_all_scenarios_of_smax_are_ours() -> None:
    pytest.importorskip("jaxmarl", reason="the extra smax is not installed")
    from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO

    assert set(SCENARIOS) == set(MAP_NAME_TO_SCENARIO)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_is_played(scenario: str) -> None:
    pytest.importorskip("jaxmarl", reason="the extra smax is not installed")
    environment = Smax(SmaxParameters(scenario=scenario, episode_limit=3), 2, CPU)
    step = environment.reset(row_keys([0], 0, 2, CPU))
    generator = torch.Generator().manual_seed(0)
    told = environment.specification
    assert told.episode_limit == 4
    for _ in range(4):
        assert not step.truncated.any()
        step = environment.step(choose(step, generator))
    assert step.observation.shape == (2, len(told.agents), told.observation_size)
    assert step.state.shape == (2, told.state_size)
    assert step.truncated.all()
    assert torch.isfinite(step.final_observation).all()


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="not installed") as caught:
        Smax(SmaxParameters(scenario="3m"), 1, CPU)
    assert "marlbench[smax]" in caught.value.hint
    with pytest.raises(ValueError, match="there is no scenario 'terran_5_vs_5' in SMAX"):
        SmaxParameters(scenario="terran_5_vs_5")
