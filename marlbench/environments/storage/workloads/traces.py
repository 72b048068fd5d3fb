"""Traces as workloads: pages numbered anew, the first requests of a file in memory, the content's hash."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlbench.environments.files import content_hash
from marlbench.environments.storage.devices import PAGE_BYTES
from marlbench.environments.storage.parameters import StorageParameters
from marlbench.environments.storage.workloads.formats import Piece, pieces
from marlbench.environments.storage.workloads.workload import Workload
from marlbench.errors import ConfigurationError

Ranges = tuple[NDArray[np.int64], NDArray[np.int64]]


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
    times = np.concatenate([piece.times for piece in taken])[skip:wanted]
    first, last = _pages(
        np.concatenate([piece.offsets for piece in taken])[skip:wanted],
        np.concatenate([piece.sizes for piece in taken])[skip:wanted],
    )
    ranges = merged(first, last + 1)
    rows = np.empty((len(times), 3), np.int32)
    rows[:, 0], rows[:, 1] = numbered(first, ranges), last - first + 1
    rows[:, 2] = np.concatenate([piece.writes for piece in taken])[skip:wanted]
    # A clock that was set back stands still until it catches up.
    return Workload(np.maximum.accumulate(times - times[0]), rows, extent_of(ranges))


def requests_of(piece: Piece, ranges: Ranges) -> NDArray[np.int32]:
    """A piece's requests, int32 [request, 3], with pages numbered by all ranges of the trace."""
    first, last = _pages(piece.offsets, piece.sizes)
    rows = np.empty((len(first), 3), np.int32)
    rows[:, 0], rows[:, 1], rows[:, 2] = numbered(first, ranges), last - first + 1, piece.writes
    return rows


def ranges_of(piece: Piece) -> Ranges:
    """The pages that a piece uses."""
    first, last = _pages(piece.offsets, piece.sizes)
    return merged(first, last + 1)


def _pages(offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> Ranges:
    return offsets // PAGE_BYTES, (offsets + sizes - 1) // PAGE_BYTES


def merged(begin: NDArray[np.int64], end: NDArray[np.int64]) -> Ranges:
    """Ranges that touch or overlap as one: ascending begins and ends (exclusive)."""
    order = np.argsort(begin, kind="stable")
    begin, reach = begin[order], np.maximum.accumulate(end[order])
    fresh = np.ones(len(begin), bool)
    fresh[1:] = begin[1:] > reach[:-1]
    starts = np.flatnonzero(fresh)
    ends = reach[np.append(starts[1:] - 1, len(begin) - 1)]
    return begin[starts], ends


def numbered(pages: NDArray[np.int64], ranges: Ranges) -> NDArray[np.int64]:
    """Pages by new numbers: ranges in order, one unused number between them, so that no two become neighbours."""
    begin, end = ranges
    lengths = end - begin + 1
    base = np.cumsum(lengths) - lengths
    place = np.searchsorted(begin, pages, side="right") - 1
    return base[place] + pages - begin[place]


def extent_of(ranges: Ranges) -> int:
    """How many numbers `numbered` gives out."""
    return int((ranges[1] - ranges[0] + 1).sum())
