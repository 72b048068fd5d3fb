"""The random numbers of `keys.py` for compiled loops: the same bits from the same keys.

A simulator whose step is a loop over small grids is compiled with numba; what it draws must not depend on that.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from marlbench.compiling import compiled

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_SCALE = np.float32(2.0**-24)


@compiled(inline="always")
def _finalise(value: Any) -> Any:
    value = (value ^ (value >> np.uint64(30))) * _FIRST
    value = (value ^ (value >> np.uint64(27))) * _SECOND
    return value ^ (value >> np.uint64(31))


@compiled(inline="always")
def derived(key: Any, index: int) -> Any:
    """`keys.derive` of one key, int64 or uint64, and one index."""
    return _finalise(_finalise(np.uint64(key) + _GOLDEN) + np.uint64(index + 1) * _GOLDEN)


@compiled(inline="always")
def drawn(key: Any, place: int) -> Any:
    """The uniform at `place` (from 0) of `keys.uniform`, float32."""
    bits = _finalise(np.uint64(key) + np.uint64(place + 1) * _GOLDEN)
    return np.float32(bits >> np.uint64(40)) * _SCALE


@compiled(inline="always")
def below(key: Any, place: int, count: int) -> Any:
    """A whole number in [0, count) from the uniform at `place`."""
    return min(int(drawn(key, place) * np.float32(count)), count - 1)
