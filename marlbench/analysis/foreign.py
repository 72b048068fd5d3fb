"""Results of other programs as runs of the backend `foreign`: in the tables, and never pooled with ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from marlbench.analysis.curves import Trace
from marlbench.analysis.foreign_files import READERS, ForeignRun, read
from marlbench.analysis.runs import Run
from marlbench.catalog.cell import Cell
from marlbench.errors import UsageError, did_you_mean

BACKEND = "foreign"
# For every task that has no bounds of its own.
ANY = "*"


@dataclass(frozen=True)
class Scale:
    """What the values of a task are, and where they score 0 and 1."""

    low: float
    high: float
    metric: str | None = None


@dataclass(frozen=True)
class ForeignGroup:
    """The runs of one algorithm on one task, as cells."""

    cells: tuple[Cell, ...]

    @property
    def cell(self) -> Cell:
        """Any of them, for what they have in common."""
        return self.cells[0]


@dataclass(frozen=True)
class ForeignResults:
    """What was read.

    Attributes:
        name: of the files.
        runs, traces: by id of their cell; scores of the traces are normalised.
        notes: what a reader has to know of them.
    """

    name: str
    groups: tuple[ForeignGroup, ...]
    runs: Mapping[str, Run]
    traces: Mapping[str, Trace] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def parse_file(given: str) -> tuple[Path, str | None]:
    """`FILE` or `FILE:FORMAT`; a colon before anything else belongs to the name of the file."""
    name, colon, kind = given.rpartition(":")
    return (Path(name), kind) if colon and kind in READERS and name else (Path(given), None)


def parse_bounds(given: Sequence[str]) -> dict[str, Scale]:
    """`LOW:HIGH` for every task, or `TASK=LOW:HIGH`.

    Raises:
        UsageError: one of them is neither, or its ends are equal.
    """
    found: dict[str, Scale] = {}
    for text in given:
        task, equals, ends = text.rpartition("=")
        low, colon, high = ends.partition(":")
        try:
            scale = Scale(float(low), float(high))
        except ValueError:
            scale = Scale(math.nan, math.nan)
        if not (colon and math.isfinite(scale.low) and math.isfinite(scale.high)) or scale.low == scale.high:
            raise UsageError(
                f"--bounds {text}: two different numbers were expected.",
                "Write LOW:HIGH or TASK=LOW:HIGH, the values that score 0 and 1.",
            )
        found[task if equals else ANY] = scale
    return found


def gather(
    files: Sequence[str],
    *,
    suite: str | None = None,
    tasks: Mapping[str, Scale] | None = None,
    bounds: Mapping[str, Scale] | None = None,
    metric: str | None = None,
) -> ForeignResults:
    """The runs of all files on one scale for each task.

    Bounds are those of `bounds`, else of the file, else of the suite's task; a metric is the one asked for, else the
    suite's, else the only one.

    Args:
        files: as `parse_file` reads them.
        suite: whose tasks are compared; None where the files are compared by themselves.
        tasks: the suite's tasks; results on others are left out, and it is said.

    Raises:
        UsageError: a file cannot be used, a metric or bounds are missing, or a run is there twice.
    """
    name = suite or "+".join(dict.fromkeys(parse_file(given)[0].stem for given in files))
    wanted, given_bounds = tasks or {}, bounds or {}
    cells: dict[tuple[str, str], dict[int, Cell]] = {}
    runs: dict[str, Run] = {}
    traces: dict[str, Trace] = {}
    left_out: dict[str, None] = {}
    for given in files:
        path, kind = parse_file(given)
        for run in read(path, kind):
            if suite is not None and run.task not in wanted:
                left_out[run.task] = None
                continue
            measured = _metric(run, metric, wanted.get(run.task))
            scale = _scale(run, given_bounds, wanted.get(run.task))
            cell = _cell(run, name, measured, scale, path)
            seeds = cells.setdefault((run.task, run.algorithm), {})
            if run.seed in seeds:
                raise UsageError(
                    f"{run.place}: {run.algorithm} on {run.task}, seed {run.seed} is there twice."
                )
            first = next(iter(seeds.values()), cell)
            if first.score["metric"] != measured or (first.score["low"], first.score["high"]) != (
                scale.low,
                scale.high,
            ):
                raise UsageError(f"{run.place}: its metric or bounds are not those of the runs before.")
            seeds[run.seed] = cell
            runs[cell.id] = Run(run.metrics[measured], False, {}, {})
            if evaluations := run.traces.get(measured):
                steps, values = zip(*evaluations, strict=True)
                scores = (np.array(values) - scale.low) / (scale.high - scale.low)
                traces[cell.id] = Trace(np.array(steps, dtype=np.int64), scores)
    if not cells:
        known = did_you_mean(next(iter(left_out)), wanted)
        raise UsageError(
            f"none of the foreign results is of a task of {suite}: {', '.join(left_out)}.", known
        )
    notes = [f"foreign results ({', '.join(files)}) come from other programs under a protocol of their own"]
    if left_out:
        notes.append(
            f"foreign results left out, for they are of no task compared here: {', '.join(left_out)}"
        )
    ordered = sorted(cells, key=lambda key: list(wanted).index(key[0]) if key[0] in wanted else 0)
    groups = tuple(ForeignGroup(tuple(cells[key][seed] for seed in sorted(cells[key]))) for key in ordered)
    return ForeignResults(name, groups, runs, traces, tuple(notes))


def _metric(run: ForeignRun, asked: str | None, task: Scale | None) -> str:
    for name in (asked, task.metric if task else None):
        if name in run.metrics:
            return str(name)
    # A single column of values or scores has no name that could be another's.
    if len(run.metrics) == 1 and (asked is None or set(run.metrics) <= {"value", "score"}):
        return next(iter(run.metrics))
    wanted = f"'{asked or (task.metric if task else None)}'" if asked or task else "one of several"
    raise UsageError(
        f"{run.place}: the metric to compare is not clear: {wanted} of {', '.join(run.metrics)}.",
        "Name one of them with --metric.",
    )


def _scale(run: ForeignRun, given: Mapping[str, Scale], task: Scale | None) -> Scale:
    scale = given.get(run.task) or given.get(ANY)
    if scale is None and run.bounds is not None:
        scale = Scale(*run.bounds)
    scale = scale or task
    if scale is None:
        raise UsageError(
            f"{run.place}: the bounds of the task '{run.task}' are not known, so its values have no score.",
            f"Give the values that score 0 and 1 with --bounds {run.task}=LOW:HIGH, or name a suite that has the task.",
        )
    if scale.low == scale.high:
        raise UsageError(f"{run.place}: both bounds of the task '{run.task}' are {scale.low:g}.")
    return scale


def _cell(run: ForeignRun, suite: str, metric: str, scale: Scale, path: Path) -> Cell:
    """A cell that says of a foreign run what is known of it."""
    return Cell(
        suite=suite,
        task=run.task,
        task_revision=0,
        environment=BACKEND,
        parameters={},
        backend=BACKEND,
        simulator="",
        data={},
        algorithm=run.algorithm,
        algorithm_revision=0,
        hyperparameters={},
        label=run.algorithm,
        rows=0,
        dtype="",
        protocol={"kind": BACKEND},
        steps=run.steps,
        seed=run.seed,
        score={"metric": metric, "low": scale.low, "high": scale.high, "source": str(path)},
    )
