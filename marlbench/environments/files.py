"""Data files that tasks read: their content is part of a cell's identity."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from marlbench.errors import ConfigurationError


def content_hash(path: str | Path, what: str, hint: str) -> str:
    """sha256 of a file's content; computed once while size and time of change stay.

    Args:
        what: names the file in messages, as in "the trace".

    Raises ConfigurationError where the file cannot be read.
    """
    try:
        state = Path(path).stat()
        return _sha256(str(path), state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise ConfigurationError(f"{what} {path} cannot be read: {error.strerror}.", hint) from error


@functools.lru_cache(maxsize=64)
def _sha256(path: str, size: int, changed: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
