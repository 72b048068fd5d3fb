"""The wheel, the sdist and the editable install: the same package, with its data, as a user meets it."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import marlbench
from tests.packaging.conftest import Installation, build

DATA = {"suites": "suites", "results/reference": "reference", "results/published": "published"}
PATHS = """
import json
from marlbench.catalog import lookup
found = {name: lookup.find(name) for name in lookup.names()}
print(json.dumps({name: [str(one.path), one.where] for name, one in found.items()}))
"""


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def suites_of(installation: Installation) -> dict[str, list[str]]:
    """Suite name -> path and where it was found."""
    done = installation.run("python", "-c", PATHS)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def shipped(checkout: Path) -> dict[str, Path]:
    """Suite name -> its place under `suites`, studies among them."""
    directory = checkout / "suites"
    return {path.stem: path.relative_to(directory) for path in directory.rglob("*.yaml")}


def test_wheel_carries_suites_and_results(wheel: Path, checkout: Path) -> None:
    inside = contents(wheel)
    for source, name in DATA.items():
        prefix = f"marlbench/data/{name}/"
        carried = {
            path.removeprefix(prefix): data for path, data in inside.items() if path.startswith(prefix)
        }
        assert carried == files(checkout / source)
        assert carried, source


def test_wheel_has_every_module_and_nothing_else(wheel: Path, checkout: Path) -> None:
    inside = {
        path
        for path in contents(wheel)
        if ".dist-info/" not in path and not path.startswith("marlbench/data/")
    }
    assert inside == {f"marlbench/{path}" for path in files(checkout / "marlbench")}


def test_sdist_builds_the_same_wheel(wheel: Path, checkout: Path, tmp_path: Path) -> None:
    sdist = build("sdist", checkout, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    again = build("wheel", unpacked, tmp_path / "again")
    assert again.name == wheel.name
    assert contents(again) == contents(wheel)
    assert (unpacked / "tests" / "packaging" / "test_distributions.py").is_file()


def test_installed_wheel_answers_from_an_empty_directory(
    wheel: Path, checkout: Path, install: Callable[[Path], Installation]
) -> None:
    installation = install(wheel)
    version = installation.run("marlbench", "--version")
    assert version.returncode == 0, version.stderr
    assert f"marlbench {marlbench.__version__}" in version.stdout
    as_module = installation.run("python", "-m", "marlbench", "--version")
    assert as_module.stdout == version.stdout

    listed = installation.run("marlbench", "list")
    assert listed.returncode == 0, listed.stderr
    for suite in (checkout / "suites").glob("*.yaml"):
        assert suite.stem in listed.stdout

    packages = next(installation.scripts.parent.glob("lib/python*/site-packages"))
    found = suites_of(installation)
    assert {where for _, where in found.values()} == {"packaged"}
    data = packages / "marlbench" / "data" / "suites"
    assert {name: Path(path) for name, (path, _) in found.items()} == {
        name: data / place for name, place in shipped(checkout).items()
    }
    assert not list(installation.directory.iterdir()), "asking leaves nothing behind"


def test_installed_wheel_plans_a_run(wheel: Path, install: Callable[[Path], Installation]) -> None:
    planned = install(wheel).run("marlbench", "run", "quickstart", "--preset", "smoke", "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["matrix_id"]


def test_editable_install_finds_the_repository(
    checkout: Path, tmp_path: Path, install: Callable[[Path], Installation]
) -> None:
    installation = install(build("editable", checkout, tmp_path))
    where = installation.run("python", "-c", "import marlbench; print(marlbench.__file__)")
    assert Path(where.stdout.strip()) == checkout / "marlbench" / "__init__.py"
    assert {name: Path(path) for name, (path, _) in suites_of(installation).items()} == {
        name: checkout / "suites" / place for name, place in shipped(checkout).items()
    }
    listed = installation.run("marlbench", "list")
    assert listed.returncode == 0, listed.stderr
    assert "quickstart" in listed.stdout
