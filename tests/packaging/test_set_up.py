"""The installer behind the Makefile: what an interruption leaves behind, and what it says before it installs."""

from __future__ import annotations

import importlib.util
import json
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.conftest import REPOSITORY


def tool(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, REPOSITORY / "tools" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


set_up = tool("set_up")
freeze = tool("freeze")


def item(name: str, version: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "version": version}}


class Pip:
    """Stands for the environment's pip: notes its calls, reports `plan`, and ends as `endings` say."""

    def __init__(self, plan: list[dict[str, Any]]) -> None:
        self.plan = plan
        self.calls: list[tuple[str, ...]] = []
        self.endings: dict[str, BaseException] = {}

    def __call__(self, *arguments: str) -> None:
        self.calls.append(arguments)
        if "--report" in arguments:
            Path(arguments[arguments.index("--report") + 1]).write_text(json.dumps({"install": self.plan}))
        for word, error in self.endings.items():
            if word in arguments:
                raise error

    @property
    def installed(self) -> list[tuple[str, ...]]:
        return [call for call in self.calls if "--dry-run" not in call and "--constraint" not in call]


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pip:
    monkeypatch.chdir(tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    pip = Pip([item("torch", "2.13.0+cpu"), item("typer", "0.29.2")])
    monkeypatch.setattr(set_up, "pip", pip)
    # Flushing the disks of a busy machine takes longer than all else, and tests do not cut the power.
    monkeypatch.setattr(set_up.os, "sync", lambda: None)
    monkeypatch.setattr(set_up, "create", lambda: venv.create(".venv", with_pip=False))
    return pip


def state() -> str:
    return Path(".venv/state").read_text()


def stamps() -> set[str]:
    return {path.stem for path in Path(".venv").glob("*.stamp")}


def test_writes_the_stamp_last(pip: Pip) -> None:
    set_up.set_up("use")
    assert pip.installed == [
        ("install", "--no-deps", "torch==2.13.0+cpu", "typer==0.29.2"),
        ("install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", "."),
    ]
    assert state() == str(Path.cwd())
    assert stamps() == {"use"}


def test_everything_for_developers_is_enough_for_use(pip: Pip) -> None:
    set_up.set_up("dev")
    assert stamps() == {"use", "dev"}


@pytest.mark.parametrize("word", ["torch==2.13.0+cpu", "--editable"])
def test_interrupted_installation_is_begun_again_from_nothing(pip: Pip, word: str) -> None:
    pip.endings[word] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        set_up.set_up("use")
    assert state() == "unfinished"
    assert not stamps()
    left = Path(".venv/half")
    left.touch()
    pip.endings.clear()
    set_up.set_up("use")
    assert not left.exists()
    assert state() == str(Path.cwd())


def test_failed_resolution_changes_nothing(pip: Pip) -> None:
    set_up.set_up("use")
    pip.endings["--dry-run"] = set_up.SetUpError("no network")
    before = len(pip.installed)
    with pytest.raises(set_up.SetUpError):
        set_up.set_up("dev")
    assert state() == str(Path.cwd())
    assert len(pip.installed) == before


def test_package_that_does_not_build_keeps_what_is_installed(pip: Pip) -> None:
    pip.endings["--editable"] = set_up.SetUpError("pyproject.toml is broken")
    with pytest.raises(set_up.SetUpError):
        set_up.set_up("use")
    assert state() == str(Path.cwd())
    assert not stamps()


def test_environment_of_somebody_else_is_left_alone(pip: Pip) -> None:
    Path(".venv").mkdir()
    theirs = Path(".venv/theirs")
    theirs.touch()
    with pytest.raises(set_up.SetUpError, match="not made by this Makefile"):
        set_up.set_up("use")
    assert theirs.exists()
    assert pip.calls == []


def test_environment_of_another_directory_is_made_again(pip: Pip) -> None:
    set_up.set_up("use")
    Path(".venv/state").write_text("/somewhere/else")
    left = Path(".venv/left")
    left.touch()
    set_up.set_up("use")
    assert not left.exists()


def test_never_names_an_index(pip: Pip) -> None:
    set_up.set_up("dev")
    assert pip.calls
    assert not [word for call in pip.calls for word in call if "index" in word or "find-links" in word]


def test_says_which_torch_before_it_installs(pip: Pip, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    note: Callable[..., None] = pip.__call__

    def listening(*arguments: str) -> None:
        if "torch==2.13.0+cpu" in arguments:
            said.append(capsys.readouterr().out)
        note(*arguments)

    set_up.pip = listening  # type: ignore[attr-defined]
    set_up.set_up("use")
    assert "torch 2.13.0+cpu for CPU" in said[0]
    assert "0.5 GB to download" in said[0]


def test_says_that_cuda_is_large() -> None:
    said = set_up.announcement([item("torch", "2.13.0"), item("nvidia-cublas", "13.1")])
    assert "torch 2.13.0 for CUDA: about 3 GB" in said
    assert "PIP_INDEX_URL" in said


def test_says_that_nothing_is_left_to_install() -> None:
    assert set_up.announcement([]) == "Everything is installed already."


def constraints() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return dict(pins)


def test_constraints_pin_what_the_project_names() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["mpe"],
        *project["optional-dependencies"]["dev"],
    ]
    pinned = constraints()
    for line in [*wanted, *set_up.INSTALLERS]:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is not pinned"
        assert requirement.specifier.contains(pinned[name]), f"{name}=={pinned[name]} is not {line}"


def test_constraints_are_names_and_versions_of_every_platform() -> None:
    text = (REPOSITORY / "constraints.txt").read_text()
    assert constraints()["torch"] == "2.13.0"
    assert "://" not in text
    frozen = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert "".join(f"{pin}\n" for pin in freeze.pins(frozen)) == frozen + "\n"


def test_freezing_leaves_out_what_belongs_to_one_platform() -> None:
    frozen = "torch==2.13.0+cpu\nnvidia-cublas-cu12==12.1\ntriton==3.7\ncuda-bindings==13.5\nMarkup_Safe==3.0\n-e .\n"
    assert freeze.pins(frozen) == ["markup-safe==3.0", "torch==2.13.0"]
