"""How inner loops of simulators are compiled that consist of many small functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

from marlbench import compiling

F = TypeVar("F", bound=Callable[..., object])
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "no_cfunc_wrapper": True}


def inner(function: F) -> F:
    """A function that only compiled functions call: it needs no way in from Python, and lies in their caches."""
    return _njit(no_cpython_wrapper=True)(function)


def inlined(function: F) -> F:
    """A short one that is called often: what it is given is never passed."""
    return _njit(no_cpython_wrapper=True, forceinline=True)(function)


def _njit(**given: bool) -> Any:
    options: dict[str, Any] = {**_OPTIONS, **given}
    return numba.njit(**options)


def compiled(function: F) -> F:
    """A function that Python calls: see `compiling.compiled`."""
    made: F = compiling.compiled(function, nogil=True, **_OPTIONS)
    return made
