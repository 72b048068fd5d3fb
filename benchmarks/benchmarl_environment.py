"""Makes the virtual environment that BenchMARL is measured in, beside this file, unless it is there already."""

from __future__ import annotations

import shutil
import subprocess
import sys

from measure import HERE

ENVIRONMENT = HERE / ".venv-benchmarl"
REQUIREMENTS = HERE / "benchmarl.txt"


def python() -> str:
    """The environment's Python; made first where it is missing, unfinished or of other versions."""
    stamp = ENVIRONMENT / "installed.txt"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    executable = str(ENVIRONMENT / "bin" / "python")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return executable
    if ENVIRONMENT.exists():
        shutil.rmtree(ENVIRONMENT)
    print(f"Installing BenchMARL into {ENVIRONMENT.name}: a few minutes.", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    pip = [executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    subprocess.run([*pip, "install", "--requirement", str(REQUIREMENTS)], check=True)
    # It only draws videos, and its builds for CUDA cannot be imported beside a torch for CPU.
    subprocess.run([*pip, "uninstall", "--yes", "torchvision"], check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return executable
