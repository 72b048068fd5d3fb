"""The figure of a study: a heat map over two axes of its grid, means along one axis, bars, or learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from marlbench.analysis.report.canvas import count_axis, legend, line_with_band, paper, settle
from marlbench.analysis.report.style import Style, styles
from marlbench.analysis.studies.contrasts import Linear, key_of
from marlbench.analysis.studies.findings import Findings, name_of
from marlbench.analysis.studies.spreads import Spread, spread
from marlbench.catalog.study import Spot
from marlbench.catalog.study_types import Bars, Curves, HeatMap, Lines, Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from marlbench.analysis.curves import Curve

# Two-sided error of the bars and bands, which are of single groups and not simultaneous.
_ERROR = 0.05
_PANEL = 2.3  # inches
_ACROSS = 3


@dataclass(frozen=True)
class Seen:
    """One group of cells with what the figure reads of its runs."""

    spot: Spot
    spread: Spread

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % t-interval of the mean; the mean itself where a single run shows no spread."""
        key = key_of(self.spot)
        found = Linear(self.spread.value, {key: 1.0}).estimate({key: self.spread}, _ERROR)
        if found.low is None or found.high is None:
            return found.point, found.point
        return found.low, found.high


def draw(findings: Findings) -> Figure | None:
    """The figure that the study asks for, else bars of what its first claim reads; None where nothing is done.

    Call it within `style.drawing()`.
    """
    wanted = findings.study.figure
    if isinstance(wanted, Curves):
        return _curves(findings, wanted)
    if wanted is None:
        first = next(iter(findings.study.claims.values()))
        wanted = Bars(kind="bars", **{name: getattr(first, name) for name in Measure.model_fields})
    seen = [
        Seen(one, spread(list(values.values()), "mean"))
        for one in findings.evidence.spots(wanted.of)
        if (values := findings.evidence.values(wanted, one))
    ]
    if not seen:
        return None
    metric = findings.evidence.group(seen[0].spot).cell.score["metric"]
    name = name_of(wanted, metric)
    if isinstance(wanted, HeatMap):
        return _heat_map(seen, wanted.x, wanted.y, name)
    if isinstance(wanted, Lines):
        return _lines(seen, wanted.x, name)
    return _bars(seen, name)


def _levels(seen: Sequence[Seen], axis: str) -> list[str]:
    """The levels of an axis: numbers in their order, others as they come."""
    found = list(dict.fromkeys(one.spot.coordinates[axis] for one in seen if axis in one.spot.coordinates))
    try:
        return sorted(found, key=float)
    except ValueError:
        return found


def _panels(seen: Sequence[Seen], coordinate: str) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {}
    for one in seen:
        found.setdefault(one.spot.coordinates[coordinate], []).append(one)
    return found


def _grid_of_panels(count: int, names: Sequence[str] = ()) -> tuple[Figure, list[Axes], int]:
    across = min(_ACROSS, count)
    rows = math.ceil(count / across)
    figure, columns = paper(_PANEL * rows, names)
    places = figure.subplots(rows, across, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in places[count:]:
        axes.set_visible(False)
    return figure, list(places[:count]), columns


def _heat_map(seen: Sequence[Seen], x: str, y: str, name: str) -> Figure:
    panels = _panels([one for one in seen if {x, y} <= one.spot.coordinates.keys()], "algorithm")
    across, up = _levels(seen, x), _levels(seen, y)
    figure, places, _ = _grid_of_panels(len(panels))
    values = [one.spread.value for one in seen]
    low, high = min(values), max(values)
    picture: Any = None
    for axes, (label, of) in zip(places, panels.items(), strict=True):
        table = np.full((len(up), len(across)), np.nan)
        for one in of:
            at = one.spot.coordinates
            table[up.index(at[y]), across.index(at[x])] = one.spread.value
        picture = axes.imshow(table, origin="lower", aspect="auto", cmap="cividis", vmin=low, vmax=high)
        _ticks(axes, across, up)
        axes.set_title(label)
        axes.grid(False)
        if len(across) <= 6 and len(up) <= 8:
            _write_numbers(axes, table, (low + high) / 2)
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    figure.colorbar(picture, ax=places, label=name)
    return settle(figure)


def _ticks(axes: Axes, across: Sequence[str], up: Sequence[str]) -> None:
    for ticks, levels, turned in ((axes.set_xticks, across, 90), (axes.set_yticks, up, 0)):
        step = max(1, math.ceil(len(levels) / 10))
        ticks(range(0, len(levels), step), list(levels[::step]), rotation=turned if len(levels) > 5 else 0)


def _write_numbers(axes: Axes, table: Any, middle: float) -> None:
    for (row, column), value in np.ndenumerate(table):
        if not math.isnan(value):
            colour = "black" if value > middle else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)


def _lines(seen: Sequence[Seen], x: str, name: str) -> Figure:
    seen = [one for one in seen if x in one.spot.coordinates]
    entries = list(_panels(seen, "algorithm"))
    looks = styles(entries)
    panels: dict[str, list[Seen]] = {}
    for one in seen:
        rest = [one.spot.coordinates["task"]]
        rest += [
            f"{axis} {at}"
            for axis, at in one.spot.coordinates.items()
            if axis not in (x, "task", "algorithm")
        ]
        panels.setdefault(", ".join(rest), []).append(one)
    figure, places, columns = _grid_of_panels(len(panels), entries)
    levels = _levels(seen, x)
    for axes, (title, of) in zip(places, panels.items(), strict=True):
        for entry, line in _panels(of, "algorithm").items():
            line.sort(key=lambda one: levels.index(one.spot.coordinates[x]))
            _line(axes, looks[entry], [_position(one.spot.coordinates[x], levels) for one in line], line)
        axes.set_title(title)
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(name, fontsize=9)
    legend(figure, looks, columns)
    return settle(figure)


def _line(axes: Axes, look: Style, at: Sequence[float], line: Sequence[Seen]) -> None:
    ends = np.array([one.interval for one in line])
    line_with_band(
        axes, look, np.array(at), np.array([one.spread.value for one in line]), ends[:, 0], ends[:, 1]
    )


def _position(level: str, levels: Sequence[str]) -> float:
    try:
        return float(level)
    except ValueError:
        return float(levels.index(level))


def _bars(seen: Sequence[Seen], name: str) -> Figure:
    """A mark with its interval for each group, one below the other, task by task."""
    labels = list(dict.fromkeys(one.spot.label for one in seen))
    looks = styles(labels)
    tasks: dict[str, list[Seen]] = {}
    for one in seen:
        tasks.setdefault(one.spot.task, []).append(one)
    figure, _ = paper(0.7 + 0.24 * len(seen) + 0.2 * len(tasks))
    axes = figure.add_subplot()
    height, ticks = 0.0, []
    for task, of in reversed(tasks.items()):
        for one in reversed(of):
            low, high = one.interval
            colour = looks[one.spot.label].colour
            axes.plot([low, high], [height, height], color=colour, linewidth=1.4)
            axes.plot([one.spread.value], [height], marker=looks[one.spot.label].marker, color=colour)
            told = one.spot.label if len(tasks) == 1 else f"{task}  {one.spot.label}"
            ticks.append((height, told))
            height += 1
        height += 0.6
    axes.set_yticks([at for at, _ in ticks], [told for _, told in ticks])
    axes.grid(False, axis="y")
    axes.set_xlabel(name)
    return settle(figure)


def _curves(findings: Findings, wanted: Curves) -> Figure | None:
    from marlbench.analysis.curves import sample_efficiency
    from marlbench.analysis.traces import trace_of

    evidence = findings.evidence
    spots = evidence.spots(wanted.of)
    tasks: dict[str, dict[str, Curve]] = {}
    for one in spots:
        done = [
            evidence.finished[cell.id] for cell in evidence.group(one).cells if cell.id in evidence.finished
        ]
        if traces := [trace for found in done if (trace := trace_of(found.cell, found.outcome))]:
            tasks.setdefault(one.task, {})[one.label] = sample_efficiency([traces], aggregate="mean")
    if not tasks:
        return None
    labels = list(dict.fromkeys(one.label for one in spots))
    looks = styles(labels)
    figure, places, columns = _grid_of_panels(len(tasks), labels)
    for axes, (task, curves) in zip(places, tasks.items(), strict=True):
        for label, curve in curves.items():
            line_with_band(axes, looks[label], curve.steps, curve.points, curve.low, curve.high)
        axes.set_title(task)
        count_axis(axes, "")
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel("score", fontsize=9)
    legend(figure, looks, columns)
    return settle(figure)
