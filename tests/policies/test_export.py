from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from marlbench.algorithms.base import Algorithm, Policy, Setting
from marlbench.environments.contract import Discrete, EnvironmentSpecification, Step
from marlbench.errors import USAGE, ConfigurationError, MarlbenchError
from marlbench.plugins import load, plugins
from marlbench.policies import exporting

from .conftest import Typed

CPU = torch.device("cpu")
ENVIRONMENTS = ("simple_spread", "masked_choice", "point_pursuit")
SPECIAL = ("storage_placement", "navigation")
OPTIONS: tuple[dict[str, Any], ...] = ({}, {"recurrent_units": 6}, {"sharing": "independent"})


def learners() -> list[str]:
    return [name for name in plugins("algorithms") if load("algorithms", name).learns]


def specification_of(name: str) -> EnvironmentSpecification:
    environment = load("environments", name)
    built = environment(environment.examples()[0], 1, CPU)
    specification: EnvironmentSpecification = built.specification
    return specification


def variants(name: str) -> Iterator[tuple[str, EnvironmentSpecification, Algorithm]]:
    """The method with every option that it takes: on every task, or, where it is made for one, on that."""
    yield from list(_built(name, ENVIRONMENTS)) or _built(name, SPECIAL)


def _built(name: str, tasks: tuple[str, ...]) -> Iterator[tuple[str, EnvironmentSpecification, Algorithm]]:
    method = load("algorithms", name)
    for task in tasks:
        specification = specification_of(task)
        for options in OPTIONS:
            if not set(options) <= set(method.Hyperparameters.model_fields):
                continue
            try:
                hyperparameters = method.Hyperparameters(hidden=(8,), **options)
                built = method(Setting(specification, (3,), 2, 100, CPU), hyperparameters)
            except ConfigurationError:
                continue
            yield f"{task} {options}", specification, built


def show(specification: EnvironmentSpecification, generator: torch.Generator) -> Step:
    """A random moment of one row."""
    agents = len(specification.agents)
    actions = specification.action.count if isinstance(specification.action, Discrete) else 1
    available = torch.rand(1, agents, actions, generator=generator) < 0.6
    available[..., 0] |= ~available.any(-1)
    if not specification.masks_actions:
        available.fill_(True)
    nothing = torch.zeros(1, agents)
    no = torch.zeros(1, agents, dtype=torch.bool)
    observation = torch.randn(1, agents, specification.observation_size, generator=generator)
    # Some policies take another way where all they see are bits.
    if torch.rand((), generator=generator) < 0.5:
        observation = (observation > 0).float()
    state = torch.randn(1, specification.state_size, generator=generator)
    return Step(
        observation,
        state,
        available,
        ~no,
        no,
        nothing,
        no,
        no,
        no[:, 0],
        False,
        observation,
        state,
        available,
    )


@pytest.mark.parametrize("name", learners())
def test_the_exported_policy_acts_as_ours(name: str, tmp_path: Path) -> None:
    tried = 0
    for case, specification, algorithm in variants(name):
        policy: Policy = algorithm.policy
        generator = torch.Generator().manual_seed(tried)
        parameters = policy.parameters()
        policy.load_parameters(parameters + 0.5 * torch.randn(parameters.shape, generator=generator))
        for actions in ("greedy", "sampled"):
            module = exporting.PolicyModule(policy, specification, actions)  # type: ignore[arg-type]
            path = tmp_path / f"{tried}.pt"
            exporting._write_program(module, "torchscript", path, case)
            program = torch.jit.load(path)
            memory = (
                torch.zeros(1, len(specification.agents), policy.memory_size) if policy.memory_size else None
            )
            exported = memory
            for _ in range(12):
                step = show(specification, generator)
                given: dict[str, Any] = {
                    "observation": step.observation[0],
                    "available_actions": step.available_actions[0],
                    "memory": None if exported is None else exported[0],
                }
                noise = torch.zeros(0)
                if count := policy.uniforms(actions):  # type: ignore[arg-type]
                    given["uniforms"] = torch.rand(len(specification.agents), count, generator=generator)
                    noise = policy.noise(given["uniforms"].unsqueeze(0).clone())
                action, memory = policy.act(step, memory, noise, actions)  # type: ignore[arg-type]
                found = program(*(given[port.name] for port in module.inputs))
                if memory is not None:
                    found, exported = found[0], found[1].unsqueeze(0)
                    assert torch.equal(exported, memory), f"{name}, {case}, {actions}"
                assert torch.equal(found, action[0]), f"{name}, {case}, {actions}"
                assert found.shape == module.outputs[0].shape
            tried += 1
    assert tried, f"{name} was built for none of {(*ENVIRONMENTS, *SPECIAL)}"


@pytest.mark.parametrize(
    ("name", "task"), [("ippo", "simple_spread"), ("iql", "simple_spread"), ("dqn", "masked_choice")]
)
def test_an_exported_program_acts_as_ours(name: str, task: str, tmp_path: Path) -> None:
    case, specification, algorithm = next(found for found in variants(name) if found[0].startswith(task))
    module = exporting.PolicyModule(algorithm.policy, specification, "greedy")
    exporting._write_program(module, "torch-export", tmp_path / "policy.pt2", case)
    program = torch.export.load(tmp_path / "policy.pt2").module()
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        step = show(specification, generator)
        given = {"observation": step.observation[0], "available_actions": step.available_actions[0]}
        action, _ = algorithm.policy.act(step, None, torch.zeros(0), "greedy")
        assert torch.equal(program(*(given[port.name] for port in module.inputs)), action[0])


def test_a_policy_that_needs_more_than_an_agent_sees_is_refused(tmp_path: Path) -> None:
    class Central(Policy):
        def uniforms(self, mode: str) -> int:
            return 0

        def act(self, step: Step, memory: Any, noise: Any, mode: str) -> Any:
            return step.state.sum(1).long().unsqueeze(1), None

    module = exporting.PolicyModule(Central(), specification_of("simple_spread"), "greedy")
    with pytest.raises(MarlbenchError, match="cannot be exported"):
        exporting._write_program(module, "torchscript", tmp_path / "x.pt", "central")


def test_the_command_and_its_example(typed: Typed, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    code, _, said = typed("export", "iql/spread/s1", str(out))
    assert code == 0
    assert {path.name for path in out.iterdir()} == {"policy.pt", "weights.pt", "policy.json", "example.py"}
    assert "example.py" in said
    document = json.loads((out / "policy.json").read_text())
    assert document["name"] == "tiny/spread/iql/s1"
    (observation,) = document["inputs"]
    assert (observation["name"], observation["shape"]) == ("observation", [3, 18])
    weights = torch.load(out / "weights.pt", weights_only=True)
    assert {name: list(value.shape) for name, value in weights.items()} == document["weights"]
    program = (out / "example.py").read_text()
    assert "marlbench" not in program
    # Elsewhere, and without anything that would put marlbench on the path.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(out / "example.py")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(ended.stdout.splitlines()) == 3
    assert "agent_2" in ended.stdout
    code, _, said = typed("export", "iql/spread/s1", str(out))
    assert code == USAGE
    assert "is not empty" in said
