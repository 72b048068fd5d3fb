"""Whether this installation can do its work, found out by trying."""

from __future__ import annotations

import fcntl
import importlib.util
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from marlbench import __version__, plugins
from marlbench.catalog import inventory
from marlbench.checks import Check, Status
from marlbench.engines.machine import free_disk, free_memory, usable_cores
from marlbench.errors import MarlbenchError
from marlbench.store.store import Store
from marlbench.tracking.target import Target, TrackingError

# Below this, checkpoints and the database of a small suite may not fit.
LITTLE_DISK = 1 << 30
# Optional packages that no registry has.
GITHUB_ONLY = {
    "smacv2": "pip install git+https://github.com/oxwhirl/smacv2.git, and the game: see `marlbench doctor smac`",
    "smac": "pip install git+https://github.com/oxwhirl/smac.git, and the game: see `marlbench doctor smac`",
}
# What an extra needs beyond its packages.
EXTRA_NEEDS = {
    "meltingpot": " (its build fetches pictures and bots from a host of its own, not from the package index, and it "
    "needs TensorFlow; without it, marlbench[lab2d] plays clean_up and commons_harvest, and marlbench's own clean_up "
    "and harvest need nothing)"
}
PYTHON = (3, 11)


def diagnose(root: Path) -> Iterator[Check]:
    """Every check of marlbench itself, in the order in which one would look; the store is the one at `root`."""
    yield from _python()
    yield from _torch()
    yield from _packages()
    yield from _plugins()
    yield from _suites()
    yield from _store(root)
    yield from _tracking(root)


def examine(name: str) -> Iterator[Check]:
    """The checks of a plug-in in the group `checks`.

    Raises ConfigurationError where there is none of that name.
    """
    yield from plugins.load("checks", name)()


def _python() -> Iterator[Check]:
    version = platform.python_version()
    old = sys.version_info < PYTHON
    yield Check(
        "python",
        "python",
        Status.BROKEN if old else Status.OK,
        f"{version}, {platform.system()} {platform.machine()}, {usable_cores()} cores, "
        f"{free_memory() / 2**30:.1f} GiB of memory free",
        "Install Python 3.11 or newer." if old else "",
    )
    yield Check("python", "marlbench", Status.OK, __version__)


def _torch() -> Iterator[Check]:
    try:
        import torch

        torch.ones(2).sum().item()
    except Exception as error:
        yield Check(
            "torch", "torch", Status.BROKEN, f"{type(error).__name__}: {error}", "Install torch 2.6 or newer."
        )
        return
    yield Check("torch", "torch", Status.OK, torch.__version__)
    if not torch.cuda.is_available():
        yield Check("torch", "device", Status.OK, "cpu; no GPU that torch can use")
        return
    for index in range(torch.cuda.device_count()):
        try:
            torch.ones(2, device=f"cuda:{index}").sum().item()
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            yield Check(
                "torch", f"cuda:{index}", Status.WARNING, reason, "Use --device cpu, or repair the driver."
            )
        else:
            memory = torch.cuda.get_device_properties(index).total_memory / 2**30
            name = torch.cuda.get_device_name(index)
            yield Check("torch", f"cuda:{index}", Status.OK, f"{name}, {memory:.0f} GiB")


def _packages() -> Iterator[Check]:
    try:
        requirements = [Requirement(text) for text in metadata.requires("marlbench") or ()]
    except metadata.PackageNotFoundError:
        yield Check(
            "packages",
            "marlbench",
            Status.BROKEN,
            "is not installed, so it has no plug-ins",
            "Install it: pip install -e . in its directory.",
        )
        return
    extras: dict[str, list[Requirement]] = {}
    for requirement in requirements:
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", str(requirement.marker or ""))
        if extra is not None:
            extras.setdefault(extra[1], []).append(requirement)
        elif requirement.marker is None or requirement.marker.evaluate():
            version, fits = _installed(requirement)
            yield Check(
                "packages",
                requirement.name,
                Status.OK if fits else Status.BROKEN,
                version or "is not installed",
                "" if fits else f"Install {requirement.name}{requirement.specifier}.",
            )
    for extra_name, needed in sorted(extras.items()):
        if extra_name != "dev":
            yield _extra(extra_name, needed)
    for package, how in GITHUB_ONLY.items():
        present = _has_environment(package)
        yield Check(
            "extras",
            package,
            Status.OK if present else Status.NOTE,
            "installed" if present else "not installed",
            "" if present else how,
        )


def _has_environment(package: str) -> bool:
    # Another library is called smac too; only ours has environments. Nothing is imported to find out.
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    return any(Path(folder, "env").is_dir() for folder in folders or ())


def _installed(requirement: Requirement) -> tuple[str | None, bool]:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None, False
    return version, requirement.specifier.contains(version, prereleases=True)


def _with_extras(needed: list[Requirement]) -> list[Requirement]:
    """Requirements together with what the extras that they ask for require, as far as it can be told."""
    every = list(needed)
    for requirement in needed:
        try:
            texts = metadata.requires(requirement.name) or []
        except metadata.PackageNotFoundError:
            continue
        every += [inner for inner in map(Requirement, texts) if _only_with(inner, requirement.extras)]
    return every


def _only_with(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return False
    return any(marker.evaluate({"extra": extra}) for extra in extras)


def _extra(name: str, needed: list[Requirement]) -> Check:
    needed = _with_extras(needed)
    found = {requirement.name: _installed(requirement) for requirement in needed}
    detail = ", ".join(f"{package} {version or 'not installed'}" for package, (version, _) in found.items())
    complete = all(fits for _, fits in found.values())
    return Check(
        "extras",
        name,
        Status.OK if complete else Status.NOTE,
        detail,
        "" if complete else f"pip install 'marlbench[{name}]'{EXTRA_NEEDS.get(name, '')}",
    )


def _plugins() -> Iterator[Check]:
    for group in plugins.GROUPS:
        rows = inventory.plugged(group)
        sound = [row["name"] for row in rows if row["error"] is None]
        if sound:
            yield Check("plug-ins", group, Status.OK, ", ".join(sound))
        elif group not in ("suites", "checks"):
            yield Check(
                "plug-ins", group, Status.BROKEN, "there is none", "Install marlbench again: pip install -e ."
            )
        for row in rows:
            if row["error"] is not None:
                ours = row["package"] == "marlbench"
                yield Check(
                    "plug-ins",
                    f"{group}: {row['name']}",
                    Status.BROKEN if ours else Status.WARNING,
                    row["error"],
                    f"Repair or uninstall {row['package']}.",
                )


def _suites() -> Iterator[Check]:
    rows = inventory.suites()
    sound = [row["name"] for row in rows if row["error"] is None]
    yield Check(
        "suites",
        "suites",
        Status.OK if sound else Status.WARNING,
        ", ".join(sound) or "there is none",
        "" if sound else "Write one, or install marlbench again.",
    )
    for row in rows:
        if row["error"] is not None:
            yield Check("suites", row["name"], Status.WARNING, row["error"], "Correct the file.")


def _store(root: Path) -> Iterator[Check]:
    if (root / "store.json").exists():
        yield _tried("format", root, lambda: Store.open(root).require_writable())
    existing = next(path for path in (root, *root.parents) if path.exists())
    yield _tried("writable", root, lambda: _write_and_lock(existing))
    free = free_disk(existing)
    little = free < LITTLE_DISK
    yield Check(
        "store",
        "free disk",
        Status.WARNING if little else Status.OK,
        f"{free / 2**30:.1f} GiB",
        "Make room, or choose another directory with --results." if little else "",
    )


def _tried(name: str, root: Path, attempt: Callable[[], None]) -> Check:
    try:
        attempt()
    except MarlbenchError as error:
        return Check("store", name, Status.BROKEN, str(error), error.hint)
    except OSError as error:
        return Check(
            "store",
            name,
            Status.BROKEN,
            f"{root}: {error.strerror}",
            "Choose another directory with --results or MARLBENCH_RESULTS.",
        )
    return Check("store", name, Status.OK, str(root))


def _write_and_lock(directory: Path) -> None:
    if not directory.is_dir():
        raise NotADirectoryError(0, f"{directory} is not a directory")
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"x")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _tracking(root: Path) -> Iterator[Check]:
    try:
        target = Target.locate(root)
    except TrackingError as error:
        yield Check("tracking", "MLflow", Status.WARNING, str(error), error.hint)
        return
    whose = "in the store" if target.own else "MLFLOW_TRACKING_URI"
    yield Check("tracking", "MLflow", Status.OK, f"{target} ({whose})")
