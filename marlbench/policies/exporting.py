"""A trained policy as files that torch alone can use.

    policy.pt      the policy as a program in TorchScript, or policy.pt2, an exported program
    weights.pt     the same numbers as named tensors
    policy.json    what goes in and what comes out, and where it is from
    example.py     loads the program and takes a few steps, without marlbench

TorchScript, traced, is the default: every torch that marlbench runs on has it, and the recorded operations are few
and old. torch 2.13 calls it deprecated in favour of exported programs, whose format is younger than torch 2.6.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from marlbench.algorithms.base import Policy
from marlbench.algorithms.stack import ParameterStack
from marlbench.environments.contract import Discrete, EnvironmentSpecification, Step
from marlbench.errors import MarlbenchError, UsageError
from marlbench.policies.trained import Rebuilt, StoredPolicy
from marlbench.store import naming

Format = Literal["torchscript", "torch-export"]
Actions = Literal["greedy", "sampled"]
SCHEMA = 1
PROGRAMS: Mapping[Format, str] = {"torchscript": "policy.pt", "torch-export": "policy.pt2"}


@dataclass(frozen=True)
class Port:
    """One input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    meaning: str

    def example(self) -> Tensor:
        """A tensor that fits."""
        if self.dtype == "bool":
            return torch.ones(self.shape, dtype=torch.bool)
        if self.name == "uniforms":
            return torch.full(self.shape, 0.5)
        return torch.zeros(self.shape, dtype=getattr(torch, self.dtype))


class PolicyModule(nn.Module):
    """A policy of one row: observation [agent, features] and what else it needs -> action [agent] and memory.

    Attributes:
        inputs, outputs: in the order of the call.
    """

    def __init__(self, policy: Policy, specification: EnvironmentSpecification, actions: Actions) -> None:
        super().__init__()
        self._policy, self._mode = policy, actions
        agents, size = len(specification.agents), policy.memory_size
        self.inputs = [
            Port("observation", (agents, specification.observation_size), "float32", "what each agent sees")
        ]
        if specification.masks_actions and isinstance(specification.action, Discrete):
            self.inputs.append(
                Port(
                    "available_actions",
                    (agents, specification.action.count),
                    "bool",
                    "True where an action may be taken",
                )
            )
        if size:
            self.inputs.append(
                Port("memory", (agents, size), "float32", "of the step before; zeros when an episode begins")
            )
        if count := policy.uniforms(actions):
            self.inputs.append(
                Port("uniforms", (agents, count), "float32", "torch.rand(...): what is drawn at random")
            )
        if isinstance(specification.action, Discrete):
            action = Port("action", (agents,), "int64", f"in [0, {specification.action.count})")
        else:
            box = f"in [{specification.action.low:g}, {specification.action.high:g}]"
            action = Port("action", (agents, specification.action.size), "float32", box)
        self.outputs = [action]
        if size:
            self.outputs.append(Port("memory", (agents, size), "float32", "for the step after"))

    def forward(self, *values: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        given = {port.name: value.unsqueeze(0) for port, value in zip(self.inputs, values, strict=True)}
        observation = given["observation"]
        everyone = torch.ones(observation.shape[:2], dtype=torch.bool)
        # What an agent on its own does not have is not there: a policy that wants it cannot be exported.
        nothing: Any = None
        step = Step(
            observation=observation,
            state=nothing,
            available_actions=given.get("available_actions", nothing),
            acting=everyone,
            new_occupant=~everyone,
            reward=nothing,
            terminated=nothing,
            truncated=nothing,
            ended=nothing,
            any_ended=False,
            final_observation=nothing,
            final_state=nothing,
            final_available_actions=nothing,
        )
        noise = torch.zeros(0)
        if "uniforms" in given:
            noise = self._policy.noise(given["uniforms"].clone())
        action, memory = self._policy.act(step, given.get("memory"), noise, self._mode)
        if memory is None:
            return action.squeeze(0)
        return action.squeeze(0), memory.squeeze(0)


def export(
    stored: StoredPolicy, rebuilt: Rebuilt, which: str, actions: Actions, form: Format, directory: Path
) -> list[Path]:
    """Write the files of one policy; returns them.

    Raises:
        UsageError: the directory is not empty or cannot be written.
        MarlbenchError: the policy acts on more than observation, mask and memory.
    """
    module = PolicyModule(rebuilt.policy, rebuilt.specification, actions)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty.", "Name a new directory.")
        paths = [directory / name for name in (PROGRAMS[form], "weights.pt", "policy.json", "example.py")]
        _write_program(module, form, paths[0], naming.name(stored.cell))
        torch.save(dict(stored.descriptions[which]), paths[1])
        document = describe(stored, rebuilt, module, which, actions, form)
        paths[2].write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        paths[3].write_text(example(module, rebuilt.specification, form), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {directory}: {error.strerror or error}.") from error
    return paths


def _write_program(module: PolicyModule, form: Format, path: Path, name: str) -> None:
    _detach(module)
    arguments = tuple(port.example() for port in module.inputs)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # That the format will go one day is said in policy.json.
            warnings.simplefilter("ignore")
            module.eval()
            if form == "torch-export":
                torch.export.save(torch.export.export(module, arguments, strict=False), path)
            else:
                torch.jit.trace(module, arguments, check_trace=False).save(str(path))
    except (AttributeError, TypeError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise MarlbenchError(
            f"the policy of {name} cannot be exported: {type(error).__name__}: {reason}.",
            "Its algorithm acts on more than observation, mask and memory, or in a way that torch cannot record.",
        ) from error


def _detach(module: PolicyModule) -> None:
    """The numbers become constants of the program, which those that want gradients cannot."""
    seen: list[Any] = [module._policy]
    for owner in seen:
        for value in list(vars(owner).values()):
            if isinstance(value, ParameterStack):
                for tensor in (value.flat, *value.parameters.values()):
                    tensor.requires_grad_(False)
            elif isinstance(value, nn.Module) or (isinstance(value, Tensor) and value.is_leaf):
                value.requires_grad_(False)
            elif isinstance(value, Policy) and value not in seen:
                seen.append(value)


def describe(
    stored: StoredPolicy, rebuilt: Rebuilt, module: PolicyModule, which: str, actions: str, form: str
) -> dict[str, Any]:
    """The content of policy.json."""
    cell = stored.cell

    def ports(found: list[Port]) -> list[dict[str, Any]]:
        return [{**vars(port), "shape": list(port.shape)} for port in found]

    return {
        "schema": SCHEMA,
        "cell": cell.id,
        "name": naming.name(cell),
        "algorithm": cell.algorithm,
        "environment": cell.environment,
        "parameters": cell.parameters,
        "which": which,
        "steps": stored.outcome["steps"],
        "actions": actions,
        "format": form,
        "torch": torch.__version__,
        "agents": list(rebuilt.specification.agents),
        "inputs": ports(module.inputs),
        "outputs": ports(module.outputs),
        "weights": {name: list(value.shape) for name, value in stored.descriptions[which].items()},
        "absolute": _finite(stored.outcome["absolute"]),
    }


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {
        name: value if value == value and abs(value) != float("inf") else None
        for name, value in values.items()
    }


def example(module: PolicyModule, specification: EnvironmentSpecification, form: Format) -> str:
    """A program that loads the policy with torch alone and takes a few steps."""
    load = f'torch.jit.load(folder / "{PROGRAMS[form]}")'
    if form == "torch-export":
        load = f'torch.export.load(folder / "{PROGRAMS[form]}").module()'
    shapes = {port.name: port.shape for port in module.inputs}
    lines = [
        '"""Loads the policy beside this file with torch alone and takes a few steps."""',
        "",
        "from pathlib import Path",
        "",
        "import torch",
        "",
        "folder = Path(__file__).parent",
        f"policy = {load}",
        f"agents = {json.dumps(list(specification.agents))}",
    ]
    if "memory" in shapes:
        lines.append(f"memory = torch.zeros{shapes['memory']}  # at the start of every episode")
    lines += [
        "",
        "with torch.no_grad():",
        "    for step in range(3):",
        f"        observation = torch.rand{shapes['observation']}  # [agent, features]: from your environment",
    ]
    if "available_actions" in shapes:
        mask = f"torch.ones({shapes['available_actions']}, dtype=torch.bool)"
        lines.append(f"        available_actions = {mask}  # [agent, action]: what may be taken now")
    if "uniforms" in shapes:
        lines.append(f"        uniforms = torch.rand{shapes['uniforms']}  # what the policy draws at random")
    results = "action, memory" if "memory" in shapes else "action"
    lines += [
        f"        {results} = policy({', '.join(shapes)})",
        "        print(step, dict(zip(agents, action.tolist())))",
        "",
    ]
    return "\n".join(lines)
