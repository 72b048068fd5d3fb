"""Distributions built from this repository, and empty environments to install them into; nothing is downloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BUILDERS = {"wheel": "build_wheel", "sdist": "build_sdist", "editable": "build_editable"}


def build(kind: str, source: Path, target: Path) -> Path:
    """Build one distribution with hatchling, as an installer asks for it, in a process of its own."""
    target.mkdir(parents=True, exist_ok=True)
    code = f"import sys, hatchling.build; print(hatchling.build.{BUILDERS[kind]}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=source, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.strip().splitlines()[-1]


@dataclass(frozen=True)
class Installation:
    """An environment with marlbench installed, and an empty directory to call it from."""

    scripts: Path
    directory: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MARLBENCH_", "MLFLOW_", "PYTHON", "COVERAGE"))
        }
        return subprocess.run(
            [str(self.scripts / command[0]), *command[1:]],
            cwd=self.directory,
            env=kept | {"COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Installation]:
    """Installs a wheel into a new environment that finds the dependencies of the running one."""

    def install(wheel: Path) -> Installation:
        root = tmp_path_factory.mktemp("an installation")
        venv.create(root / "environment", with_pip=False, symlinks=True)
        python = root / "environment" / "bin" / "python"
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        done = subprocess.run(
            [*pip, "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        # Only afterwards, so that pip saw an empty environment. Lines of a .pth file are searched after the
        # environment's own packages, and the .pth files of the running environment (its editable marlbench) are not.
        packages = next((root / "environment").glob("lib/python*/site-packages"))
        shared = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (packages / "zz_dependencies.pth").write_text("".join(f"{path}\n" for path in sorted(shared)))
        empty = root / "empty"
        empty.mkdir()
        return Installation(root / "environment" / "bin", empty)

    return install


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's files without what is ignored or left over, in a directory with a space in its name."""
    root = tmp_path_factory.mktemp("a checkout")
    ignored = shutil.ignore_patterns("__pycache__", ".venv*", "out", ".git", "*.pyc")
    for name in (
        "marlbench",
        "suites",
        "tests",
        "tools",
        "benchmarks",
        "results/reference",
        "results/published",
    ):
        shutil.copytree(REPOSITORY / name, root / name, ignore=ignored)
    for name in ("pyproject.toml", "constraints.txt", "Makefile", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(REPOSITORY / name, root / name)
    return root


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", checkout, tmp_path_factory.mktemp("wheel"))
