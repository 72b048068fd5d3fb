"""Everything that a study found, ready to be shown: verdicts, what they rest on, and how it came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from marlbench.analysis.runs import run_of
from marlbench.analysis.studies.evidence import Evidence
from marlbench.analysis.studies.readings import Finished, read_finished
from marlbench.analysis.studies.verdicts import Verdict, verdicts
from marlbench.catalog.study import Spot, spots
from marlbench.catalog.study_types import Curves, Measure, Study
from marlbench.store.extensions import stand_ins

if TYPE_CHECKING:
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.store import Store

_READ = {"last": "last", "maximum": "largest", "area": "mean over training of", "train": "in training,"}


@dataclass(frozen=True)
class Measured:
    """What one measure read of the runs of one task and algorithm entry.

    Attributes:
        values: by seed; runs without a value are left out.
    """

    measure: str
    values: Mapping[int, float]

    @property
    def mean(self) -> float | None:
        """None without a run."""
        return fmean(self.values.values()) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The sample's standard deviation; None of fewer than two runs."""
        return stdev(self.values.values()) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Group:
    """One task with one algorithm entry: cells, those that are done, those that diverged, and what was read."""

    spot: Spot
    expected: int
    done: int
    diverged: int
    measured: tuple[Measured, ...]


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Attributes:
        name, title: of the suite file; `digest` is the sha256 of its content.
        preset, label: of the matrix; `matrix` is its id.
        verdicts: one for each claim.
        groups: what the verdicts rest on.
        done, expected: cells.
        command: what to type to get the same.
        cpu_hours: of all runs that are done.
    """

    name: str
    title: str
    study: Study
    digest: str
    preset: str
    label: str
    matrix: str
    verdicts: tuple[Verdict, ...]
    groups: tuple[Group, ...]
    evidence: Evidence
    done: int
    expected: int
    command: str
    cpu_hours: float

    @property
    def finished(self) -> Sequence[Finished]:
        """The cells that are done."""
        return tuple(self.evidence.finished.values())


def find_out(store: Store, matrix: Matrix, command: str) -> Findings:
    """Judge the study of a matrix of one suite by what the store has.

    As in every comparison, a cell that went on from a shorter one stands for one that is missing.

    Raises:
        ValueError: the suite is no study.
        ConfigurationError: a claim reads a metric that the cells do not have.
        StoreError: the store cannot be read.
    """
    matrix_id, matrix = matrix.id, stand_ins(store, matrix).matrix
    loaded = matrix.suites[0]
    study = loaded.suite.study
    if study is None:
        raise ValueError(f"the suite {loaded.name} is no study")
    evidence = Evidence(
        matrix.groups,
        loaded.points,
        read_finished(store, matrix.cells),
        spots(loaded.suite, loaded.points),
    )
    return Findings(
        name=loaded.name,
        title=loaded.suite.title,
        study=study,
        digest=loaded.sha256,
        preset=matrix.preset,
        label=matrix.labels.get(loaded.name, ""),
        matrix=matrix_id,
        verdicts=tuple(verdicts(study, evidence)),
        groups=tuple(_group(one, study, evidence) for one in evidence.here),
        evidence=evidence,
        done=len(evidence.finished),
        expected=len(matrix.cells),
        command=command,
        cpu_hours=sum(
            run_of(one.cell, one.outcome, one.execution).cost.cpu_hours or 0.0
            for one in evidence.finished.values()
        ),
    )


def _group(one: Spot, study: Study, evidence: Evidence) -> Group:
    cells = evidence.group(one).cells
    done = [evidence.finished[cell.id] for cell in cells if cell.id in evidence.finished]
    return Group(
        spot=one,
        expected=len(cells),
        done=len(done),
        diverged=sum(finished.diverged for finished in done),
        measured=tuple(
            Measured(name, evidence.values(measure, one))
            for name, measure in measures(study, evidence, one).items()
        ),
    )


def measures(study: Study, evidence: Evidence, one: Spot) -> dict[str, Measure]:
    """What the claims that take a spot, and the figure, read of its runs: name of the measure -> measure."""
    metric = evidence.group(one).cell.score["metric"]
    found: dict[str, Measure] = {}
    wanted: list[Measure] = [
        claim
        for claim in study.claims.values()
        if any(one in evidence.spots(side) for side in claim.contrast.sides.values())
    ]
    figure = study.figure
    if figure is not None and not isinstance(figure, Curves) and one in evidence.spots(figure.of):
        wanted.append(figure)
    for measure in wanted:
        found.setdefault(name_of(measure, metric), measure)
    return found


def name_of(measure: Measure, metric: str) -> str:
    """What a measure is called: `cooperation`, `largest return_mean x 6 - 75`, `steps to win_rate .5`."""
    name = measure.metric or metric
    if measure.reading == "steps_to":
        name = f"steps to {name} {measure.reach:g}"
    elif measure.reading != "final":
        name = f"{_READ[measure.reading]} {name}"
    if measure.factor != 1:
        name += f" x {measure.factor:g}"
    if measure.offset:
        name += f" {'-' if measure.offset < 0 else '+'} {abs(measure.offset):g}"
    return name
