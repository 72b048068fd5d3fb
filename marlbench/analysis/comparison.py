"""From the store and a matrix to what a comparison says: estimates, the runs behind them, and notes.

Backends are never pooled: a row belongs to one backend, and so does an aggregate. A cell that is not done is
missing and counted as missing; a cell that diverged is a run with the score of the suite's rule. Results of other
programs are runs of the backend `foreign`; published numbers are shown and never counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from marlbench.analysis import notes
from marlbench.analysis.runs import UNKNOWN, Cost, Run, read_runs, together
from marlbench.store.extensions import stand_ins
from marlbench.store.states import State

if TYPE_CHECKING:
    from marlbench.analysis.foreign import ForeignResults
    from marlbench.analysis.marks import Marks
    from marlbench.analysis.published import Published, PublishedRow
    from marlbench.analysis.significance import Test
    from marlbench.analysis.statistics import AggregateName, Estimate
    from marlbench.catalog.cell import Cell
    from marlbench.catalog.matrix import Matrix
    from marlbench.store.store import Store


class Group(Protocol):
    """Cells of one task and one label, such as a `CellGroup` of a matrix: all but the seed is equal."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All of them."""

    @property
    def cell(self) -> Cell:
        """Any of them, for what they have in common."""


@dataclass(frozen=True)
class Row:
    """One algorithm on one task.

    Attributes:
        cell: any of the cells, for what they have in common; `cell.label` names the algorithm in the suite.
        n, expected: runs that are counted, and cells of the matrix.
        diverged: how many of the n diverged.
        raw, score: interquartile means over seeds of the metric and of its score; None without a run.
        scores: one for each of the n runs.
        raw_estimates, score_estimates: aggregate -> estimate over the runs of this task; of the metric there is no
            optimality gap.
        marks: aggregate -> whether its score is the best of this task and backend, or not told from it.
        cost: of one run.
    """

    cell: Cell
    n: int
    expected: int
    diverged: int
    raw: Estimate | None
    score: Estimate | None
    scores: tuple[float, ...]
    raw_estimates: Mapping[AggregateName, Estimate] = field(default_factory=dict)
    score_estimates: Mapping[AggregateName, Estimate] = field(default_factory=dict)
    marks: Marks = field(default_factory=dict)
    cost: Cost = UNKNOWN


@dataclass(frozen=True)
class Aggregate:
    """One algorithm over the tasks of one backend.

    Attributes:
        tasks: those that count: every algorithm that has a run at all has one there.
        n, expected: runs and cells on these tasks.
        score: interquartile mean over tasks and seeds, every task weighing the same; None where withheld.
        estimates: aggregate -> estimate; empty where withheld.
        marks: aggregate -> whether it is the best of the backend, or not told from it.
        cost: of one run on these tasks.
    """

    algorithm: str
    backend: str
    tasks: tuple[str, ...]
    n: int
    expected: int
    score: Estimate | None
    estimates: Mapping[AggregateName, Estimate] = field(default_factory=dict)
    marks: Marks = field(default_factory=dict)
    cost: Cost = UNKNOWN


@dataclass(frozen=True)
class Tested:
    """A test of two algorithms on one task, or over the tasks of the aggregate (`task` is None)."""

    task: str | None
    backend: str
    test: Test


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
        shown: the aggregates that tables show; of single tasks the first of them.
        tests: behind the marks.
        published: numbers from papers, never pooled with the rows.
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
    shown: tuple[AggregateName, ...] = ("iqm",)
    tests: tuple[Tested, ...] = ()
    published: tuple[PublishedRow, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of `compare --json`."""
        from marlbench.analysis.records import document

        return document(self)


def compare_matrix(
    store: Store,
    matrix: Matrix,
    *,
    shown: tuple[AggregateName, ...] = ("iqm",),
    foreign: ForeignResults | None = None,
    published: Sequence[Published] = (),
) -> list[Comparison]:
    """One comparison for each suite that has a cell in the matrix, in its order.

    Args:
        shown: the aggregates that tables show.
        foreign: results of other programs, for the matrix's only suite.
        published: numbers to set beside the rows of their tasks.

    Where a cell has no result, one of the same steps that goes on from a shorter one stands for it, and a note says so.

    Raises:
        StoreError: the store cannot be read.
    """
    matrix = stand_ins(store, matrix).matrix
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
        protocol, told = notes.common_protocol(groups)
        told += [*notes.simulators(groups), *notes.unequal_budgets(groups)]
        told += [*notes.tuned(groups), *notes.runs_apart(groups, here)]
        told += [*notes.started(groups), *notes.continued(store, groups, here)]
        rows, aggregates, tests = judged([*groups, *(foreign.groups if foreign else ())], here | _of(foreign))
        told += notes.agents(rows)
        beside = [row for numbers in published for row in numbers.beside(suite.name, rows)]
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
                    *notes.left_out(rows),
                    *notes.too_few(rows),
                    *notes.mixed(here.values()),
                    *(foreign.notes if foreign else ()),
                    *notes.beside(beside),
                ),
                shown=shown,
                tests=tests,
                published=tuple(beside),
            )
        )
    return comparisons


def compare_foreign(results: ForeignResults, *, shown: tuple[AggregateName, ...] = ("iqm",)) -> Comparison:
    """The comparison of results of other programs alone."""
    rows, aggregates, tests = judged(results.groups, results.runs)
    count = sum(row.expected for row in rows)
    return Comparison(
        suite=results.name,
        preset="full",
        label="",
        protocol={"kind": "foreign"},
        expected=count,
        done=count,
        unfinished={},
        rows=rows,
        aggregate=aggregates,
        notes=(*notes.left_out(rows), *notes.too_few(rows), *results.notes),
        shown=shown,
        tests=tests,
    )


def _of(foreign: ForeignResults | None) -> dict[str, Run]:
    return dict(foreign.runs) if foreign else {}


def judged(
    groups: Sequence[Group], runs: Mapping[str, Run]
) -> tuple[tuple[Row, ...], tuple[Aggregate, ...], tuple[Tested, ...]]:
    """Rows, aggregates and the tests of both; `runs` by id of their cell."""
    rows, of_tasks = _rows(groups, runs)
    aggregates, over_tasks = _aggregates(rows)
    return rows, aggregates, (*of_tasks, *over_tasks)


def _rows(groups: Sequence[Group], runs: Mapping[str, Run]) -> tuple[tuple[Row, ...], list[Tested]]:
    from marlbench.analysis.statistics import estimate_each, table

    found = [[runs[cell.id] for cell in group.cells if cell.id in runs] for group in groups]
    values = [[run.value for run in of if run.value is not None] for of in found]
    bounds = [(float(group.cell.score["low"]), float(group.cell.score["high"])) for group in groups]
    scores = [
        [(value - low) / (high - low) for value in column]
        for column, (low, high) in zip(values, bounds, strict=True)
    ]
    filled = [place for place, column in enumerate(values) if column]
    raw: list[dict[AggregateName, Estimate]] = [{} for _ in groups]
    score: list[dict[AggregateName, Estimate]] = [{} for _ in groups]
    if filled:
        columns, normalised = (table([of[place] for place in filled]) for of in (values, scores))
        names: tuple[AggregateName, ...] = ("iqm", "median", "mean")
        for name in names:
            for place, one in zip(filled, estimate_each(columns, aggregate=name), strict=True):
                raw[place][name] = one
                score[place][name] = one.map(*bounds[place])
        for place, one in zip(filled, estimate_each(normalised, aggregate="optimality_gap"), strict=True):
            score[place]["optimality_gap"] = one
    marks, tests = _marks_of_tasks(groups, score, scores)
    rows = tuple(
        Row(
            cell=group.cell,
            n=len(values[place]),
            expected=len(group.cells),
            diverged=sum(run.diverged for run in found[place]),
            raw=raw[place].get("iqm"),
            score=score[place].get("iqm"),
            scores=tuple(scores[place]),
            raw_estimates=raw[place],
            score_estimates=score[place],
            marks=marks.get(place, {}),
            cost=together([run.cost for run in found[place]]),
        )
        for place, group in enumerate(groups)
    )
    return rows, tests


def _marks_of_tasks(
    groups: Sequence[Group],
    estimates: Sequence[Mapping[AggregateName, Estimate]],
    scores: Sequence[Sequence[float]],
) -> tuple[dict[int, Marks], list[Tested]]:
    """The marks by place of the group, and the tests of every task."""
    from marlbench.analysis.marks import marked

    blocks: dict[tuple[str, str], dict[str, int]] = {}
    for place, group in enumerate(groups):
        if scores[place]:
            blocks.setdefault((group.cell.task, group.cell.backend), {})[group.cell.label] = place
    marks: dict[int, Marks] = {}
    told = []
    for (task, backend), places in blocks.items():
        found, tests = marked(
            {label: estimates[place] for label, place in places.items()},
            {label: [scores[place]] for label, place in places.items()},
        )
        marks |= {place: found[label] for label, place in places.items()}
        told += [Tested(task, backend, test) for test in tests]
    return marks, told


def _aggregates(rows: Sequence[Row]) -> tuple[tuple[Aggregate, ...], list[Tested]]:
    from marlbench.analysis.marks import marked
    from marlbench.analysis.statistics import aggregates, table

    found = []
    told = []
    for backend, here in by_backend(rows).items():
        common = common_tasks(here)
        counted = {
            label: sorted(
                (row for row in here if row.cell.label == label and row.cell.task in common),
                key=lambda row: common.index(row.cell.task),
            )
            for label in dict.fromkeys(row.cell.label for row in here)
        }
        columns = {
            label: [row.scores for row in of]
            for label, of in counted.items()
            if len(of) == len(common) and common and all(row.n for row in of)
        }
        estimates = aggregates({label: table(of) for label, of in columns.items()}) if columns else {}
        marks, tests = marked(estimates, columns)
        told += [Tested(None, backend, test) for test in tests]
        for label, of in counted.items():
            here_estimates = estimates.get(label, {})
            found.append(
                Aggregate(
                    algorithm=label,
                    backend=backend,
                    tasks=common,
                    n=sum(row.n for row in of),
                    expected=sum(row.expected for row in of),
                    score=here_estimates.get("iqm"),
                    estimates=here_estimates,
                    marks=marks.get(label, {}),
                    cost=together([row.cost for row in of]),
                )
            )
    return tuple(found), told


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
