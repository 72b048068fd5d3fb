"""What the `sc2` backend needs on this machine: the game, its version, maps, packages, protobuf. Starts nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from marlbench.adapters.sc2 import scenarios
from marlbench.errors import ConfigurationError

# The build of game 4.10, with which the numbers of SMACv2 were published.
PUBLISHED_BUILD = 75689
# Newer ones refuse the modules that s2clientprotocol generated.
_PROTOBUF_LIMIT = Version("3.21")
_PURE_PYTHON = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
_REPOSITORIES = {
    "smacv2": "https://github.com/oxwhirl/smacv2",
    "smac": "https://github.com/oxwhirl/smac",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: of the thing.
        ok: whether it is as needed.
        fatal: whether nothing can be played as long as it is not ok.
        detail: what was found.
        hint: what to do where it is not ok.
    """

    name: str
    ok: bool
    fatal: bool
    detail: str
    hint: str = ""


def root() -> Path:
    """Where the game is, by the rule of pysc2 for Linux."""
    return Path(os.environ.get("SC2PATH") or "~/StarCraftII").expanduser()


def map_path(file: str) -> Path:
    """Where the packages look for a map."""
    return root() / "Maps" / "SMAC_Maps" / file


def builds(game: Path) -> list[int]:
    """Numbers of the builds below Versions/, smallest first; pysc2 starts the largest."""
    try:
        names = [entry.name for entry in (game / "Versions").iterdir()]
    except OSError:
        return []
    return sorted(int(name[4:]) for name in names if name.startswith("Base") and name[4:].isdigit())


def game_version() -> str:
    """The build that would be played, as part of a cell's identity.

    Raises ConfigurationError where there is none.
    """
    for finding in _game():
        if finding.fatal and not finding.ok:
            raise ConfigurationError(f"{finding.name}: {finding.detail}.", finding.hint)
    return f"StarCraft II Base{builds(root())[-1]}"


def package_version(package: str) -> str:
    """Name and version of smacv2 or smac, without importing it.

    Raises ConfigurationError where it is not installed.
    """
    finding = _package(package)
    if not finding.ok:
        raise ConfigurationError(f"{finding.name}: {finding.detail}.", finding.hint)
    return f"{package} {finding.detail}"


def require(scenario: str) -> None:
    """Raises ConfigurationError that names the first thing that is missing for a scenario, and what to do."""
    needed = (*_packages((scenarios.package(scenario),)), *_game(), _maps([scenarios.map_file(scenario)]))
    for finding in needed:
        if finding.fatal and not finding.ok:
            raise ConfigurationError(f"{finding.name}: {finding.detail}.", finding.hint)


def findings(names: Iterable[str]) -> Iterator[Finding]:
    """Everything that scenarios of these names need, in the order in which one would install it."""
    names = list(names)
    yield from _game()
    yield _maps(sorted({scenarios.map_file(name) for name in names}))
    yield from _packages(tuple(sorted({scenarios.package(name) for name in names}, reverse=True)))


def _game() -> Iterator[Finding]:
    game = root()
    where = f"{game} ({'SC2PATH' if os.environ.get('SC2PATH') else 'the default; SC2PATH is not set'})"
    install = (
        "Download the Linux package of StarCraft II 4.10 from Blizzard's s2client-proto page, unpack it, and set "
        "SC2PATH to its folder StarCraftII; docs/starcraft.md has the steps."
    )
    there = (game / "Versions").is_dir()
    detail = (
        where if there else f"{where} has no folder Versions" if game.is_dir() else f"{where} does not exist"
    )
    yield Finding("game", there, True, detail, "" if there else install)
    if not there:
        return
    found = builds(game)
    if not found:
        yield Finding("game binary", False, True, f"{game / 'Versions'} has no folder Base<number>", install)
        return
    binary = game / "Versions" / f"Base{found[-1]:05d}" / "SC2_x64"
    if not binary.is_file():
        yield Finding("game binary", False, True, f"{binary} does not exist", install)
    elif not os.access(binary, os.X_OK):
        yield Finding(
            "game binary", False, True, f"{binary} cannot be executed", f"Type: chmod +x '{binary}'"
        )
    else:
        yield Finding("game binary", True, True, str(binary))
    published = found[-1] == PUBLISHED_BUILD
    yield Finding(
        "game version",
        published,
        False,
        f"Base{found[-1]}, {'game 4.10' if published else 'while the published numbers are of game 4.10, Base75689'}",
        ""
        if published
        else "Results of other versions are kept apart and not comparable with the published ones; leave "
        "only Base75689 below Versions, since the newest is started.",
    )


def _maps(files: Sequence[str]) -> Finding:
    folder = map_path("")
    missing = [file.removesuffix(".SC2Map") for file in files if not map_path(file).is_file()]
    if not missing:
        return Finding("maps", True, True, f"{len(files)} in {folder}")
    return Finding(
        "maps",
        False,
        True,
        f"{folder} does not have {', '.join(missing)}",
        f"Copy the maps, which pip does not bring: git clone {_REPOSITORIES['smacv2']} && cp -r "
        f'smacv2/smacv2/env/starcraft2/maps/SMAC_Maps "{folder.parent}/"',
    )


def _packages(packages: tuple[str, ...]) -> Iterator[Finding]:
    for package in packages:
        yield _package(package)
    for package, module in (("pysc2", "pysc2"), ("s2clientprotocol", "s2clientprotocol")):
        found = importlib.util.find_spec(module) is not None
        yield Finding(
            package, found, True, _version(package) if found else "not installed", f"pip install {package}"
        )
    yield _protobuf()


def _package(package: str) -> Finding:
    # The package index has another library called smac; ours alone has environments. Nothing is imported to find out.
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    ours = any(Path(folder, "env").is_dir() for folder in folders)
    hint = (
        f"pip install git+{_REPOSITORIES[package]}.git (it is on GitHub alone; what the package index calls 'smac' is "
        "another library)"
    )
    if ours:
        return Finding(package, True, True, f"{_version(package)}{_commit(package)}")
    return Finding(package, False, True, "another library of this name" if folders else "not installed", hint)


def _protobuf() -> Finding:
    text = _version("protobuf")
    try:
        fits = Version(text) < _PROTOBUF_LIMIT
    except InvalidVersion:
        return Finding("protobuf", False, True, "not installed", "pip install 'protobuf<3.21'")
    pure = os.environ.get(_PURE_PYTHON) == "python"
    if fits or pure:
        return Finding("protobuf", True, True, text + ("" if fits else f", {_PURE_PYTHON}=python"))
    return Finding(
        "protobuf",
        False,
        True,
        f"{text} is too new for s2clientprotocol",
        f"pip install 'protobuf<3.21', in an environment of its own where other packages need a newer one; or set "
        f"{_PURE_PYTHON}=python, which is slower.",
    )


def _commit(package: str) -> str:
    """Of what pip installed from a repository: both packages have been 1.0.0 through all their changes."""
    try:
        told = importlib.metadata.distribution(package).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return ""
    commit = json.loads(told).get("vcs_info", {}).get("commit_id", "") if told else ""
    return f" ({commit[:7]})" if commit else ""


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unversioned"
