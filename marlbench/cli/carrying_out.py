"""From a matrix to an exit code: plan, train what is missing, keep MLflow up to date, tell how it ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from marlbench.cli.command_lines import again, invocation
from marlbench.errors import CELLS_FAILED

if TYPE_CHECKING:
    from pathlib import Path

    from marlbench.catalog.cell import Cell
    from marlbench.catalog.matrix import Matrix
    from marlbench.cli.plan import Machine, Plan
    from marlbench.cli.projector import Projector
    from marlbench.cli.training_options import How
    from marlbench.engines.jobs import Report
    from marlbench.store.states import CellState
    from marlbench.store.store import Store

SCHEMA = 1
# Failed cells that the last lines name.
_NAMED_FAILURES = 20


class Ending(Protocol):
    """What happens with the results once nothing is left to train."""

    def keep(self, fresh: bool) -> None:
        """Write what stays in the store, from where MLflow is sent it; `fresh`: there are new results."""

    def show(self, outcome: Mapping[str, object], stopped: bool) -> None:
        """Tell the user; `outcome` counts the cells, `stopped`: by a signal."""


def show_dry(matrix: Matrix, how: How, as_json: bool) -> None:
    """Show the plan and write nothing."""
    from marlbench.cli.console import print_json
    from marlbench.cli.plan_text import show_plan, to_json
    from marlbench.store.store import Store

    root = how.root
    store = Store.open(root, read_only=True) if (root / "store.json").exists() else None
    plan = _plan(matrix, store, how.machine(), how.seeds_per_job, how.extend)
    show_plan(plan, root, how.keep_states)
    _tell_stages(matrix, store)
    if as_json:
        print_json(to_json(plan, root))


def _tell_stages(matrix: Matrix, store: Store | None) -> None:
    from marlbench.cli import words
    from marlbench.cli.console import talk
    from marlbench.store.states import State

    for number, cells in enumerate(matrix.stages, 1):
        states = {} if store is None else store.states(cell.id for cell in cells)
        done = sum(state.state is State.DONE for state in states.values())
        told = f"Stage {number}: {words.plural(len(cells), 'cell')} from which others start, {done} done"
        names = ", ".join(sorted({f"{cell.label}/{cell.task}" for cell in cells}))
        talk().print(f"{told}: {names}.", markup=False)


def _plan(
    matrix: Matrix, store: Store | None, machine: Machine, seeds_per_job: int | None, extend: bool
) -> Plan:
    from marlbench.cli.plan import make_plan

    if store is None or not extend:
        return make_plan(matrix, store, machine, seeds_per_job)
    from marlbench.store import extensions

    extended = extensions.extend(store, matrix)
    return make_plan(extended.matrix, store, machine, seeds_per_job, extended=extended)


def carry_out(matrix: Matrix, how: How, end: Callable[[Store, Matrix], Ending]) -> int:
    """Run what is missing of a matrix and tell how it ended; returns the exit code.

    `end` is given the store and the matrix, in which cells may go on from others.
    """
    from marlbench.cli.console import talk
    from marlbench.cli.jobs import run_jobs
    from marlbench.cli.plan_text import show_plan
    from marlbench.cli.projector import IMPATIENT_SECONDS, PATIENCE_SECONDS, Projector
    from marlbench.engines.jobs import Report
    from marlbench.store.store import Store

    machine = how.machine()
    store = Store.open(how.root, create=True)
    for number, stage in enumerate(matrix.stages, 1):
        if (code := _carry_out_stage(stage, number, how, store)) is not None:
            return code
    plan = _plan(matrix, store, machine, how.seeds_per_job, how.extend)
    show_plan(plan, store.root, how.keep_states)
    _tidy(plan, store)
    projector = Projector(store.root)
    patience = IMPATIENT_SECONDS
    report = Report()
    ending = end(store, plan.matrix)
    try:
        if plan.jobs:
            report = run_jobs(plan, store, projector, engine=how.engine, keep_states=how.keep_states)
        else:
            # What an earlier run could not send any more.
            projector.start()
        states = store.states(cell.id for cell in plan.matrix.cells)
        outcome = _count(plan, states, report)
        if report.detached:
            talk().print(
                f"{again('status', store.root)} shows them; to wait for them: {invocation()}", markup=False
            )
        elif report.signal is None:
            patience = PATIENCE_SECONDS
            # Before the last pass of the projector, which sends it to MLflow.
            ending.keep(fresh=bool(plan.jobs))
        else:
            queued = how.engine.queue() is not None
            talk().print(_safe_words(report.signal, outcome, states, queued), markup=False)
    finally:
        _finish(projector, store.root, patience)
    ending.show(outcome, stopped=report.signal is not None or report.detached)
    if report.failures:
        _tell_failures(plan, store, report)
    if report.signal is not None:
        return 128 + report.signal
    return CELLS_FAILED if report.failures or report.cancelled else 0


def _carry_out_stage(cells: Sequence[Cell], number: int, how: How, store: Store) -> int | None:
    """Run cells that others start from; the exit code where these cannot start yet."""
    from marlbench.catalog.matrix import of_cells
    from marlbench.cli import words
    from marlbench.cli.console import talk
    from marlbench.store.states import State

    def missing() -> int:
        states = store.states(cell.id for cell in cells)
        return sum(state.state is not State.DONE for state in states.values())

    if not (left := missing()):
        return None
    talk().print(f"Stage {number}: {words.plural(left, 'cell')} from which others start.", markup=False)
    code = carry_out(of_cells(cells), replace(how, extend=False), lambda store, matrix: Stage())
    if not (left := missing()):
        return None
    talk().print(
        f"{words.plural(left, 'cell')} of this stage not done: what starts from them waits. "
        f"When they are done, give the same command again: {invocation()}",
        markup=False,
    )
    return code


class Stage:
    """The end of cells that others start from: the run goes on with those."""

    def keep(self, fresh: bool) -> None:
        """Reports are of what was asked for."""

    def show(self, outcome: Mapping[str, object], stopped: bool) -> None:
        """What was asked for is told at the end."""


def _finish(projector: Projector, root: Path, patience: float) -> None:
    from marlbench.cli.console import talk

    trouble = projector.finish(patience)
    for line in projector.news():
        talk().print(f"note: {line}", markup=False)
    if trouble:
        catches_up = f"{again('sync', root)} catches up"
        talk().print(f"note: MLflow is not up to date: {trouble.rstrip('.')}; {catches_up}.", markup=False)


def _tidy(plan: Plan, store: Store) -> None:
    """Take away what jobs left behind that were killed after their last result."""
    from marlbench.store.states import State

    finished = {}
    for cell in plan.matrix.cells:
        state = plan.states[cell.id]
        if state.state is State.DONE and state.job is not None:
            finished[state.job] = cell
    left = [cell for job, cell in finished.items() if store.progress(job) is not None]
    if left:
        store.claim(left, plan.machine.slots)


def _count(plan: Plan, states: Mapping[str, CellState], report: Report) -> dict[str, object]:
    from marlbench.store.states import State

    done = sum(state.state is State.DONE for state in states.values())
    failed = len(
        {failure.cell for failure in report.failures if states[failure.cell].state is not State.DONE}
    )
    return {
        "schema": SCHEMA,
        "matrix_id": plan.matrix.id,
        "cells": len(states),
        "done": done,
        "done_before": plan.done,
        "done_now": done - plan.done,
        "failed": failed,
        "interrupted": len(states) - done - failed,
    }


def _tell_failures(plan: Plan, store: Store, report: Report) -> None:
    from marlbench.cli import words
    from marlbench.cli.console import talk

    console = talk()
    cells = {cell.id: cell for cell in plan.matrix.cells}
    console.print(f"{words.plural(len(report.failures), 'cell')} failed:", style="bold red")
    for failure in report.failures[:_NAMED_FAILURES]:
        command = again("logs", store.root, failure.cell[:12])
        name = words.name(cells[failure.cell])
        console.print(f"  {name}: {failure.kind}: {failure.reason} ({command})", markup=False)
    if len(report.failures) > _NAMED_FAILURES:
        rest = len(report.failures) - _NAMED_FAILURES
        console.print(f"  and {rest} more: {again('status', store.root)}", markup=False)
    console.print(f"To try them again: {invocation()}", markup=False)


def _safe_words(
    number: int, outcome: Mapping[str, object], states: Mapping[str, CellState], queued: bool
) -> str:
    from marlbench.store.states import State

    begun = sum(state.state is State.INTERRUPTED for state in states.values())
    cause = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    parts = [f"Stopped by {cause}. Safe on disk: {outcome['done']} of {outcome['cells']} cells are done"]
    if queued:
        parts.append(", jobs in the queue go on (`marlbench cancel` ends them)")
    elif begun:
        parts.append(f", {begun} begun ones go on from their last checkpoint")
    return f"{''.join(parts)}.\nGo on with: {invocation()}"
