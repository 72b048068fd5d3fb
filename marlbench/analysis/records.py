"""Comparisons for programs: one JSON document, or CSV with a line for each row, aggregate and published number."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from marlbench.analysis.marks import Marks
from marlbench.analysis.significance import LEVEL
from marlbench.analysis.statistics import AGGREGATES, AggregateName, Estimate

if TYPE_CHECKING:
    from marlbench.analysis.comparison import Aggregate, Comparison, Row
    from marlbench.analysis.published import PublishedRow
    from marlbench.analysis.runs import Cost

SCHEMA = 1

COLUMNS = (
    "kind",
    "suite",
    "preset",
    "task",
    "task_revision",
    "backend",
    "algorithm",
    "algorithm_revision",
    "metric",
    "direction",
    "steps",
    "n",
    "expected",
    "diverged",
    *(
        f"{of}{name}{end}"
        for name in AGGREGATES
        for of in ("", "score_")
        if (of, name) != ("", "optimality_gap")
        for end in ("", "_low", "_high")
    ),
    "best",
    "not_told_apart",
    "p",
    "steps_per_second",
    "cpu_hours",
    "gpu_hours",
    "peak_memory_bytes",
    "agent_bytes",
    "decision_microseconds",
    "protocol",
    "source",
    "label",
)


def document(comparison: Comparison) -> dict[str, Any]:
    """The JSON document of a comparison; docs/reference.md describes its fields. Numbers that do not exist are null."""
    first = comparison.shown[0]
    return {
        "schema": SCHEMA,
        "suite": comparison.suite,
        "protocol": {"preset": comparison.preset, "label": comparison.label or None, **comparison.protocol},
        "done": comparison.done,
        "expected": comparison.expected,
        "aggregates": list(comparison.shown),
        "rows": [_row(row, first) for row in comparison.rows],
        "aggregate": [_aggregate(one, first) for one in comparison.aggregate],
        "tests": {
            "test": "permutation of runs within tasks, Welch's statistic, two-sided",
            "correction": "Holm, over all pairs of a task or aggregate",
            "level": LEVEL,
            "pairs": [
                {
                    "task": one.task,
                    "backend": one.backend,
                    "x": one.test.x,
                    "y": one.test.y,
                    "difference": one.test.difference,
                    "p": one.test.p,
                    "adjusted_p": one.test.adjusted,
                }
                for one in comparison.tests
            ],
        },
        "published": [_published(row) for row in comparison.published],
        "notes": list(comparison.notes),
    }


def csv_text(comparisons: Iterable[Comparison]) -> str:
    """CSV with the columns above; what does not apply or does not exist is empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for comparison in comparisons:
        common = {
            "suite": comparison.suite,
            "preset": comparison.preset,
            "protocol": " ".join(
                f"{key}={value}" for key, value in comparison.protocol.items() if value is not None
            ),
        }
        told = document(comparison)
        for row in told["rows"]:
            estimates = _spread("", row["estimates"]) | _spread("score_", row["score"]["estimates"])
            writer.writerow(_line("row", common | row | row["cost"] | estimates))
        for one in told["aggregate"]:
            estimates = _spread("score_", one["estimates"])
            writer.writerow(
                _line("aggregate", common | one | one["cost"] | estimates | {"task": " ".join(one["tasks"])})
            )
        for row in told["published"]:
            numbers = {"iqm": row["value"], "score_iqm": row["score"]}
            # A published number is whatever its paper averaged; it stands in no column of ours but its own.
            writer.writerow(
                _line(
                    "published", common | row | {"mean": numbers["iqm"], "score_mean": numbers["score_iqm"]}
                )
            )
    return stream.getvalue()


def _line(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    line = {"kind": kind, **{column: fields[column] for column in COLUMNS if column in fields}}
    return {
        key: "" if value is None else str(value).lower() if isinstance(value, bool) else value
        for key, value in line.items()
    }


def _spread(prefix: str, estimates: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    return {
        f"{prefix}{name}{end}": of[key]
        for name, of in estimates.items()
        for end, key in (("", "point"), ("_low", "ci_low"), ("_high", "ci_high"))
    }


def _row(row: Row, first: AggregateName) -> dict[str, Any]:
    cell = row.cell
    return {
        "task": cell.task,
        "task_revision": cell.task_revision or None,
        "algorithm": cell.label,
        "algorithm_revision": cell.algorithm_revision or None,
        "backend": cell.backend,
        "metric": cell.score["metric"],
        "direction": "min" if cell.score["low"] > cell.score["high"] else "max",
        "low": cell.score["low"],
        "high": cell.score["high"],
        "steps": cell.steps or None,
        "n": row.n,
        "expected": row.expected,
        "diverged": row.diverged,
        **_numbers(row.raw),
        "estimates": _estimates(row.raw_estimates),
        "score": {**_numbers(row.score), "estimates": _estimates(row.score_estimates)},
        **_mark(row.marks, first),
        "cost": _cost(row.cost),
    }


def _aggregate(one: Aggregate, first: AggregateName) -> dict[str, Any]:
    return {
        "algorithm": one.algorithm,
        "backend": one.backend,
        "metric": "score",
        "tasks": list(one.tasks),
        "n": one.n,
        "expected": one.expected,
        **_numbers(one.score),
        "estimates": _estimates(one.estimates),
        **_mark(one.marks, first),
        "cost": _cost(one.cost),
    }


def _published(row: PublishedRow) -> dict[str, Any]:
    return {
        "task": row.task,
        "backend": row.backend,
        "algorithm": row.algorithm,
        "metric": row.metric,
        "value": row.value,
        "as_published": row.as_published,
        "score": row.score,
        "steps": row.steps,
        "label": row.label,
        "source": row.source,
        "protocol": row.protocol,
        "differences": list(row.differences),
    }


def _numbers(found: Estimate | None) -> dict[str, float | None]:
    return {
        "iqm": found.point if found else None,
        "ci_low": found.low if found else None,
        "ci_high": found.high if found else None,
    }


def _estimates(found: Mapping[AggregateName, Estimate]) -> dict[str, dict[str, float | None]]:
    return {name: {"point": one.point, "ci_low": one.low, "ci_high": one.high} for name, one in found.items()}


def _mark(marks: Marks, first: AggregateName) -> dict[str, Any]:
    mark = marks.get(first)
    return {
        "best": bool(mark and mark.best),
        "not_told_apart": bool(mark and mark.tied),
        "p": mark.p if mark else None,
    }


def _cost(cost: Cost) -> dict[str, float | None]:
    return {
        "steps_per_second": cost.steps_per_second,
        "cpu_hours": cost.cpu_hours,
        "gpu_hours": cost.gpu_hours,
        "peak_memory_bytes": cost.peak_memory_bytes,
        "agent_bytes": cost.agent_bytes,
        "decision_microseconds": cost.decision_microseconds,
    }
