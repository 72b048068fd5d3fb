"""Compilation of the simulator's inner loops, kept on disk between processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numba

F = TypeVar("F", bound=Callable[..., object])


def _stamp() -> str:
    """What the compiled code depends on: all files beside this one, in which its functions call each other."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


_STAMP = _stamp()


def inner(function: F) -> F:
    """A function that only compiled functions call: it needs no way in from Python, and lies in their caches."""
    made = numba.njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return made  # type: ignore[no-any-return]


def compiled(function: F) -> F:
    """The function compiled by numba at its first call.

    The result is cached beside this file, under NUMBA_CACHE_DIR, or in the user's cache, whichever can be written
    first; where none can, every process compiles.
    """
    made = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)
    try:
        made.enable_caching()
        # numba looks at the function's own file alone, and would keep what it inlined from the others.
        made._cache._cache_file._source_stamp = _STAMP
    except (RuntimeError, AttributeError):
        pass
    return made  # type: ignore[no-any-return]
