"""Makes .venv and installs marlbench into it with the versions of constraints.txt. The Makefile calls it.

Usage: python tools/set_up.py use|dev|cluster, in the repository's root, with any Python that marlbench supports.

What is to be installed is resolved first, which changes nothing; then .venv/state says `unfinished` until all of it is
installed, and the stamp that the Makefile compares with pyproject.toml is written last. An environment that is found
unfinished is made again from nothing, for no installer can mend what its own death left half written.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ENVIRONMENT = Path(".venv")
STATE = ENVIRONMENT / "state"
UNFINISHED = "unfinished"
# Each kind has what those before it have.
EXTRAS = {"use": ("mpe",), "dev": ("mpe", "dev"), "cluster": ("mpe", "dev", "slurm", "ray", "server")}
# The installer and what builds an editable install; at hand in the environment, a change of pyproject.toml needs no
# network while nothing new is asked for.
INSTALLERS = ("pip", "hatchling", "editables")


class SetUpError(Exception):
    """What could not be set up and what to do about it, in one line."""


def pip(*arguments: str) -> None:
    """Run the environment's pip; its own words are the explanation when it fails."""
    python = ENVIRONMENT / "bin" / "python"
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    if subprocess.run(command).returncode != 0:
        raise SetUpError("pip failed, for the reason above; the same command tries again.")


def write_state(state: str) -> None:
    """Say durably what is in the environment: `unfinished`, or the directory that a whole one was made for."""
    if state != UNFINISHED:
        # A loss of power must not keep the word and lose the files that it vouches for.
        os.sync()
    temporary = STATE.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(state)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(STATE)
    directory = os.open(ENVIRONMENT, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def create() -> None:
    """An empty environment, with the pip that comes with Python."""
    made = subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], stdout=subprocess.PIPE, text=True)
    if made.returncode != 0:
        raise SetUpError(f"{sys.executable} cannot make a virtual environment: {made.stdout.strip()}")


def make_environment() -> None:
    """Make .venv unless a whole one of this directory is there."""
    if ENVIRONMENT.exists():
        if not STATE.exists() and any(ENVIRONMENT.iterdir()):
            raise SetUpError(
                f"{ENVIRONMENT} was not made by this Makefile; move it away or remove it, then try again."
            )
        if STATE.exists() and STATE.read_text(encoding="utf-8") == os.getcwd():
            return
        shutil.rmtree(ENVIRONMENT)
    ENVIRONMENT.mkdir()
    write_state(UNFINISHED)
    print(f"Making {ENVIRONMENT} with Python {sys.version.split()[0]}.", flush=True)
    create()
    # The pip that comes with Python may download what it only resolves.
    pip("install", "--quiet", "--constraint", "constraints.txt", "pip")
    write_state(os.getcwd())


def requirements(kind: str) -> list[str]:
    """What pyproject.toml asks for, with the extras of `kind` and the installers."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in EXTRAS[kind]:
        wanted += project["optional-dependencies"][extra]
    return [*wanted, *INSTALLERS]


def resolve(wanted: list[str]) -> list[dict[str, Any]]:
    """What pip would install now, as its report tells; nothing is changed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--dry-run", "--quiet", "--constraint", "constraints.txt", "--report", str(report)]
        pip("install", *options, *wanted)
        install: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["install"]
    return install


def announcement(install: list[dict[str, Any]]) -> str:
    """What is about to be installed, which build of torch and about how large, in one line."""
    if not install:
        return "Everything is installed already."
    versions = {item["metadata"]["name"].lower(): item["metadata"]["version"] for item in install}
    said = f"Installing {len(versions)} package{'s' * (len(versions) != 1)}."
    if "torch" not in versions:
        return said
    build = (
        f"torch {versions['torch']} for {'CUDA' if any(n.startswith('nvidia-') for n in versions) else 'CPU'}"
    )
    if build.endswith("CUDA"):
        return (
            f"{said} {build}: about 3 GB to download, 7 GB on disk. "
            "An index of CPU builds, named in PIP_INDEX_URL or pip.conf, brings a sixth of that."
        )
    return f"{said} {build}: with all the rest about 0.5 GB to download, 2 GB on disk."


def set_up(kind: str) -> None:
    make_environment()
    print("Resolving what to install.", flush=True)
    install = resolve(requirements(kind))
    print(announcement(install), flush=True)
    pins = [f"{item['metadata']['name']}=={item['metadata']['version']}" for item in install]
    write_state(UNFINISHED)
    if pins:
        pip("install", "--no-deps", *pins)
    try:
        pip("install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", ".")
    except SetUpError:
        # Our own package did not build: pip put everything back, and what it needs is installed all the same.
        write_state(os.getcwd())
        raise
    write_state(os.getcwd())
    for done in list(EXTRAS)[: list(EXTRAS).index(kind) + 1]:
        (ENVIRONMENT / f"{done}.stamp").touch()


def main() -> int:
    try:
        set_up(sys.argv[1])
    except SetUpError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; the same command begins again.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
