"""What the figures share: paper, legend, numbers on axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marlbench.analysis.report.style import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

WIDTH = 6.4  # inches: the width of a column of text
_LEGEND_ROW = 0.2
_CHARACTER = 0.085  # inches, of the legend's font on average


def paper(height: float, legend: Sequence[str] = (), width: float = WIDTH) -> tuple[Figure, int]:
    """An empty figure, and how many columns its legend may have; `height` in inches without the legend.

    The legend stands above everything else, so that it never covers data.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    longest = max(map(len, legend), default=0) * _CHARACTER + 0.6
    columns = max(1, min(len(legend), int((width - 0.2) / longest))) if legend else 1
    rows = math.ceil(len(legend) / columns)
    figure = Figure(figsize=(width, height + rows * _LEGEND_ROW), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, columns


def legend(figure: Figure, looks: Mapping[str, Style], columns: int, *, filled: bool = False) -> None:
    """A legend of algorithms above the axes; `filled` for areas instead of lines."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if not looks:
        return
    handles = [
        Patch(facecolor=look.colour, label=label)
        if filled
        else Line2D([], [], color=look.colour, linestyle=look.dash, marker=look.marker, label=label)
        for label, look in looks.items()
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, columnspacing=1.4)


def line_with_band(
    axes: Axes, look: Style, x: NDArray[Any], middle: Floats, low: Floats | None, high: Floats | None
) -> None:
    """A line in the look of its algorithm, about ten marks along it, and its band where it has one."""
    if low is not None and high is not None:
        axes.fill_between(x, low, high, color=look.colour, alpha=0.2, linewidth=0, zorder=1)
    axes.plot(
        x,
        middle,
        color=look.colour,
        linestyle=look.dash,
        marker=look.marker,
        markevery=max(1, len(x) // 10),
        zorder=3,
    )


def settle(figure: Figure) -> Figure:
    """Lay the figure out once, whatever it is written as later."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def count_axis(axes: Axes, name: str) -> None:
    """Environment steps along x: 200k, 1.5M."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlabel(name)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: short_count(value)))


def short_count(value: float) -> str:
    """200k, 1.5M, 2G."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"
