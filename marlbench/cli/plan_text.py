"""A plan in words and as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from marlbench.cli import words
from marlbench.cli.console import talk
from marlbench.cli.plan import Machine, Plan, most_rows
from marlbench.store.states import State

SCHEMA = 1
_NAMED_DAMAGED = 10
_NAMED_EXTENSIONS = 40


def show_plan(plan: Plan, root: Path, keep_states: int | None = None) -> None:
    """Print the plan on stderr; `keep_states` are the MiB of the largest final state that a job will keep."""
    from marlbench.catalog.lookup import describe

    console = talk()

    def line(text: str, style: str = "") -> None:
        console.print(text, style=style or None, markup=False)

    matrix = plan.matrix
    for suite in matrix.suites:
        label = matrix.labels.get(suite.name, "")
        preset = (
            "" if matrix.preset == "full" else f", preset {matrix.preset}" + (f" ({label})" if label else "")
        )
        line(f"{suite.name}{preset}: {describe(suite.found)}, sha256 {suite.sha256[:12]}", "bold")
    for notice in matrix.notices:
        line(f"note: {notice}", "yellow")
    line(f"  cells   {_cells(plan)}")
    if plan.failed_before:
        line(f"          {words.plural(plan.failed_before, 'cell')} failed before; this is a new attempt")
    _damaged(plan, line)
    _extended(plan, line)
    if plan.jobs:
        line(f"  steps   {plan.steps_left:,} of {plan.steps:,} to go")
        line(f"  jobs    {_jobs(plan)}")
        line(f"  memory  {_memory(plan)}")
        _crowded(plan, line)
        line(f"  time    {_time(plan)}")
        if keep_states:
            _states(plan, keep_states, line)
    line(f"  store   {root}")
    if not plan.jobs:
        line("Nothing to do: every cell is done.")


def to_json(plan: Plan, root: Path) -> dict[str, Any]:
    """The document of `run --dry-run --json`. Bytes and seconds are null where they are not known."""
    memory = plan.memory
    return {
        "schema": SCHEMA,
        "dry_run": True,
        "matrix_id": plan.matrix.id,
        "suites": [
            {"suite": suite.name, "path": str(suite.found.path), "sha256": suite.sha256}
            for suite in plan.matrix.suites
        ],
        "cells": len(plan.matrix.cells),
        **plan.counts,
        "steps": plan.steps,
        "steps_left": plan.steps_left,
        "jobs": len(plan.jobs),
        "jobs_at_once": plan.machine.slots,
        "device": plan.machine.devices.kind,
        "memory_bytes": None if memory is None else plan.machine.demand(memory).memory,
        "disk_bytes": None if memory is None else memory.disk,
        "seconds": plan.seconds,
        **_extended_json(plan),
        "store": str(root),
    }


def _time(plan: Plan) -> str:
    known = plan.jobs_of_known_time
    if not known:
        return "unknown: no earlier run to go by"
    about = f"about {words.duration(plan.known_seconds)}, by earlier runs"
    if known == len(plan.jobs):
        return about
    return f"{about}, for {known:,} of {words.plural(len(plan.jobs), 'job')}; the others' is unknown"


def _cells(plan: Plan) -> str:
    counts = plan.counts
    parts = [
        f"{counts['done']:,} done",
        f"{counts['to_resume']:,} to resume",
        f"{counts['to_run']:,} to run",
        f"{counts['running']:,} running in another run" if counts["running"] else "",
        f"{counts['damaged']:,} damaged" if counts["damaged"] else "",
    ]
    return f"{len(plan.matrix.cells):,}: {', '.join(part for part in parts if part)}"


def _damaged(plan: Plan, line: Any) -> None:
    damaged = [cell for cell in plan.matrix.cells if plan.states[cell.id].state is State.DAMAGED]
    for cell in damaged[:_NAMED_DAMAGED]:
        reason = plan.states[cell.id].detail
        line(f"          damaged, set aside and run again: {words.name(cell)}: {reason}", "yellow")
    if len(damaged) > _NAMED_DAMAGED:
        line(f"          and {len(damaged) - _NAMED_DAMAGED} more damaged cells", "yellow")


def _crowded(plan: Plan, line: Any) -> None:
    """Which cells train on more rows than one instance of their environment should have: a row may be a game."""
    cells = [job.cells[0] for job in plan.jobs]
    crowded = [cell for cell in cells if (most := most_rows(cell)) is not None and cell.rows > most]
    if crowded:
        worst = max(crowded, key=lambda cell: cell.rows)
        most = most_rows(worst)
        line(
            f"  rows    {worst.rows} a seed of {worst.label}/{worst.task}, and a job on '{worst.backend}' should have "
            f"at most {most}: write `rows: {most}` into that entry in a copy of the suite",
            "yellow",
        )


def _states(plan: Plan, keep_states: int, line: Any) -> None:
    """Which jobs will not be able to go on to more steps, although they could be asked to."""
    sizes = [job.memory.disk for job in plan.jobs if job.memory is not None]
    large = [size for size in sizes if size > keep_states << 20]
    if large:
        line(
            f"  states  final states of {words.plural(len(large), 'job')}, up to {words.size(max(large))}, are larger "
            f"than {keep_states} MiB and will not be kept for --extend (--keep-states)"
        )


def _extended(plan: Plan, line: Any) -> None:
    """Which cells go on from which, and why others do not."""
    if plan.extended is None:
        return
    told = [
        f"{words.name(one.cell)} continues {one.source.id[:12]} from {one.source.steps:,} steps"
        for one in plan.extended.continued
        if plan.states[one.cell.id].state is not State.DONE
    ]
    told += [
        f"{words.name(one.cell)} starts at zero, not at the {one.source.steps:,} steps of {one.source.id[:12]}: "
        f"{one.reason}"
        for one in plan.extended.refused
    ]
    if not told and plan.jobs:
        told = ["no cell has a shorter one that is done: nothing to go on from"]
    for index, text in enumerate(told[:_NAMED_EXTENSIONS]):
        line(f"  {'' if index else 'extend':6}  {text}")
    if len(told) > _NAMED_EXTENSIONS:
        line(f"          and {len(told) - _NAMED_EXTENSIONS:,} more; --json lists all")


def _extended_json(plan: Plan) -> dict[str, Any]:
    if plan.extended is None:
        return {}
    return {
        "continued": [
            {"cell": one.cell.id, "source": one.source.id, "from_steps": one.source.steps}
            for one in plan.extended.continued
        ],
        "not_continued": [
            {"cell": one.cell.id, "source": one.source.id, "reason": one.reason}
            for one in plan.extended.refused
        ],
    }


def _jobs(plan: Plan) -> str:
    machine, sizes = plan.machine, sorted({job.members for job in plan.jobs})
    seeds = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    at_once = min(machine.slots, len(plan.jobs))
    return (
        f"{words.plural(len(plan.jobs), 'job')} of {seeds} {'seed' if sizes == [1] else 'seeds'} each, "
        f"{at_once} at once on {_device(machine)}"
    )


def _device(machine: Machine) -> str:
    gpus = machine.devices.gpus
    if not gpus:
        return "the CPU"
    titles = sorted({gpu.title for gpu in gpus if gpu.title})
    return words.plural(len(gpus), "GPU") + (f" ({', '.join(titles)})" if titles else "")


def _memory(plan: Plan) -> str:
    """What the largest job needs, and what there is."""
    memory, machine = plan.memory, plan.machine
    there = f"{words.size(machine.disk)} of disk are free"
    if machine.memory < sys.maxsize:
        there = f"{words.size(machine.memory)} and {there}"
    if memory is None:
        return f"unknown for these tasks; {there}"
    needed = machine.demand(memory)
    on_device = f"{words.size(memory.resident)} on the GPU, " if machine.devices.gpus else ""
    some = " (of some tasks: unknown)" if any(job.memory is None for job in plan.jobs) else ""
    disk = f" and {words.size(needed.disk)} of disk" if needed.disk else ", no disk"
    return f"up to {on_device}{words.size(needed.memory)}{disk} a job{some}; {there}"
