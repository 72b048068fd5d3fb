"""From the store and a matrix to what a comparison says: estimates, the runs behind them, and notes.

Backends are never pooled: a row belongs to one backend, and so does an aggregate. A cell that is not done is
missing and counted as missing; a cell that diverged is a run with the score of the suite's rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marlbench.analysis import notes
from marlbench.analysis.runs import Run, read_runs
from marlbench.store.states import State

if TYPE_CHECKING:
    from marlbench.analysis.statistics import Estimate
    from marlbench.catalog.cell import Cell
    from marlbench.catalog.matrix import CellGroup, Matrix
    from marlbench.store.store import Store

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """One algorithm on one task.

    Attributes:
        cell: any of the cells, for what they have in common; `cell.label` names the algorithm in the suite.
        n, expected: runs that are counted, and cells of the matrix.
        diverged: how many of the n diverged.
        raw, score: interquartile means over seeds of the metric and of its score; None without a run.
        scores: one for each of the n runs.
    """

    cell: Cell
    n: int
    expected: int
    diverged: int
    raw: Estimate | None
    score: Estimate | None
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Aggregate:
    """One algorithm over the tasks of one backend.

    Attributes:
        tasks: those that count: every algorithm that has a run at all has one there.
        n, expected: runs and cells on these tasks.
        score: interquartile mean over tasks and seeds, every task weighing the same; None where withheld.
    """

    algorithm: str
    backend: str
    tasks: tuple[str, ...]
    n: int
    expected: int
    score: Estimate | None


@dataclass(frozen=True)
class Comparison:
    """What the cells of one suite say.

    Attributes:
        preset, label: the preset of the matrix, and the words that every table of its cells carries.
        protocol: the fields of the protocol that all tasks have in common.
        expected: how many cells the matrix has.
        done: how many of them have a result.
        unfinished: state -> how many of the others.
        notes: what a reader has to know before trusting the numbers.
    """

    suite: str
    preset: str
    label: str
    protocol: Mapping[str, Any]
    expected: int
    done: int
    unfinished: Mapping[str, int]
    rows: tuple[Row, ...]
    aggregate: tuple[Aggregate, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of `compare --json`."""
        return {
            "schema": SCHEMA,
            "suite": self.suite,
            "protocol": {"preset": self.preset, "label": self.label or None, **self.protocol},
            "done": self.done,
            "expected": self.expected,
            "rows": [
                {
                    "task": row.cell.task,
                    "task_revision": row.cell.task_revision,
                    "algorithm": row.cell.label,
                    "algorithm_revision": row.cell.algorithm_revision,
                    "backend": row.cell.backend,
                    "metric": row.cell.score["metric"],
                    "n": row.n,
                    "expected": row.expected,
                    "diverged": row.diverged,
                    **_numbers(row.raw),
                    "score": _numbers(row.score),
                }
                for row in self.rows
            ],
            "aggregate": [
                {
                    "algorithm": one.algorithm,
                    "backend": one.backend,
                    "metric": "score",
                    "tasks": list(one.tasks),
                    "n": one.n,
                    "expected": one.expected,
                    **_numbers(one.score),
                }
                for one in self.aggregate
            ],
            "notes": list(self.notes),
        }


def _numbers(found: Estimate | None) -> dict[str, float | None]:
    return {
        "iqm": found.point if found else None,
        "ci_low": found.low if found else None,
        "ci_high": found.high if found else None,
    }


def compare_matrix(store: Store, matrix: Matrix) -> list[Comparison]:
    """One comparison for each suite that has a cell in the matrix, in its order.

    Raises:
        StoreError: the store cannot be read.
    """
    runs, states = read_runs(store, matrix.cells)
    comparisons = []
    for suite in matrix.suites:
        groups = [group for group in matrix.groups if group.suite is suite]
        if not groups:
            continue
        cells = [cell for group in groups for cell in group.cells]
        here = {cell.id: runs[cell.id] for cell in cells if cell.id in runs}
        unfinished = Counter(
            state.value for cell in cells if (state := states[cell.id].state) is not State.DONE
        )
        rows = _rows(groups, here)
        aggregates = _aggregates(rows)
        protocol, told = notes.common_protocol(groups)
        comparisons.append(
            Comparison(
                suite=suite.name,
                preset=matrix.preset,
                label=matrix.labels.get(suite.name, ""),
                protocol=protocol,
                expected=len(cells),
                done=len(cells) - unfinished.total(),
                unfinished=dict(unfinished),
                rows=rows,
                aggregate=aggregates,
                notes=(
                    *told,
                    *notes.unequal_budgets(groups),
                    *notes.runs_apart(groups, here),
                    *notes.left_out(rows),
                    *notes.mixed(here.values()),
                ),
            )
        )
    return comparisons


def _rows(groups: Sequence[CellGroup], runs: Mapping[str, Run]) -> tuple[Row, ...]:
    from marlbench.analysis.statistics import estimate_each, table

    values: list[list[float]] = []
    diverged: list[int] = []
    for group in groups:
        found = [runs[cell.id] for cell in group.cells if cell.id in runs]
        values.append([run.value for run in found if run.value is not None])
        diverged.append(sum(run.diverged for run in found))
    columns = [column for column in values if column]
    estimates = iter(estimate_each(table(columns)) if columns else ())
    rows = []
    for group, column, count in zip(groups, values, diverged, strict=True):
        low, high = float(group.cell.score["low"]), float(group.cell.score["high"])
        raw = next(estimates) if column else None
        rows.append(
            Row(
                cell=group.cell,
                n=len(column),
                expected=len(group.cells),
                diverged=count,
                raw=raw,
                score=None if raw is None else raw.map(low, high),
                scores=tuple((value - low) / (high - low) for value in column),
            )
        )
    return tuple(rows)


def _aggregates(rows: Sequence[Row]) -> tuple[Aggregate, ...]:
    from marlbench.analysis.statistics import estimate, table

    aggregates = []
    for backend, here in by_backend(rows).items():
        common = common_tasks(here)
        for label in dict.fromkeys(row.cell.label for row in here):
            counted = [row for row in here if row.cell.label == label and row.cell.task in common]
            columns = [row.scores for row in counted]
            whole = bool(columns) and all(columns)
            aggregates.append(
                Aggregate(
                    algorithm=label,
                    backend=backend,
                    tasks=common,
                    n=sum(row.n for row in counted),
                    expected=sum(row.expected for row in counted),
                    score=estimate(table(columns)) if whole else None,
                )
            )
    return tuple(aggregates)


def by_backend(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each backend, in their order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.cell.backend, []).append(row)
    return found


def common_tasks(rows: Sequence[Row]) -> tuple[str, ...]:
    """The tasks on which every algorithm that has a run at all has one."""
    present: dict[str, set[str]] = {}
    for row in rows:
        if row.n:
            present.setdefault(row.cell.label, set()).add(row.cell.task)
    tasks = dict.fromkeys(row.cell.task for row in rows if row.n)
    return tuple(task for task in tasks if all(task in of_label for of_label in present.values()))
