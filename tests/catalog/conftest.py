"""Small plug-ins in the place of the installed ones, and a suite that uses them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from marlbench import plugins
from marlbench.algorithms.base import TunedSettings
from marlbench.plugins import Plugin

SUITE = """\
schema: 1
suite: small
title: A small suite
rows: 4
seeds: 3
steps: 1000
protocol: {kind: episodic, policy: greedy, evaluations: 5}
presets:
  smoke:
    label: not a comparison
    seeds: 1
    steps: 100
    protocol: {evaluations: 1, episodes: 2}
algorithms:
  learner: {}
  slow_learner:
    algorithm: learner
    hyperparameters: {learning_rate: 0.001}
    tasks: ["walk*"]
  scripted:
    seeds: 1
tasks:
  walk:
    environment: walking
    parameters: {agents: 3}
    score: {metric: return_mean, low: -10, high: 0, source: a coin}
  walk_far:
    environment: walking
    revision: 2
    steps: 2000
    rows: 2
    protocol: {episodes: 8}
    algorithms:
      learner:
        hyperparameters: {learning_rate: 0.01}
    score: {metric: return_mean, low: -20, high: 0, source: a coin}
  read:
    environment: "reading:a.book"
    score: {metric: words, low: 100, high: 1, source: a coin}
"""


class Groups(BaseModel):
    model_config = ConfigDict(extra="forbid")
    groups: int = Field(ge=1)


class LearnerHyperparameters(BaseModel):
    model_config = ConfigDict(extra="forbid")
    learning_rate: float = Field(default=0.1, gt=0)
    hidden: tuple[int, ...] = (64, 64)
    sharing: Literal["shared", "independent"] | Groups = "shared"
    anneal: bool = Field(default=True, json_schema_extra={"legacy": False})


class Learner:
    revision = 3
    Hyperparameters = LearnerHyperparameters
    settings: ClassVar[dict[str, TunedSettings]] = {
        "somebody_1999": TunedSettings("a paper", {"learning_rate": 0.25, "hidden": [8]})
    }


class NoHyperparameters(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Scripted:
    revision = 1
    Hyperparameters = NoHyperparameters


class WalkingParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")
    agents: int = Field(default=2, ge=1)
    wind: float = 0.0


class Walking:
    backend = "builtin"
    argument: ClassVar[str | None] = None
    Parameters: ClassVar[type[BaseModel]] = WalkingParameters

    @classmethod
    def simulator_version(cls, parameters: BaseModel) -> str:
        return ""

    @classmethod
    def data_hashes(cls, parameters: BaseModel) -> dict[str, str]:
        return {}


class ReadingParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")
    book: str


class Reading(Walking):
    backend = "library"
    argument = "book"
    Parameters = ReadingParameters

    @classmethod
    def simulator_version(cls, parameters: BaseModel) -> str:
        return "librarian 2.0"

    @classmethod
    def data_hashes(cls, parameters: BaseModel) -> dict[str, str]:
        return {"book": "0" * 64}


class FakeEntryPoint:
    def __init__(self, target: Any) -> None:
        self.target = target

    def load(self) -> Any:
        if isinstance(self.target, Exception):
            raise self.target
        return self.target


Register = Callable[[str, str, Any], None]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Only the plug-ins above, and a function (group, name, object) to add one, broken if an exception."""
    known: dict[str, dict[str, Plugin]] = {group: {} for group in plugins.GROUPS}

    def add(group: str, name: str, target: Any) -> None:
        entry_point: Any = FakeEntryPoint(target)
        known[group][name] = Plugin(group, name, f"tests:{name}", "test-package", entry_point)

    add("algorithms", "learner", Learner)
    add("algorithms", "scripted", Scripted)
    add("environments", "walking", Walking)
    add("environments", "reading", Reading)
    monkeypatch.setattr(plugins, "plugins", known.__getitem__)
    return add


@pytest.fixture
def suites(register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """./suites with small.yaml in it; the working directory is its parent."""
    directory = tmp_path / "suites"
    directory.mkdir()
    (directory / "small.yaml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MARLBENCH_SUITES", raising=False)
    return directory
