"""Which code a run was made by, so that no result of other code passes for a fresh one."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from marlbench import plugins

if TYPE_CHECKING:
    from marlbench.catalog.matrix import Matrix

OURS = "marlbench"


def fingerprint(matrix: Matrix) -> str:
    """sha256 over the Python files of marlbench and of the plug-ins that the matrix uses, and torch's version.

    Files count with their path inside their package; what is compiled or lies elsewhere does not count.
    """
    from importlib.metadata import version

    cells = [group.cell for group in matrix.groups]
    targets = {
        *(plugins.load("environments", cell.environment.partition(":")[0]).__module__ for cell in cells),
        *(plugins.load("algorithms", cell.algorithm).__module__ for cell in cells),
    }
    packages = sorted({OURS, *(target.partition(".")[0] for target in targets)})
    digest = hashlib.sha256(f"python {sys.version_info[:2]} torch {version('torch')}".encode())
    for package in packages:
        for name, path in _files(package):
            digest.update(f"\n{package} {name} ".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files(package: str) -> Iterable[tuple[str, Path]]:
    try:
        found = importlib.util.find_spec(package)
    except ValueError:
        # A module that was made, not imported, has no file.
        return []
    if found is None:
        return []
    if not found.submodule_search_locations:
        path = Path(found.origin or "")
        return [(path.name, path)] if path.is_file() else []
    return sorted(
        (str(path.relative_to(root)), path)
        for root in map(Path, found.submodule_search_locations)
        for path in root.rglob("*.py")
    )
