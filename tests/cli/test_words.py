from __future__ import annotations

from dataclasses import dataclass

import pytest

from marlbench.cli import words


@dataclass
class Named:
    label: str
    task: str
    seed: int


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1024, "1.0 KiB"),
        (350 << 20, "350 MiB"),
        (1000 << 20, "1.0 GiB"),
        (3 << 30, "3.0 GiB"),
        (66 << 30, "66 GiB"),
        (5 << 40, "5.0 TiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3599.7, "1 h"),
        (7500, "2 h 5 min"),
        (86400, "1 d"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_cells_of_a_job() -> None:
    cells = [Named("ippo", "spread", seed) for seed in (2, 0, 1, 7)]
    assert words.names(cells[:1]) == "ippo/spread seed 2"
    assert words.names(cells) == "ippo/spread seeds 0-2,7"
    assert words.name(cells[0]) == "ippo/spread/s2"


def test_counts() -> None:
    assert [words.plural(count, "cell") for count in (0, 1, 1200)] == ["0 cells", "1 cell", "1,200 cells"]
    assert words.listed(("a", "", "b")) == "a · b"
