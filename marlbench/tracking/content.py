"""What the MLflow run of a cell shows: pure functions from the store's documents to names, tags, params and points."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from marlbench.store.states import CellEntry, CellState, State
from marlbench.tracking.target import cut

CELL = "marlbench.cell_id"
JOURNAL = "marlbench.journal"
STORE = "marlbench.store"
SUPERSEDED = "marlbench.superseded"

# Limits that servers since MLflow 1.28 accept; params longer than this are refused by old ones.
KEY_LENGTH = 250
PARAM_LENGTH = 500
TAG_LENGTH = 5000
PARAMS = 200

PREFIXES = {"evaluation": "eval/", "train": "train/", "performance": "perf/", "absolute": "final/absolute_"}
_STATUS = {
    State.PLANNED: "RUNNING",
    State.RUNNING: "RUNNING",
    State.DONE: "FINISHED",
    State.FAILED: "FAILED",
    State.DAMAGED: "FAILED",
    State.INTERRUPTED: "KILLED",
}


class Point(NamedTuple):
    """One value of a metric; `timestamp` in milliseconds since 1970, `step` in environment steps."""

    key: str
    timestamp: int
    step: int
    value: float


@dataclass(frozen=True)
class Page:
    """Everything that the run of a cell shows, but for its artifacts.

    Attributes:
        journal: names the journal it was made from; a journal that began anew has another name.
        ended_ms: None while the run goes on.
        points: in the order of the journal.
    """

    cell: str
    suite: str
    name: str
    journal: str
    started_ms: int
    ended_ms: int | None
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]


def make_page(
    entry: CellEntry,
    state: CellState,
    header: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any] | None,
    attempts: Sequence[Mapping[str, Any]],
    matrices: str,
    store: str,
) -> Page:
    """The page of a cell.

    Args:
        header, records: the journal as far as it is covered.
        result: result.json where the cell is done.
        attempts: the cell's attempts, oldest first.
        matrices: ids of the matrices that hold the cell, joined by spaces.
        store: names the store.
    """
    cell = entry.cell
    last = attempts[-1] if attempts else {}
    execution = result["execution"] if result is not None else {}
    journal = journal_key(header)
    tags = {
        CELL: entry.id,
        JOURNAL: journal,
        STORE: store,
        "marlbench.matrix_id": matrices,
        "marlbench.suite": cell.suite,
        "marlbench.task": cell.task,
        "marlbench.backend": cell.backend,
        "marlbench.source": cell.source or "",
        "marlbench.init_from": cell.init_from["cell"] if cell.init_from is not None else "",
        "marlbench.algorithm": cell.label,
        "marlbench.plugin": cell.algorithm,
        "marlbench.seed": str(cell.seed),
        "marlbench.protocol": describe_protocol(cell.protocol),
        "marlbench.git_sha": _text(execution.get("git_sha")),
        "marlbench.engine": _text(execution.get("engine") or last.get("engine")),
        "marlbench.device": _text(execution.get("device") or last.get("device")),
        "marlbench.resume": _text(result["outcome"].get("resume")) if result is not None else "",
        "marlbench.outcome": state.outcome or str(state.state),
        "mlflow.source.name": "marlbench",
    }
    found = list(points(records))
    if result is not None:
        found += final_points(result)
    status = _STATUS[state.state]
    return Page(
        cell=entry.id,
        suite=cell.suite,
        name=f"{cell.label}/{cell.task}/s{cell.seed}",
        journal=journal,
        started_ms=int(header["time_ms"]),
        ended_ms=None if status == "RUNNING" else _ended(execution, last, records, header),
        status=status,
        params=make_params(entry),
        tags={key: _bounded(value, TAG_LENGTH) for key, value in tags.items() if value},
        points=list(dict.fromkeys(found)),
    )


def journal_key(header: Mapping[str, Any]) -> str:
    """Names a journal: two that began at different times differ."""
    return f"{header['generation']}-{header['time_ms']}"


def make_params(entry: CellEntry) -> dict[str, str]:
    """What charts can group and colour by; hyperparameters are named as `--set` names them."""
    cell = entry.cell
    params = {
        "algorithm": cell.label,
        "task": cell.task,
        "seed": str(cell.seed),
        "backend": cell.backend,
        "steps": str(cell.steps),
        "rows": str(cell.rows),
    }
    for key, value in flatten(cell.hyperparameters, "algorithm"):
        if len(params) == PARAMS:
            break
        params.setdefault(_name(key, KEY_LENGTH), _bounded(_text(value), PARAM_LENGTH))
    return params


def flatten(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries with dotted names; lists are leaves."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}", value


def points(records: Iterable[Mapping[str, Any]]) -> Iterator[Point]:
    """The finite values of a journal's records; kinds that are no metrics are left out."""
    names: dict[tuple[str, str], str] = {}
    for record in records:
        kind = record["kind"]
        if kind not in PREFIXES:
            continue
        timestamp, step = int(record["time_ms"]), int(record["step"])
        for name, value in record["values"].items():
            if value is None or not math.isfinite(value):
                continue
            key = names.get((kind, name))
            if key is None:
                key = names[kind, name] = metric_name(PREFIXES[kind], name)
            yield Point(key, timestamp, step, float(value))


def final_points(result: Mapping[str, Any]) -> Iterator[Point]:
    """What is known of a cell only when it is done: `final/` of its outcome, `perf/` of its execution."""
    outcome, execution = result["outcome"], result["execution"]
    step, timestamp = int(outcome.get("steps") or 0), int(execution.get("finished_ms") or 0)
    groups = [
        ("final/", outcome.get("final") or {}),
        (
            "perf/",
            # Named apart from the journal's own, which end at the same step.
            {
                f"{name}_overall": execution.get(name)
                for name in ("seconds", "cpu_seconds", "peak_memory_bytes", "steps_per_second")
            },
        ),
    ]
    for prefix, values in groups:
        for name, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                yield Point(metric_name(prefix, name), timestamp, step, float(value))


def metric_name(prefix: str, name: str) -> str:
    """A metric's name with exactly one slash and only characters that MLflow takes."""
    return prefix + _name(name.replace("/", "_"), KEY_LENGTH - len(prefix))


def describe_protocol(protocol: Mapping[str, Any]) -> str:
    """A protocol as one line of JSON, options that are not set left out, and those that change no result."""
    told = {key: value for key, value in protocol.items() if value is not None and key != "pictures"}
    return json.dumps(told, sort_keys=True)


def _name(name: str, length: int) -> str:
    name = re.sub(r"[^\w.\- /]", "_", name, flags=re.ASCII)
    # MLflow takes names for paths and refuses those that a file system would write differently.
    name = "/".join(part if part.strip(". ") else "_" for part in name.split("/"))
    return name[:length]


def _ended(
    execution: Mapping[str, Any],
    attempt: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    header: Mapping[str, Any],
) -> int:
    last = records[-1]["time_ms"] if records else header["time_ms"]
    return int(execution.get("finished_ms") or attempt.get("ended_ms") or last)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return cut(value) if "://" in value else value
    return json.dumps(value, sort_keys=True, default=str)


def _bounded(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
