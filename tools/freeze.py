"""Writes constraints.txt anew: the newest versions that work together, with the torch that it names already.

Usage: python tools/freeze.py, in the repository's root. A fresh environment is made for it and removed again.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from set_up import requirements

HEADER = """\
# What was tested together, for Python 3.11 to 3.13. It binds the Makefile and CI, not users of the package.
# `make constraints` writes it anew; names and versions only, and no package of a single platform.
"""
# What comes with the builds of torch for one kind of machine only.
PLATFORM = re.compile(r"(nvidia|cuda|triton|pytorch-triton|rocm|intel)\b.*")


def pins(frozen: str) -> list[str]:
    """The lines of a `pip freeze` as portable constraints: normalised names, no local versions, sorted."""
    kept = []
    for line in frozen.splitlines():
        name, separator, version = line.partition("==")
        name = re.sub(r"[-_.]+", "-", name).lower()
        if separator and not PLATFORM.fullmatch(name):
            kept.append(f"{name}=={version.split('+')[0]}")
    return sorted(kept)


def main() -> None:
    constraints = Path("constraints.txt")
    torch = next(
        line for line in constraints.read_text(encoding="utf-8").splitlines() if line.startswith("torch==")
    )
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/python", "-m", "pip"]
        subprocess.run([*pip, "install", "--upgrade", torch, *requirements("cluster")], check=True)
        frozen = subprocess.run(
            [*pip, "freeze", "--all"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    constraints.write_text(HEADER + "".join(f"{pin}\n" for pin in pins(frozen)), encoding="utf-8")
    print(f"Wrote {constraints}: look at its difference, then run the tests with it.")


if __name__ == "__main__":
    main()
