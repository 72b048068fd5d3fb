"""Which figures a report has, from a comparison and the material of its cells; each is drawn, kept and let go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marlbench.analysis.curves import Curve, common_steps, sample_efficiency
from marlbench.analysis.improvement import improvement_matrix
from marlbench.analysis.layout import NAMES
from marlbench.analysis.profiles import performance_profiles
from marlbench.analysis.report import embedding, suite_figures, task_figures
from marlbench.analysis.report.canvas import short_count
from marlbench.analysis.report.style import Style
from marlbench.analysis.statistics import AGGREGATES, aggregates, estimate_each, table

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from marlbench.analysis.report.material import Material
    from marlbench.analysis.statistics import Estimate
    from marlbench.catalog.resolution import CellGroup

Floats = NDArray[np.float64]

# A band is read off a figure: its ends need not be as exact as those of a table.
_RESAMPLES = 2_000
_EFFICIENCY_POINTS = 40


@dataclass(frozen=True)
class Plate:
    """A figure on the page. `name` is also that of its files."""

    name: str
    title: str
    caption: str
    svg: str


class Gallery:
    """Draws figures for one page; within `style.drawing`."""

    def __init__(self, looks: Mapping[str, Style], folder: Path | None) -> None:
        """`folder` is where the figures also go as files; None: nowhere."""
        self.looks = looks
        self._folder = folder

    def over_tasks(
        self, groups: Sequence[CellGroup], tasks: Sequence[str], material: Mapping[str, Material]
    ) -> list[Plate]:
        """The figures over tasks of one backend, whose `groups` are."""
        backend = groups[0].cell.backend
        scores = scores_over_tasks(groups, tasks, material)
        where = f"{len(tasks)} tasks ({backend})" if len(tasks) > 1 else f"{tasks[0]} ({backend})"
        found = aggregates(scores)
        columns = {NAMES[name]: {label: of[name] for label, of in found.items()} for name in AGGREGATES}
        told = "; ".join(f"{label} {_interval(of['iqm'])}" for label, of in found.items())
        plates = [
            self._plate(
                f"aggregates-{backend}",
                "Aggregate scores",
                f"Interquartile mean (IQM), median, mean and optimality gap of the scores over {where}, with 95 % "
                "stratified bootstrap intervals. Higher is better but for the optimality gap, what is missing to "
                "score 1 on average.",
                f"Aggregate scores over {where}. IQM: {told}.",
                suite_figures.aggregate_intervals(columns, self.looks),
            ),
            self._plate(
                f"profiles-{backend}",
                "Performance profiles",
                f"Share of runs on {where} with a score above the threshold, with pointwise 95 % bands. A line "
                "that is higher everywhere is better; where lines cross, it depends on the score that is wanted.",
                f"Performance profiles over {where} of {_listed(scores)}.",
                suite_figures.profile_lines(performance_profiles(scores), self.looks),
            ),
        ]
        if len(scores) > 1:
            better = improvement_matrix(scores)
            told = "; ".join(f"{x} over {y} {_interval(of)}" for (x, y), of in better.items())
            plates.append(
                self._plate(
                    f"improvement-{backend}",
                    "Probability of improvement",
                    f"How probable it is that a run of the row's algorithm scores higher than one of the column's "
                    f"on the same task, averaged over {where}, ties counted one half, with 95 % bootstrap "
                    "intervals. An interval that contains 0.50 leaves open which of the two is better.",
                    f"Probability of improvement over {where}: {told}.",
                    suite_figures.improvement_squares(list(scores), better),
                )
            )
        if efficiency := efficiency_over_tasks(groups, tasks, scores, material):
            told = "; ".join(f"{label} ends at {curve.points[-1]:.3f}" for label, curve in efficiency.items())
            plates.append(
                self._plate(
                    f"efficiency-{backend}",
                    "Sample efficiency",
                    f"Interquartile mean of the scores of the evaluations during training over {where}, with "
                    "pointwise 95 % bootstrap bands.",
                    f"Score over environment steps, over {where}: {told}.",
                    suite_figures.efficiency_curves(efficiency, self.looks),
                )
            )
        return plates

    def of_task(self, groups: Sequence[CellGroup], material: Mapping[str, Material]) -> list[Plate]:
        """The figures of one task: `groups` are its algorithms."""
        cell = groups[0].cell
        task, metric = cell.task, str(cell.score["metric"])
        bounds = float(cell.score["low"]), float(cell.score["high"])
        plates = []
        lines = {
            group.cell.label: line
            for group in groups
            if (line := _line([material[c.id] for c in group.cells if c.id in material], *bounds)) is not None
        }
        if lines:
            told = "; ".join(
                f"{label} ends at {line.curve.points[-1]:.4g} after {short_count(line.curve.steps[-1])} steps"
                for label, line in lines.items()
            )
            plates.append(
                self._plate(
                    f"curves-{task}",
                    "Learning curves",
                    f"{metric} of the evaluations during training: interquartile mean over seeds with its pointwise "
                    "95 % bootstrap band; thin lines are single seeds.",
                    f"Learning curves of {metric} on {task}: {told}.",
                    task_figures.learning_curves(lines, self.looks, metric, bounds),
                )
            )
        episodes = {
            group.cell.label: seeds
            for group in groups
            if (seeds := [material[c.id].episodes for c in group.cells if _has_episodes(c.id, material)])
        }
        if episodes:
            told = "; ".join(
                f"{label} from {min(s.min() for s in seeds):.4g} to {max(s.max() for s in seeds):.4g}"
                for label, seeds in episodes.items()
            )
            plates.append(
                self._plate(
                    f"episodes-{task}",
                    "Episodes of the absolute evaluation",
                    f"{metric} of every episode, all seeds of an algorithm taken together; the marks below are the "
                    "means of its seeds. Each histogram fills its row.",
                    f"Distribution of {metric} over episodes on {task}: {told}.",
                    task_figures.episode_distributions(episodes, self.looks, metric),
                )
            )
        return plates

    def _plate(self, name: str, title: str, caption: str, description: str, figure: Figure) -> Plate:
        if self._folder is not None:
            embedding.write_files(figure, self._folder, name)
        return Plate(name, title, caption, embedding.inline_svg(figure, name, description))


def _line(found: Sequence[Material], low: float, high: float) -> task_figures.Line | None:
    """The curve over the steps that all seeds have, in values of the metric; None where there are none."""
    traces = [one.trace for one in found if one.trace is not None]
    steps = common_steps([traces]) if traces else np.array([], dtype=np.int64)
    if not len(steps):
        return None
    estimates = estimate_each(np.stack([trace.at(steps) for trace in traces]), resamples=_RESAMPLES)
    points, lower, upper = (
        low + (high - low) * np.array([getattr(one, end) for one in estimates], dtype=np.float64)
        for end in ("point", "low", "high")
    )
    spreads = len(traces) > 1
    curve = Curve(steps, points, lower if spreads else None, upper if spreads else None, len(traces))
    seeds = [(trace.steps, low + (high - low) * trace.scores) for trace in traces if len(trace.steps)]
    return task_figures.Line(curve, seeds)


def scores_over_tasks(
    groups: Sequence[CellGroup], tasks: Sequence[str], material: Mapping[str, Material]
) -> dict[str, Floats]:
    """The scores of each algorithm that has a run on every one of the tasks: label -> float [run, task]."""
    found = {}
    for label in dict.fromkeys(group.cell.label for group in groups):
        of_label = {group.cell.task: group for group in groups if group.cell.label == label}
        if not all(task in of_label for task in tasks):
            continue
        columns = [
            [
                (value - float(cell.score["low"])) / (float(cell.score["high"]) - float(cell.score["low"]))
                for cell in of_label[task].cells
                if cell.id in material and (value := material[cell.id].run.value) is not None
            ]
            for task in tasks
        ]
        if all(columns):
            found[label] = table(columns)
    return found


def efficiency_over_tasks(
    groups: Sequence[CellGroup],
    tasks: Sequence[str],
    labels: Iterable[str],
    material: Mapping[str, Material],
) -> dict[str, Curve]:
    """The curve of each label over the tasks; none where they were not trained for the same number of steps."""
    here = [group for group in groups if group.cell.task in tasks]
    if len({group.cell.steps for group in here}) != 1:
        return {}
    traces = {
        label: [
            [trace for cell in group.cells if cell.id in material and (trace := material[cell.id].trace)]
            for group in here
            if group.cell.label == label
        ]
        for label in labels
    }
    steps = common_steps([task for of in traces.values() for task in of], most=_EFFICIENCY_POINTS)
    if len(steps) < 2 or not all(all(of) for of in traces.values()):
        return {}
    return {label: sample_efficiency(of, steps) for label, of in traces.items()}


def _has_episodes(cell: str, material: Mapping[str, Material]) -> bool:
    return cell in material and bool(len(material[cell].episodes))


def _interval(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.point:.3f}"
    return f"{found.point:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _listed(words: Mapping[str, object]) -> str:
    return ", ".join(words)
