"""The PettingZoo adapter: what packages cannot have, or do not keep to, is told."""

from __future__ import annotations

from typing import Any

import pytest

from marlbench.adapters.pettingzoo import PettingZooParameters
from marlbench.adapters.workers import SimulatorFailure
from marlbench.errors import ConfigurationError

from .support import Make, keys, same


def test_agents_that_join_are_an_error(make: Make) -> None:
    environment = make("Joining", rows=1, fixed_agents=False, action_masks=True)
    environment.reset(keys(1))
    with pytest.raises(SimulatorFailure, match="player_0 joined within an episode"):
        environment.step(same(1, 2))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_package_that_fails_while_it_is_read(make: Make, workers: int) -> None:
    with pytest.raises(SimulatorFailure, match="dummy_tasks failed: NotImplementedError: no spaces here"):
        make("Shapeless", workers=workers)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("Counting", {}, "unexpected keyword argument 'render_mode'"),
        ("Drawn", {"differs": True}, "cannot be drawn: after the same reset"),
        ("Drawn", {"render_mode": None}, "draws no picture"),
    ],
)
def test_what_cannot_be_drawn_is_told(make: Make, kind: str, arguments: dict[str, Any], message: str) -> None:
    environment = make(kind, arguments=arguments)
    environment.reset(keys())
    with pytest.raises(ConfigurationError, match=message):
        environment.render(0)


@pytest.mark.parametrize(
    ("parameters", "message", "hint"),
    [
        ({"package": "no_such_package_anywhere"}, "does not import", "mpe2"),
        ({"package": "json"}, "'json' has no parallel_env, env or raw_env", "PettingZoo"),
        (
            {"arguments": {"speed": 3}},
            r"parallel_env\(kind='Counting', speed=3\) failed: TypeError",
            "kwargs",
        ),
        ({"state": "environment"}, "has no state of its own", "observations"),
    ],
)
def test_what_cannot_be_built_is_told(
    make: Make, parameters: dict[str, Any], message: str, hint: str
) -> None:
    for workers in (0, 1):
        with pytest.raises(ConfigurationError, match=message) as raised:
            make(workers=workers, **parameters)
        assert hint in raised.value.hint


@pytest.mark.parametrize(
    ("kind", "message", "hint"),
    [
        ("Leaving", "left at step 1, while others act", "fixed_agents: false"),
        ("Vanishing", "is missing after reset", "fixed_agents: false"),
        ("MaskedLater", "masks an action of player_0 at step 1", "action_masks: true"),
    ],
)
def test_broken_promises_are_told(make: Make, kind: str, message: str, hint: str) -> None:
    environment = make(kind, fixed_agents=True)

    def play() -> None:
        environment.reset(keys())
        environment.step(same(3, 2))

    with pytest.raises(ConfigurationError, match=message) as raised:
        play()
    assert hint in raised.value.hint


@pytest.mark.parametrize("package", ["", "a b", "../x", "a.", "os;x"])
def test_packages_have_dotted_names(package: str) -> None:
    with pytest.raises(ValueError, match="should match pattern"):
        PettingZooParameters(package=package)
