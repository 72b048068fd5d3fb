"""What the documentation says of commands, codes, variables and hyperparameters is so."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from marlbench import errors
from marlbench.catalog.lookup import GIVEN, Found
from marlbench.catalog.suite import check
from marlbench.cli import VERBS, _command
from marlbench.plugins import load

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def rows(text: str, heading: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading."""
    found = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\n((?:\|.*\n?)+)", text, re.MULTILINE)
    assert found, f"no table of {heading}"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found[1].splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).is_file(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_and_know_their_options(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8"), "sh"):
        for line in block.splitlines():
            words = shlex.split(line)
            if words[0] == "make":
                assert re.search(rf"^{words[1]}:", read("Makefile"), re.MULTILINE), line
            if words[0] != "marlbench" or words[1].startswith("-"):
                continue
            assert words[1] in VERBS, line
            command = _command(words[1])
            for word in words[2:]:
                command = getattr(command, "commands", {}).get(word, command)
            known = {option for parameter in command.params for option in parameter.opts}
            assert known >= {word for word in words if word.startswith("-")}, line


def test_every_command_is_described() -> None:
    described = {row[0].strip("`").split()[0] for row in rows(read("docs/reference.md"), "command")}
    assert described == {name for name, verb in VERBS.items() if not verb.hidden}


def test_exit_codes() -> None:
    described = {row[0] for row in rows(read("docs/reference.md"), "code")}
    codes = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
    assert described == {str(code) for code in codes} | {"130, 143"}


def test_environment_variables_of_ours() -> None:
    described = {row[0].strip("`") for row in rows(read("docs/reference.md"), "variable")}
    used: set[str] = set()
    for path in (ROOT / "marlbench").rglob("*.py"):
        used |= set(re.findall(r"MARLBENCH_[A-Z_]+", path.read_text(encoding="utf-8")))
    # The pipe by which a job notices its parent's death is between the two.
    assert used - {"MARLBENCH_LIFELINE"} == {name for name in described if name.startswith("MARLBENCH_")}


@pytest.mark.parametrize(
    "name",
    [
        *("ippo", "mappo", "a2c", "iql", "dqn", "memory_one", "vdn", "qmix", "qplex", "maddpg", "masac"),
        *("sibyl", "harmonia", "archivist", "iplan"),
    ],
)
def test_hyperparameters(name: str) -> None:
    check_fields(name, load("algorithms", name).Hyperparameters)


@pytest.mark.parametrize(
    "name", ["simple_spread", "navigation", "matrix_game", "pettingzoo", "lbforaging", "vmas"]
)
def test_parameters(name: str) -> None:
    check_fields(name, load("environments", name).Parameters)


def check_fields(name: str, model: Any, page: str = "docs/suites.md") -> None:
    described = [tuple(row) for row in rows(read(page), f"`{name}`")]
    fields = []
    for field, found in model.model_fields.items():
        default = "required"
        if not found.is_required():
            default = json.dumps(found.get_default(call_default_factory=True)).strip('"')
        fields.append((f"`{field}`", f"`{default}`", found.description))
    assert described == fields


def test_the_example_of_a_suite_file_is_one(tmp_path: Path) -> None:
    from marlbench.catalog.document import parse
    from marlbench.catalog.matrix import resolve

    (example,) = blocks(read("docs/suites.md"), "yaml")
    path = tmp_path / "example.yaml"
    path.write_text(example, encoding="utf-8")
    suite, _, _ = check(parse(example.encode(), path), Found(path, GIVEN))
    assert suite.name == path.stem
    labels = {cell.label: cell for cell in resolve([str(path)]).cells}
    assert labels["ippo_wide"].hyperparameters["entropy_coefficient"] == 0.02
    assert labels["ippo_wide"].rows == 32


def test_overrides_of_the_example_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from marlbench.catalog.matrix import resolve
    from marlbench.catalog.selection import parse_overrides

    monkeypatch.chdir(tmp_path)
    (line,) = [line for block in blocks(read("docs/suites.md"), "sh") for line in block.splitlines()]
    words = shlex.split(line)
    given = [words[index + 1] for index, word in enumerate(words) if word == "--set"]
    cells = resolve([words[2]], overrides=parse_overrides(given)).cells
    ippo = next(cell for cell in cells if cell.label == "ippo" and cell.task == "simple_spread")
    assert (ippo.hyperparameters["learning_rate"], ippo.hyperparameters["hidden"]) == (1e-3, [128, 128])
    assert ippo.parameters["agents"] == 5


def test_the_suite_of_packages_is_one(tmp_path: Path) -> None:
    from marlbench.catalog.document import parse

    (example,) = blocks(read("docs/environments.md"), "yaml")
    path = tmp_path / "packages.yaml"
    path.write_text(example, encoding="utf-8")
    suite, _, _ = check(parse(example.encode(), path), Found(path, GIVEN))
    for task in suite.tasks.values():
        name, _, argument = task.environment.partition(":")
        environment = load("environments", name)
        environment.Parameters(**{environment.argument: argument}, **task.parameters)


def test_the_study_of_the_example_is_one(tmp_path: Path) -> None:
    from marlbench.catalog.matrix import resolve

    (example,) = blocks(read("docs/studies.md"), "yaml")
    path = tmp_path / "memory.yaml"
    path.write_text(example, encoding="utf-8")
    study = resolve([str(path)]).suites[0].suite.study
    assert study is not None
    assert list(study.claims) == ["memory_helps", "longer_is_better"]
    short = resolve([str(path)], preset="short")
    assert {group.cell.task for group in short.groups} == {
        "short_sighted",
        "repeated-rounds-4",
        "repeated-rounds-16",
    }
