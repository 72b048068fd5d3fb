"""How the highway's inner loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

from marlbench import compiling

F = TypeVar("F", bound=Callable[..., object])
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "no_cfunc_wrapper": True}


def inner(function: F) -> F:
    """A function that only compiled functions call: it needs no way in from Python, and lies in their caches."""
    options: dict[str, Any] = {**_OPTIONS, "no_cpython_wrapper": True}
    made: F = numba.njit(**options)(function)
    return made


def compiled(function: F) -> F:
    """A function that Python calls: see `compiling.compiled`."""
    made: F = compiling.compiled(function, nogil=True, **_OPTIONS)
    return made
