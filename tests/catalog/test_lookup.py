from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from marlbench.catalog import lookup
from marlbench.catalog.lookup import find, names, packaged_directory
from marlbench.catalog.suite import load_suite
from marlbench.errors import ConfigurationError


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "packaged"
    directory.mkdir()
    monkeypatch.setattr(lookup, "packaged_directory", lambda: directory)
    return directory


def copy(suites: Path, directory: Path, name: str = "small", more: str = "") -> Path:
    directory.mkdir(exist_ok=True, parents=True)
    file = directory / f"{name}.yaml"
    text = (suites / "small.yaml").read_text()
    file.write_text(text.replace("suite: small", f"suite: {name}") + more)
    return file


def test_the_places_in_their_order(
    suites: Path, packaged: Path, tmp_path: Path, register: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugged = copy(suites, tmp_path / "plugged", more="# plugged\n")
    register("suites", "small", plugged)
    own = suites / "small.yaml"
    text = own.read_text()
    own.unlink()
    assert (find("small").path, find("small").where) == (plugged, "plug-in of test-package")
    (packaged / "small.yaml").write_text(text + "# packaged\n")
    assert (find("small").where, find("small").shadows) == ("packaged", (plugged,))
    own.write_text(text)
    assert (find("small").where, find("small").shadows) == ("./suites", (packaged / "small.yaml", plugged))
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    copy(suites, second)
    monkeypatch.setenv("MARLBENCH_SUITES", f"{first}{os.pathsep}{second}")
    found = find("small")
    assert (found.path, found.where) == (second / "small.yaml", "MARLBENCH_SUITES")
    assert own in found.shadows
    assert find("./suites/small.yaml") == lookup.Found(own, "given path")


def test_a_hidden_suite_is_told_unless_it_is_the_same(suites: Path, packaged: Path) -> None:
    copy(suites, packaged)
    assert load_suite("small").notices() == []
    copy(suites, packaged, more="# changed\n")
    (notice,) = load_suite("small").notices()
    assert "suites/small.yaml (./suites) is used and hides another suite of this name" in notice
    assert "packaged/small.yaml" in notice


def test_the_same_file_in_two_places_hides_nothing(suites: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARLBENCH_SUITES", str(suites))
    assert find("small").shadows == ()


def test_the_hash_is_that_of_the_content(suites: Path) -> None:
    import hashlib

    file = suites / "small.yaml"
    assert load_suite("small").sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_what_a_suite_plugin_may_be(suites: Path, tmp_path: Path, register: Any) -> None:
    file = copy(suites, tmp_path / "plugged", "theirs")
    module = ModuleType("theirs")
    module.__file__ = str(file.parent / "theirs.py")
    package = ModuleType("package")
    package.__path__ = [str(file.parent)]
    for target in (file, str(file), lambda: file, module, package):
        register("suites", "theirs", target)
        assert find("theirs").path == file
        assert load_suite("theirs").name == "theirs"


@pytest.mark.parametrize("target", [lambda: 3, 3, ModuleType("empty"), lambda: 1 / 0, ImportError("broken")])
def test_a_broken_suite_plugin_is_named(register: Any, target: Any) -> None:
    register("suites", "theirs", target)
    with pytest.raises(ConfigurationError, match=r"the plug-in 'theirs' .*test-package"):
        find("theirs")


def test_unknown_names_hint_at_the_nearest(suites: Path, packaged: Path, register: Any) -> None:
    copy(suites, packaged, "packed")
    register("suites", "theirs", ImportError("never imported"))
    assert names() == ["packed", "small", "theirs"]
    with pytest.raises(ConfigurationError, match="no suite is called 'smal'") as caught:
        find("smal")
    assert caught.value.hint == "Did you mean 'small'?"
    (suites.parent / "here.yaml").touch()
    with pytest.raises(ConfigurationError) as caught:
        find("here")
    assert "write ./here.yaml" in caught.value.hint


@pytest.mark.parametrize("name", ["", "..", "-x", "a b", "x" * 65, "a\nb", "é"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not the name of a suite"):
        find(name)


def test_a_file_found_by_name_calls_itself_so(suites: Path) -> None:
    (suites / "small.yaml").rename(suites / "other.yaml")
    with pytest.raises(ConfigurationError, match=r"other\.yaml:2: suite: the suite calls itself 'small'"):
        load_suite("other")
    assert load_suite("./suites/other.yaml").name == "small"


def test_packaged_suites_are_in_a_wheel_or_beside_the_package(tmp_path: Path, monkeypatch: Any) -> None:
    package = tmp_path / "somewhere" / "marlbench"
    package.mkdir(parents=True)
    monkeypatch.setattr(lookup.marlbench, "__file__", str(package / "__init__.py"))
    assert packaged_directory() == tmp_path / "somewhere" / "suites"
    (package / "data" / "suites").mkdir(parents=True)
    assert packaged_directory() == package / "data" / "suites"
