"""Numbers and cells as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from marlbench.catalog.selection import format_seeds


class Named(Protocol):
    """What has the name of a cell (`marlbench.catalog.cell.Cell`)."""

    @property
    def label(self) -> str: ...

    @property
    def task(self) -> str: ...

    @property
    def seed(self) -> int: ...


def name(cell: Named) -> str:
    """`ippo/simple_spread/s3`."""
    return f"{cell.label}/{cell.task}/s{cell.seed}"


def names(cells: Sequence[Named]) -> str:
    """Cells of one job: `ippo/simple_spread seed 3`, `ippo/simple_spread seeds 0-4`."""
    seeds = sorted(cell.seed for cell in cells)
    text = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {format_seeds(seeds)}"
    return f"{cells[0].label}/{cells[0].task} {text}"


def size(count: int) -> str:
    """Bytes with a binary prefix and about three digits: `0 B`, `512 KiB`, `1.5 GiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration(seconds: float) -> str:
    """Two units at most: `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, small, large, factor in (("min", "s", 3600, 60), ("h", "min", 86400, 3600)):
        if whole < large:
            rest = whole % factor // (factor // 60)
            return f"{whole // factor} {unit}" + (f" {rest} {small}" if rest else "")
    rest = whole % 86400 // 3600
    return f"{whole // 86400} d" + (f" {rest} h" if rest else "")


def number(value: float) -> str:
    """A measured value with about four digits."""
    return f"{value:.4g}"


def plural(count: int, thing: str) -> str:
    """`1 cell`, `1,200 cells`."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def listed(parts: Iterable[str]) -> str:
    """The parts that are not empty, with a dot between them."""
    return " · ".join(part for part in parts if part)
