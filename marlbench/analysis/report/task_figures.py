"""The two figures of a task: how well it was played over the course of training, and episode by episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marlbench.analysis.report.canvas import Floats, count_axis, legend, line_with_band, paper, settle
from marlbench.analysis.report.style import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from marlbench.analysis.curves import Curve

Steps = NDArray[np.int64]

# Places along x that the thin line of a seed keeps: more cannot be told apart at this width.
_THIN = 60
_BINS = 40


@dataclass(frozen=True)
class Line:
    """The learning curve of one algorithm on one task, in values of the task's metric.

    Attributes:
        seeds: (steps [time], values [time]) of each seed.
    """

    curve: Curve
    seeds: Sequence[tuple[Steps, Floats]]


def learning_curves(
    lines: Mapping[str, Line], looks: Mapping[str, Style], metric: str, bounds: tuple[float, float]
) -> Figure:
    """Interquartile mean over seeds with its band, every seed as a thin line, over environment steps.

    Args:
        bounds: values of the metric at the scores 0 and 1; an axis on the right has the scores.
    """
    shown = {label: looks[label] for label in lines}
    figure, columns = paper(3.1, list(shown))
    axes = figure.add_subplot()
    for label, line in lines.items():
        look, curve = shown[label], line.curve
        thin = np.concatenate([_thinned(*seed) for seed in line.seeds])
        axes.plot(thin[:, 0], thin[:, 1], color=look.colour, linewidth=0.6, alpha=0.35, zorder=2)
        line_with_band(axes, look, curve.steps, curve.points, curve.low, curve.high)
    count_axis(axes, "environment steps")
    axes.set_ylabel(metric)
    axes.margins(x=0.02)
    _score_axis(axes, *bounds)
    legend(figure, shown, columns)
    return settle(figure)


def _thinned(steps: Steps, values: Floats) -> Floats:
    """[place, 2] with a gap at the end; the last evaluation is always kept."""
    places = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _THIN)).round().astype(int))
    return np.vstack([np.column_stack([steps[places], values[places]]), [[np.nan, np.nan]]])


def _score_axis(axes: Axes, low: float, high: float) -> None:
    def to_score(value: Any) -> Any:
        return (value - low) / (high - low)

    def from_score(score: Any) -> Any:
        return low + score * (high - low)

    right = axes.secondary_yaxis("right", functions=(to_score, from_score))
    right.set_ylabel("score")
    right.spines["right"].set_visible(True)


def episode_distributions(
    episodes: Mapping[str, Sequence[Floats]], looks: Mapping[str, Style], metric: str
) -> Figure:
    """A histogram for each algorithm over one axis of values, with the mean of every seed as a mark below it.

    Every histogram is as high as its row, so heights compare shares within one algorithm only.

    Args:
        episodes: label -> float [episode] of each seed.
    """
    labels = list(episodes)
    figure, _ = paper(0.55 + 0.42 * len(labels))
    axes = figure.add_subplot()
    pooled = {label: np.concatenate(seeds) for label, seeds in episodes.items()}
    edges = _edges(np.concatenate(list(pooled.values())))
    for row, label in enumerate(reversed(labels)):
        counts, _ = np.histogram(pooled[label], edges)
        colour = looks[label].colour
        axes.stairs(row + 0.72 * counts / counts.max(), edges, baseline=row, fill=True, color=colour)
        means = [float(seed.mean()) for seed in episodes[label]]
        axes.plot(means, [row - 0.1] * len(means), "|", markersize=6, markeredgewidth=1.4, color=colour)
    axes.set_yticks([row + 0.3 for row in range(len(labels))], labels[::-1])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(False, axis="y")
    axes.set_ylim(-0.25, len(labels) - 0.15)
    axes.set_xlabel(f"{metric} of an episode")
    return settle(figure)


def _edges(values: Floats) -> Floats:
    low, high = float(values.min()), float(values.max())
    margin = (high - low) / (2 * _BINS) or max(abs(high), 1.0) / _BINS
    return np.linspace(low - margin, high + margin, _BINS + 1)
