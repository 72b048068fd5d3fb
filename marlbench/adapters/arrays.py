"""Named numpy arrays side by side in one piece of memory, so that processes can share them."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Field = tuple[tuple[int, ...], DTypeLike]
"""Shape and dtype of an array."""

Layout = dict[str, Field]
Arrays = dict[str, NDArray[Any]]

_ALIGNMENT = 64


def _offsets(layout: Layout) -> tuple[dict[str, int], int]:
    offsets, end = {}, 0
    for name, (shape, dtype) in layout.items():
        offsets[name] = end
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        end += -(-size // _ALIGNMENT) * _ALIGNMENT
    return offsets, max(end, _ALIGNMENT)


def size(layout: Layout) -> int:
    """Bytes that the arrays take."""
    return _offsets(layout)[1]


def carve(memory: Any, layout: Layout) -> Arrays:
    """The arrays of a layout as views of a writable buffer of `size(layout)` bytes."""
    offsets, _ = _offsets(layout)
    return {
        name: np.ndarray(shape, dtype, buffer=memory, offset=offsets[name])
        for name, (shape, dtype) in layout.items()
    }


def anonymous_file() -> int:
    """A file descriptor of memory without a name: it is gone when the last process that has it open is."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("marlbench")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
