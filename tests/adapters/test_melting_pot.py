"""Melting Pot's contract through a stand-in with its calls, and real levels of dmlab2d where it is installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from marlbench.adapters.melting_pot import Lab2d, MeltingPot, PlayersParameters
from marlbench.environments.keys import row_keys
from marlbench.errors import ConfigurationError

pytest.importorskip("dm_env")
CPU = torch.device("cpu")
PIXELS = 8 * 8 * 3


@pytest.fixture(autouse=True)
def stand_in(dummy_packages: None) -> Iterator[None]:
    """The package of that name in `packages`, whatever is installed."""
    names = [name for name in sys.modules if name.partition(".")[0] == "meltingpot"]
    real = {name: sys.modules.pop(name) for name in names}
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "meltingpot"]:
        del sys.modules[name]
    sys.modules.update(real)


def pond(name: str = "small_pond", rows: int = 2, workers: int = 0, **parameters: Any) -> MeltingPot:
    return MeltingPot(PlayersParameters(name=name, workers=workers, **parameters), rows, CPU)


def keys(rows: int = 2, seed: int = 1) -> torch.Tensor:
    return row_keys([seed], 0, rows, CPU)


@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_come_first_and_numbers_follow(workers: int):
    environment = pond(workers=workers)
    specification = environment.specification
    assert specification.image == (3, 8, 8)
    # READY_TO_SHOOT and INVENTORY are permitted; the collective reward, text and the world's picture are not shown.
    assert specification.observation_size == PIXELS + 3
    assert specification.agents == ("player_0", "player_1", "player_2")
    assert specification.action.count == 5
    assert not specification.skips_steps
    environment.reset(keys())
    step = environment.step(torch.tensor([[0, 1, 2], [3, 4, 0]]))
    assert step.reward.tolist() == [[0, 1, 2], [3, 4, 0]]
    picture = step.observation[:, :, :PIXELS].view(2, 3, 3, 8, 8)
    assert (picture[0, :, 1, 0, 0] * 255).round().tolist() == [1, 1, 1]
    assert (picture[0, :, 2, 0, 0] * 255).round().tolist() == [0, 1, 2]
    torch.testing.assert_close(picture[:, :, 1, 4:, 4:], torch.full((2, 3, 4, 4), 200 / 255))
    assert step.observation[0, :, PIXELS:].tolist() == [[0, 1, 0.5], [1, 1, 0.5], [2, 1, 0.5]]
    environment.close()


def test_squares_of_pixels_are_averaged():
    environment = pond(scale=4, observations=())
    assert environment.specification.image == (3, 2, 2)
    assert environment.specification.observation_size == 12
    step = environment.reset(keys())
    assert step.observation[0, 0].view(3, 2, 2)[1].flatten().tolist() == pytest.approx([0, 0, 0, 200 / 255])


@pytest.mark.parametrize(("name", "ends"), [("small_pond", False), ("small_pond__ending", True)])
def test_the_last_discount_tells_an_end_from_a_cut(name: str, ends: bool):
    environment = pond(name)
    environment.reset(keys())
    for time in range(4):
        step = environment.step(torch.zeros(2, 3, dtype=torch.int64))
        assert step.any_ended == (time == 3)
    assert bool(step.terminated.all()) == ends
    assert bool(step.truncated.all()) != ends
    # The last picture is of step 4, the next of a new episode.
    assert float(step.final_observation[0, 0, PIXELS + 1]) == 4
    assert float(step.observation[0, 0, PIXELS + 1]) == 0


def test_every_episode_has_a_seed_of_its_own_and_the_same_keys_the_same():
    def seeds(key: int) -> list[int]:
        environment, found = pond(), []
        step = environment.reset(keys(seed=key))
        for _ in range(9):
            found += (step.observation[:, 0, 0] * 255).round().int().tolist()
            step = environment.step(torch.zeros(2, 3, dtype=torch.int64))
        return found

    first = seeds(1)
    assert first == seeds(1)
    assert first != seeds(2)
    assert len(set(first)) > 2


def test_roles_and_scenarios():
    environment = pond(kwargs={"roles": ["tall", "default"]})
    environment.reset(keys())
    assert environment.step(torch.ones(2, 2, dtype=torch.int64)).reward.tolist() == [[11, 1]] * 2
    scenario = pond("small_pond_0")
    scenario.reset(keys())
    assert scenario.step(torch.ones(2, 1, dtype=torch.int64)).reward.tolist() == [[11]] * 2


def test_the_world_is_drawn():
    environment = pond()
    environment.reset(keys())
    environment.step(torch.zeros(2, 3, dtype=torch.int64))
    picture = environment.render(1)
    assert picture.shape == (16, 24, 3)
    assert set(picture.ravel().tolist()) == {1}


@pytest.mark.parametrize(
    ("parameters", "message", "hint"),
    [
        ({"name": "small_pound"}, "no substrate or scenario 'small_pound'", "small_pond"),
        ({"name": "blind"}, "no picture", "INVENTORY"),
        ({"name": "small_pond", "scale": 3}, "8 x 8; scale is 3", "divides"),
        ({"name": "small_pond", "observations": ["INVENTARY"]}, "do not observe 'INVENTARY'", "INVENTORY"),
        ({"name": "small_pond", "kwargs": {"roles": ["short"]}}, "roles .* are not those", "kwargs"),
    ],
)
def test_mistakes_are_told(parameters: dict[str, Any], message: str, hint: str):
    with pytest.raises(ConfigurationError, match=message) as raised:
        MeltingPot(PlayersParameters(workers=0, **parameters), 1, CPU)
    assert hint in (raised.value.hint or "")


def test_a_level_of_dmlab2d_beside_direct_use_of_it():
    dmlab2d = pytest.importorskip("dmlab2d")
    from dmlab2d import runfiles_helper

    parameters = PlayersParameters(
        name="clean_up", kwargs={"numPlayers": 2}, workers=0, observations=("POSITION",), scale=16
    )
    environment = Lab2d(parameters, 1, CPU)
    assert environment.specification.image == (3, 11, 11)
    step = environment.reset(keys(1))
    seed = int(environment._shared["seed"][0])
    raw = dmlab2d.Lab2d(runfiles_helper.find(), {"levelName": "clean_up", "numPlayers": "2"})
    direct = dmlab2d.Environment(raw, raw.observation_names(), seed)
    timestep = direct.reset()
    parts = list(direct.action_spec())
    counts = [int(spec.maximum) - int(spec.minimum) + 1 for spec in direct.action_spec().values()]
    half = len(parts) // 2
    generator = np.random.default_rng(0)
    for _ in range(60):
        for player in range(2):
            expected = timestep.observation[f"{player + 1}.RGB"].reshape(11, 16, 11, 16, 3).mean((1, 3)) / 255
            shown = step.observation[0, player, :363].view(3, 11, 11).permute(1, 2, 0)
            np.testing.assert_allclose(shown, expected, atol=1e-6)
            position = timestep.observation[f"{player + 1}.POSITION"]
            assert step.observation[0, player, 363:].tolist() == position.tolist()
        drawn = [int(generator.integers(count)) for count in counts]
        lowest = [int(spec.minimum) for spec in direct.action_spec().values()]
        timestep = direct.step({name: one + low for name, one, low in zip(parts, drawn, lowest, strict=True)})
        joint = [int(np.ravel_multi_index(drawn[:half], counts[:half])), 0]
        joint[1] = int(np.ravel_multi_index(drawn[half:], counts[half:]))
        step = environment.step(torch.tensor([joint]))
        rewards = [timestep.observation[f"{player + 1}.REWARD"] for player in range(2)]
        assert step.reward[0].tolist() == pytest.approx([float(reward) for reward in rewards])
