"""The plug-in package of the README, written out and installed, and a shell to type in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# **`path/of/file`**, some words, and the file's content as the next block of code.
_FILE = re.compile(r"^\*\*`([\w./-]+)`\*\*(?:(?!```).)*?^```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="session")
def files() -> dict[str, str]:
    """The files that the README shows, by their path."""
    return dict(_FILE.findall((ROOT / "README.md").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def package(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with those files."""
    directory = tmp_path_factory.mktemp("plug-in")
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return directory


@pytest.fixture(scope="session")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of its own that pip installed the package into, without network."""
    pytest.importorskip("hatchling", reason="the backend that the README's package is built with is missing")
    target = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(package)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return target


class Shell:
    """Runs programs in a directory with other packages on the path."""

    def __init__(self, directory: Path, *paths: Path) -> None:
        self.directory = directory
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("MARLBENCH_", "MLFLOW_"))
            },
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "100",
        }

    def python(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=cwd or self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def marlbench(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """`marlbench WORDS...`, which has to end with this exit code."""
        done = self.python("-m", "marlbench", *words)
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.marlbench(*words, "--json").stdout)


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., Shell]:
    """Makes a shell in an empty directory."""
    return lambda *paths: Shell(tmp_path, *paths)


@pytest.fixture
def plugged(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The README's package as if it were installed for this process."""
    import importlib

    from marlbench import plugins

    def forget() -> None:
        importlib.invalidate_caches()
        plugins.plugins.cache_clear()

    monkeypatch.syspath_prepend(installed)
    forget()
    yield
    monkeypatch.undo()
    forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "meeting"]:
        del sys.modules[name]
