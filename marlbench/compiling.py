"""Inner loops compiled by numba, kept on disk between processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., object])
_HOME = Path(__file__).parent


@cache
def _stamp(folder: Path) -> str:
    """What compiled code depends on: the files of a folder, whose functions call each other."""
    files = sorted(folder.rglob("*.py"))
    return repr([(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files])


def _folder(function: Callable[..., object]) -> Path:
    """The part of this package that a function is of (`environments`, `algorithms`), or its own folder elsewhere."""
    file = Path(function.__code__.co_filename)
    return _HOME / file.relative_to(_HOME).parts[0] if file.is_relative_to(_HOME) else file.parent


def compiled(function: F | None = None, **options: Any) -> Any:
    """The function compiled by numba at its first call; `options` are those of `numba.njit`.

    The result is cached beside its file, under NUMBA_CACHE_DIR, or in the user's cache, whichever can be written
    first; where none can, every process compiles.
    """
    if function is None:
        return lambda given: compiled(given, **options)
    made = numba.njit(**options)(function)
    try:
        made.enable_caching()
        # numba looks at the function's own file alone, and would keep what it inlined from the others.
        made._cache._cache_file._source_stamp = _stamp(_folder(function))
    except (RuntimeError, AttributeError):
        pass
    return made
