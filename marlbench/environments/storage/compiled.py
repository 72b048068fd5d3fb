"""How the simulator's inner loops are compiled, and views that cost nothing in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numba.extending

from marlbench import compiling

F = TypeVar("F", bound=Callable[..., object])
OPTIONS: dict[str, Any] = {"error_model": "numpy", "no_cfunc_wrapper": True}


def inner(function: F) -> F:
    """A function that only compiled functions call: it needs no way in from Python, and lies in their caches."""
    return _njit(no_cpython_wrapper=True)(function)


def inlined(function: F) -> F:
    """A short one that is called often: what it is given is never passed."""
    return _njit(no_cpython_wrapper=True, forceinline=True)(function)


def _njit(**given: bool) -> Any:
    options: dict[str, Any] = {**OPTIONS, **given}
    return numba.njit(**options)


def compiled(function: F) -> F:
    """A function that Python calls: see `compiling.compiled`."""
    made: F = compiling.compiled(function, nogil=True, **OPTIONS)
    return made


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
