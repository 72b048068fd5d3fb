"""When the Makefile sets up, when it does not, and what it says when it cannot."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")

# A Python that answers the Makefile's questions as the real one does, and only notes that it was asked to set up.
NOTING = f"""\
#!/bin/sh
case "$1" in
  tools/set_up.py)
    echo "$2" >> calls
    [ -e broken ] && exit 1
    mkdir -p .venv && pwd | tr -d '\\n' > .venv/state && touch ".venv/$2.stamp" ;;
  *) exec "{sys.executable}" "$@" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A directory with a space in its name, with what the Makefile needs and a Python that notes its calls."""
    directory = tmp_path / "a clone"
    directory.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, directory / name)
    program(directory / "python", NOTING)
    return directory


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def make(clone: Path, target: str, python: str = "./python") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", target, f"PYTHON={python}"],
        cwd=clone,
        capture_output=True,
        text=True,
        timeout=60,
        env={name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}},
    )


def calls(clone: Path) -> list[str]:
    noted = clone / "calls"
    return noted.read_text().split() if noted.exists() else []


def test_sets_up_once(clone: Path) -> None:
    assert make(clone, ".venv/use.stamp").returncode == 0
    assert make(clone, ".venv/use.stamp").returncode == 0
    assert calls(clone) == ["use"]


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_sets_up_again_after_a_change(clone: Path, changed: str) -> None:
    make(clone, ".venv/dev.stamp")
    later = (clone / ".venv" / "dev.stamp").stat().st_mtime + 10
    os.utime(clone / changed, (later, later))
    make(clone, ".venv/dev.stamp")
    assert calls(clone) == ["dev", "dev"]


def test_sets_up_again_after_a_failure(clone: Path) -> None:
    (clone / "broken").touch()
    assert make(clone, ".venv/use.stamp").returncode != 0
    (clone / "broken").unlink()
    assert make(clone, ".venv/use.stamp").returncode == 0
    assert calls(clone) == ["use", "use"]


def test_sets_up_again_where_the_clone_was_moved(clone: Path) -> None:
    make(clone, ".venv/use.stamp")
    moved = clone.rename(clone.with_name("elsewhere"))
    make(moved, ".venv/use.stamp")
    assert calls(moved) == ["use", "use"]


def refusal(clone: Path, python: str) -> str:
    """What make said on its standard error, without make's own closing line."""
    done = make(clone, ".venv/use.stamp", python)
    assert done.returncode != 0
    assert not (clone / ".venv").exists()
    return "\n".join(line for line in done.stderr.splitlines() if not line.startswith("make"))


def test_says_that_there_is_no_python(clone: Path) -> None:
    said = refusal(clone, "no-such-python")
    assert said.startswith('There is no "no-such-python"')
    assert "\n" not in said


def test_says_that_python_is_too_old(clone: Path) -> None:
    # The question is answered with no, as an older Python answers it.
    program(clone / "old", '#!/bin/sh\ncase "$2" in *version_info*) exit 1 ;; esac\n')
    said = refusal(clone, "./old")
    assert "older than Python 3.11" in said
    assert "\n" not in said


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_says_that_python_has_no_venv(clone: Path, missing: str) -> None:
    (clone / "lack").mkdir()
    (clone / "lack" / f"{missing}.py").write_text("raise ImportError\n")
    program(clone / "bare", f'#!/bin/sh\nPYTHONPATH=lack exec "{sys.executable}" "$@"\n')
    said = refusal(clone, "./bare")
    assert "has no venv or ensurepip" in said
    assert "\n" not in said


def test_help_tells_every_target(clone: Path) -> None:
    said = make(clone, "help").stdout
    for target in ("quickstart", "test", "test-slow", "lint", "bench", "clean"):
        assert f"  {target} " in said
