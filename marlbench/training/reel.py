"""Moments of an episode of unknown length, of which only so many will be shown."""

from __future__ import annotations

from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Reel(Generic[Entry]):
    """Moments thinned out evenly to less than twice as many as are wanted, and always the last.

    Args:
        wanted: how many are shown at most; at least 2.
    """

    def __init__(self, wanted: int) -> None:
        self.wanted, self.stride, self.seen = wanted, 1, 0
        self.kept: list[Entry] = []
        self.last: Entry | None = None

    def add(self, entry: Entry) -> None:
        self.last = entry
        if self.seen % self.stride == 0:
            self.kept.append(entry)
            if len(self.kept) == 2 * self.wanted:
                self.kept, self.stride = self.kept[::2], 2 * self.stride
        self.seen += 1

    def chosen(self, count: int) -> list[Entry]:
        """At most `count` moments, spread evenly over the episode; the first and the last are among them."""
        kept = self.kept if self.last is None or self.kept[-1] is self.last else [*self.kept, self.last]
        if len(kept) <= count:
            return kept
        gaps = max(1, count - 1)
        return [kept[round(index * (len(kept) - 1) / gaps)] for index in range(gaps + 1)]
