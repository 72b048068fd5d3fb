"""How figures look: one colour, dash and marker for each algorithm, the same in every figure of a suite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# Okabe and Ito's palette for every kind of colour vision, without black and yellow, which vanish on dark and on
# light paper, and with a grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C")
_DASHES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "d", "p")

# What is drawn in this colour takes the page's colour of text, light or dark (see `embedding`).
INK = "#010203"

_SETTINGS: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "path.simplify": False,
    "axes.formatter.use_mathtext": False,
    # A dollar sign in a user's name for something is no formula.
    "text.parse_math": False,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
}


@dataclass(frozen=True)
class Style:
    """The look of one algorithm; no two of the first 21 share colour and dash, nor colour and marker."""

    colour: str
    dash: Any
    marker: str


def styles(labels: Sequence[str]) -> dict[str, Style]:
    """A style for each label, by its place: give all labels of a suite, not those selected."""
    return {
        label: Style(
            _COLOURS[place % len(_COLOURS)],
            _DASHES[place // len(_COLOURS) % len(_DASHES)],
            _MARKERS[place % len(_MARKERS)],
        )
        for place, label in enumerate(dict.fromkeys(labels))
    }


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """matplotlib with the settings above and nothing of the user's own, which would change the files."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield
