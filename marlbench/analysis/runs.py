"""The one number of each finished cell, the circumstances under which it came about, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from marlbench.store.summary import Summary, summarise

if TYPE_CHECKING:
    from marlbench.catalog.cell import Cell
    from marlbench.store.states import CellState
    from marlbench.store.store import Store

HOUR = 3600.0


@dataclass(frozen=True)
class Cost:
    """What runs cost; a field is None where it was not recorded. Seeds that train in one job share its cost.

    Attributes:
        steps_per_second: environment steps of all seeds of the job per second of its time.
        cpu_hours: processor time of a run, in hours: that of its job by the seeds trained there.
        gpu_hours: the same of a GPU, for the time that the job had it; None where the run used none.
        peak_memory_bytes: the most memory that its job had resident on the host.
        agent_bytes: what the agents of one system need, where the method tells it.
        decision_microseconds: processor time of their decision at one step, likewise.
    """

    steps_per_second: float | None = None
    cpu_hours: float | None = None
    gpu_hours: float | None = None
    peak_memory_bytes: float | None = None
    agent_bytes: float | None = None
    decision_microseconds: float | None = None


UNKNOWN = Cost()


@dataclass(frozen=True)
class Run:
    """A cell that is done.

    Attributes:
        value: its raw metric: of the absolute evaluation, or of the last one where the protocol has no
            absolute evaluation; by the suite's rule where the run diverged; None where it is not finite.
        circumstances: what may differ between runs of one table without being part of a cell's identity.
        versions: of Python and the packages that the run had imported.
    """

    value: float | None
    diverged: bool
    circumstances: Mapping[str, str]
    versions: Mapping[str, str]
    cost: Cost = UNKNOWN


def read_runs(store: Store, cells: Iterable[Cell]) -> tuple[dict[str, Run], dict[str, CellState]]:
    """The runs of those cells that are done, and the states of all, by id.

    Raises:
        StoreError: the store cannot be read.
    """
    wanted = {cell.id: cell for cell in cells}
    states, summaries = store.summaries(wanted)
    # Thousands of runs have a handful of conditions, each of them one object.
    circumstances: dict[int, Mapping[str, str]] = {}
    runs = {}
    for cell_id, summary in summaries.items():
        key = id(summary.conditions)
        if key not in circumstances:
            circumstances[key] = _circumstances(summary.conditions)
        runs[cell_id] = _run(wanted[cell_id], summary, circumstances[key])
    return runs, states


def run_of(cell: Cell, outcome: Mapping[str, Any], execution: Mapping[str, Any]) -> Run:
    """The run that the outcome and the execution of a result describe."""
    summary = summarise({"outcome": outcome, "execution": execution})
    return _run(cell, summary, _circumstances(summary.conditions))


def _run(cell: Cell, summary: Summary, circumstances: Mapping[str, str]) -> Run:
    low, high, metric = float(cell.score["low"]), float(cell.score["high"]), cell.score["metric"]
    diverged = summary.status == "diverged"
    value: float | None
    if diverged:
        value = low + float(cell.protocol["diverged_score"]) * (high - low)
    else:
        found = summary.absolute.get(metric, summary.final.get(metric))
        value = float(found) if found is not None and math.isfinite(found) else None
    return Run(value, diverged, circumstances, summary.conditions.get("versions") or {}, _cost(summary))


def together(costs: Sequence[Cost]) -> Cost:
    """The cost of one of several runs: median speed and time of a decision, mean hours, greatest memory."""
    speeds, cpu, gpu, memory, agents, decisions = (
        [value for cost in costs if (value := getattr(cost, field.name)) is not None]
        for field in fields(Cost)
    )
    return Cost(
        median(speeds) if speeds else None,
        fmean(cpu) if cpu else None,
        fmean(gpu) if gpu else None,
        max(memory, default=None),
        max(agents, default=None),
        median(decisions) if decisions else None,
    )


def _cost(summary: Summary) -> Cost:
    cost = summary.cost
    members = cost.get("members", 1.0)
    seconds, cpu, speed = (cost.get(key) for key in ("seconds", "cpu_seconds", "steps_per_second"))
    gpu = seconds if _device(summary.conditions) not in ("", "cpu") else None
    return Cost(
        steps_per_second=None if speed is None else speed * members,
        cpu_hours=None if cpu is None else cpu / members / HOUR,
        gpu_hours=None if gpu is None else gpu / members / HOUR,
        peak_memory_bytes=cost.get("peak_memory_bytes"),
        agent_bytes=cost.get("agent_bytes"),
        decision_microseconds=cost.get("decision_microseconds"),
    )


def _device(conditions: Mapping[str, Any]) -> str:
    return str(conditions.get("device") or "").partition(":")[0]


def _circumstances(conditions: Mapping[str, Any]) -> dict[str, str]:
    device = _device(conditions)
    name = conditions.get("device_name")
    commit, dash, dirty = str(conditions.get("git_sha") or "").partition("-")
    found = {
        "device": f"{device} ({name})" if name and device != "cpu" else device,
        "engine": conditions.get("engine"),
        "threads": conditions.get("threads"),
        "commit": f"{commit[:10]}{dash}{dirty}",
    }
    return {key: str(value) for key, value in found.items() if value not in (None, "")}
