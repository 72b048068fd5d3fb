"""Compilation of the simulator's inner loops, kept on disk between processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numba.extending

F = TypeVar("F", bound=Callable[..., object])


# The files whose functions call each other, and the numbers that they share.
_FILES = (
    "compiled",
    "devices",
    "driver",
    "layout",
    "migration",
    "order",
    "players",
    "transfers",
    "transition",
    "view",
)


def _stamp() -> str:
    digest = hashlib.sha256()
    for name in _FILES:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()


_STAMP = _stamp()


def inner(function: F) -> F:
    """A function that only compiled functions call: it needs no way in from Python, and lies in their caches."""
    return _njit(no_cpython_wrapper=True)(function)


def inlined(function: F) -> F:
    """A short one that is called often: what it is given is never passed."""
    return _njit(no_cpython_wrapper=True, forceinline=True)(function)


def _njit(**given: bool) -> Callable[[F], F]:
    options: dict[str, Any] = {"error_model": "numpy", "no_cfunc_wrapper": True, **given}
    made: Callable[[F], F] = numba.njit(**options)
    return made


def compiled(function: F) -> F:
    """The function compiled by numba at its first call.

    The result is cached beside this file, under NUMBA_CACHE_DIR, or in the user's cache, whichever can be written
    first; where none can, every process compiles.
    """
    made: Any = _njit(nogil=True)(function)
    try:
        made.enable_caching()
        # numba looks at the function's own file alone, and would keep what it inlined from the others.
        made._cache._cache_file._source_stamp = _STAMP
    except (RuntimeError, AttributeError):
        pass
    compiled_function: F = made
    return compiled_function


@numba.extending.intrinsic
def _unowned(typing: Any, array: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.make_array(array)
        view = kind(context, builder, arguments[0])
        view.meminfo = view.meminfo.type(None)
        view.parent = view.parent.type(None)
        return view._getvalue()

    return array(array), build


# A view of an array that does not count references, which costs more than a request does otherwise; for arrays that
# the caller of the compiled function holds all the while.
unowned: Any = _unowned
