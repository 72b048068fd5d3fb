"""Pages of a trace numbered anew, so that memory holds those that are requested and no others.

The pages in use are ranges. Numbers follow their order, with an unused one between any two ranges, so that no pages
become neighbours that were none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from marlbench.environments.storage.devices import PAGE_BYTES
from marlbench.environments.storage.workloads.formats import Piece

Ranges = tuple[NDArray[np.int64], NDArray[np.int64]]
# Ranges of pieces are kept so long, unless there are more of them than of the pages known so far.
_WAITING = 1 << 17


def pages_of(piece: Piece) -> Ranges:
    """The first and the last page of every request."""
    return piece.offsets // PAGE_BYTES, (piece.offsets + piece.sizes - 1) // PAGE_BYTES


def merged(begin: NDArray[np.int64], end: NDArray[np.int64]) -> Ranges:
    """Ranges that touch or overlap as one: ascending begins and ends (exclusive)."""
    order = np.argsort(begin, kind="stable")
    begin, reach = begin[order], np.maximum.accumulate(end[order])
    fresh = np.ones(len(begin), bool)
    fresh[1:] = begin[1:] > reach[:-1]
    starts = np.flatnonzero(fresh)
    ends = reach[np.append(starts[1:] - 1, len(begin) - 1)]
    return begin[starts], ends


class PageNumbers:
    """The new numbers of pages.

    Attributes:
        begin, end: int64 [range], the pages in use; ends are exclusive.
        extent: numbers lie below it.
        working_set: pages in use.
    """

    def __init__(self, begin: NDArray[np.int64], end: NDArray[np.int64]) -> None:
        self.begin, self.end = begin, end
        lengths = end - begin + 1
        self._base = np.cumsum(lengths) - lengths - begin
        self.extent = int(lengths.sum())
        self.working_set = self.extent - len(begin)

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> PageNumbers:
        """Of all pages that pieces request; sorting costs what it would at once, memory a few times the ranges."""
        known: Ranges = (np.empty(0, np.int64), np.empty(0, np.int64))
        waiting: list[Ranges] = []
        count = 0
        for piece in pieces:
            first, last = pages_of(piece)
            waiting.append(merged(first, last + 1))
            count += len(waiting[-1][0])
            if count > max(_WAITING, len(known[0])):
                known, waiting, count = _joined(known, waiting), [], 0
        return cls(*_joined(known, waiting))

    def __call__(self, pages: NDArray[np.int64]) -> NDArray[np.int64]:
        """The new numbers of pages in use."""
        return self._base[np.searchsorted(self.begin, pages, side="right") - 1] + pages

    def requests(self, piece: Piece) -> NDArray[np.int32]:
        """A piece's requests, int32 [request, 3], as `Workload` has them."""
        first, last = pages_of(piece)
        rows = np.empty((len(first), 3), np.int32)
        rows[:, 0], rows[:, 1], rows[:, 2] = self(first), last - first + 1, piece.writes
        return rows


def _joined(known: Ranges, waiting: list[Ranges]) -> Ranges:
    begin, end = (np.concatenate(part) for part in zip(known, *waiting, strict=True))
    return merged(begin, end) if len(begin) else (begin, end)
