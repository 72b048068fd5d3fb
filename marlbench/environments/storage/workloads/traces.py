"""Traces as workloads: the first requests of a file in memory, the content's hash."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np

from marlbench.environments.files import content_hash
from marlbench.environments.storage.parameters import StorageParameters
from marlbench.environments.storage.workloads.formats import Piece, pieces
from marlbench.environments.storage.workloads.page_numbers import PageNumbers
from marlbench.environments.storage.workloads.workload import Workload
from marlbench.errors import ConfigurationError

_FIELDS = [field.name for field in fields(Piece)]


def read(path: Path, name: str) -> Iterator[Piece]:
    """The requests of a trace in pieces, of one of `formats.FORMATS` or by way of libcachesim.

    Raises ConfigurationError for files that cannot be read, naming file and line, and where libcachesim is missing.
    """
    if name == "libcachesim":
        from marlbench.environments.storage.workloads.foreign import pieces as foreign

        return foreign(path)
    return pieces(path, name)


def sha256(path: str) -> str:
    """The hash of a file's content.

    Raises ConfigurationError where the file cannot be read.
    """
    return content_hash(path, "the trace", "`trace` names the file, relative to the suite file.")


def loaded(parameters: StorageParameters) -> Workload:
    """The requests of a trace that the parameters ask for, in memory.

    Raises ConfigurationError where there are none.
    """
    assert parameters.trace is not None
    state = Path(parameters.trace).stat() if Path(parameters.trace).exists() else None
    changed = (state.st_size, state.st_mtime_ns) if state else (0, 0)
    return _loaded(
        parameters.trace, parameters.trace_format, parameters.trace_skip, parameters.requests, changed
    )


@functools.lru_cache(maxsize=4)
def _loaded(path: str, name: str, skip: int, requests: int | None, changed: tuple[int, int]) -> Workload:
    taken: list[Piece] = []
    count, wanted = 0, None if requests is None else skip + requests
    for piece in read(Path(path), name):
        taken.append(piece)
        count += len(piece.times)
        if wanted is not None and count >= wanted:
            break
    if count <= skip:
        raise ConfigurationError(
            f"{path}: there are {count} requests, and {skip} are skipped.", "Lower `trace_skip`."
        )
    whole = Piece(
        *(np.concatenate([getattr(piece, name) for piece in taken])[skip:wanted] for name in _FIELDS)
    )
    numbers = PageNumbers.of([whole])
    # A clock that was set back stands still until it catches up.
    arrivals = np.maximum.accumulate(whole.times - whole.times[0])
    return Workload(arrivals, numbers.requests(whole), numbers.extent)
