"""The figures over all tasks of a suite: aggregates, performance profiles, probabilities of improvement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from marlbench.analysis.report.canvas import count_axis, legend, line_with_band, paper, settle
from marlbench.analysis.report.style import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from marlbench.analysis.curves import Curve
    from marlbench.analysis.profiles import Profile
    from marlbench.analysis.statistics import Estimate


def aggregate_intervals(columns: Mapping[str, Mapping[str, Estimate]], looks: Mapping[str, Style]) -> Figure:
    """One panel for each aggregate, in it the point and the interval of every algorithm.

    Args:
        columns: name of the aggregate -> label -> estimate.
    """
    labels = list(dict.fromkeys(label for column in columns.values() for label in column))
    figure, _ = paper(0.75 + 0.24 * len(labels))
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, (name, column) in zip(panels, columns.items(), strict=True):
        for row, label in enumerate(labels):
            found = column.get(label)
            if found is None:
                continue
            look = looks[label]
            if found.low is not None and found.high is not None:
                axes.barh(
                    row, found.high - found.low, left=found.low, height=0.6, color=look.colour, alpha=0.35
                )
            axes.plot([found.point] * 2, [row - 0.3, row + 0.3], color=look.colour, linewidth=2.2)
        axes.set_title(name)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=4)
        axes.margins(x=0.1)
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].set_ylim(len(labels) - 0.4, -0.6)
    figure.supxlabel("score", fontsize=9)
    return settle(figure)


def profile_lines(profiles: Mapping[str, Profile], looks: Mapping[str, Style]) -> Figure:
    """The share of runs above each score; the higher line is better, and where lines cross, neither is."""
    shown = {label: looks[label] for label in profiles}
    figure, columns = paper(3.0, list(shown))
    axes = figure.add_subplot()
    for label, profile in profiles.items():
        line_with_band(axes, shown[label], profile.thresholds, profile.points, profile.low, profile.high)
    axes.set_xlabel("score threshold")
    axes.set_ylabel("share of runs above it")
    axes.set_ylim(-0.03, 1.03)
    axes.margins(x=0.02)
    legend(figure, shown, columns)
    return settle(figure)


def efficiency_curves(curves: Mapping[str, Curve], looks: Mapping[str, Style]) -> Figure:
    """The interquartile mean of the scores over all tasks, over environment steps."""
    shown = {label: looks[label] for label in curves}
    figure, columns = paper(3.0, list(shown))
    axes = figure.add_subplot()
    for label, curve in curves.items():
        line_with_band(axes, shown[label], curve.steps, curve.points, curve.low, curve.high)
    count_axis(axes, "environment steps")
    axes.set_ylabel("score")
    axes.margins(x=0.02)
    legend(figure, shown, columns)
    return settle(figure)


def improvement_squares(labels: Sequence[str], better: Mapping[tuple[str, str], Estimate]) -> Figure:
    """How probable it is that a run of the row's algorithm beats one of the column's, with the interval below.

    Args:
        better: (row, column) -> probability.
    """
    count = len(labels)
    side = max(0.62 * count, 1.4)
    figure, _ = paper(side + 0.7, width=side + 0.6 + 0.075 * max(map(len, labels)))
    axes = figure.add_subplot()
    points = np.array(
        [[better[row, column].point if row != column else np.nan for column in labels] for row in labels]
    )
    # A half is white, and the two colours differ for every kind of colour vision.
    axes.pcolormesh(np.ma.masked_invalid(points), cmap="PuOr", vmin=0, vmax=1, edgecolors="none")
    for (row, column), found in better.items():
        place = (labels.index(column) + 0.5, labels.index(row) + 0.5)
        ends = found.low is not None and found.high is not None
        inside: dict[str, Any] = {"ha": "center", "va": "center", "textcoords": "offset points"}
        inside["color"] = "#ffffff" if found.point < 0.12 or found.point > 0.8 else "#000000"
        axes.annotate(f"{found.point:.2f}", place, xytext=(0, 4 if ends else 0), **inside)
        if ends:
            interval = f"{found.low:.2f} to {found.high:.2f}"
            axes.annotate(interval, place, xytext=(0, -7), fontsize=5.5, **inside)
    axes.set_xticks(np.arange(count) + 0.5, labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(count) + 0.5, labels)
    axes.set_xlabel("... beats a run of this")
    axes.set_ylabel("a run of this ...")
    axes.invert_yaxis()
    axes.set_aspect("equal")
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return settle(figure)
