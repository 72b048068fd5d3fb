"""Fresh, calibrated runs of a matrix in a store of their own: what `regress` and `reference create` have in common."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from marlbench.catalog.matrix import Matrix
    from marlbench.engines.jobs import Report
    from marlbench.store.store import Store

SCHEMA = 1
# In the store: which code its runs were made by.
NAME = "fresh.json"

OwnResults = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="DIR",
        help="A store for these runs alone; the same command goes on in it. Default: a temporary one.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, metavar="N", help="Processes at once. Default: one for each core."),
]


@contextlib.contextmanager
def own_store(results: Path | None, matrix: Matrix) -> Iterator[Store]:
    """The store of these runs. A temporary one is removed when the block is left without an error.

    Raises:
        StoreError: it holds runs of other code, or runs that were not made for this.
    """
    from marlbench.cli.console import talk
    from marlbench.store.store import Store

    if results is not None:
        store = Store.open(Store.locate(results), create=True)
        claim(store, matrix)
        yield store
        return
    root = Path(tempfile.mkdtemp(prefix="marlbench-fresh-"))
    store = Store.open(root, create=True)
    claim(store, matrix)
    try:
        yield store
    except BaseException:
        talk().print(f"The runs are kept: --results {root} goes on with them.", markup=False)
        raise
    shutil.rmtree(root, ignore_errors=True)


def claim(store: Store, matrix: Matrix) -> None:
    """Note the code in the store, or check that it is the code whose runs the store holds.

    A cell's identity does not tell code from code, so without this a result from before a change would be judged
    as if the change had made it.
    """
    from marlbench.analysis.fingerprint import fingerprint
    from marlbench.errors import StoreError
    from marlbench.store import durable
    from marlbench.store.states import State

    path = store.root / NAME
    code = fingerprint(matrix)
    try:
        document = durable.read(path)
    except ValueError:
        document = {}
    states = store.states(cell.id for cell in matrix.cells).values()
    empty = all(state.state is State.PLANNED for state in states)
    if document is None or (empty and document.get("code") != code):
        if not empty:
            raise StoreError(
                f"the store {store.root} holds runs that were not made by this command.",
                "Fresh runs need a store of their own: name an empty directory with --results, or none.",
            )
        durable.write_json(path, {"schema": SCHEMA, "code": code})
    elif document.get("code") != code:
        raise StoreError(
            f"the store {store.root} holds runs of other code: since then, marlbench or a plug-in was changed.",
            "Name an empty directory with --results, or none.",
        )


def train(store: Store, matrix: Matrix, jobs: int | None) -> Report:
    """Bring the cells of the matrix to their end, each in a process of its own on the CPU, and calibrated.

    Raises:
        UsageError, StoreError: they do not fit into memory or on the disk.
    """
    from marlbench.cli import words
    from marlbench.cli.console import talk
    from marlbench.cli.jobs import Alone, run_jobs
    from marlbench.cli.plan import Machine, make_plan
    from marlbench.engines.devices import resolve_devices
    from marlbench.engines.jobs import Report
    from marlbench.engines.machine import free_disk, free_memory
    from marlbench.engines.slots import slot_count

    devices = resolve_devices("cpu")
    machine = Machine(devices, slot_count(devices, jobs), free_memory(), free_disk(store.root))
    plan = make_plan(matrix, store, machine, 1)
    before = f", {plan.done} of them done before" if plan.done else ""
    talk().print(
        f"{words.plural(len(matrix.cells), 'run')}{before}, {machine.slots} at once, in {store.root}",
        markup=False,
    )
    return run_jobs(plan, store, Alone(), calibrate=True, keep_states=0) if plan.jobs else Report()


def slots(jobs: int | None) -> int:
    """How many runs there are at once."""
    from marlbench.engines.devices import resolve_devices
    from marlbench.engines.slots import slot_count

    return slot_count(resolve_devices("cpu"), jobs)


def stop_where_interrupted(report: Report) -> None:
    """Leave with the exit code of the signal that stopped the runs, if one did."""
    from marlbench.cli.command_lines import invocation
    from marlbench.cli.console import talk

    if report.signal is not None:
        talk().print(f"Stopped. Go on with the same --results: {invocation()}", markup=False)
        raise typer.Exit(128 + report.signal)


def tell_failures(report: Report, matrix: Matrix, store: Store) -> None:
    """Name the cells that failed, on stderr."""
    from marlbench.cli import words
    from marlbench.cli.command_lines import again
    from marlbench.cli.console import talk

    cells = {cell.id: cell for cell in matrix.cells}
    for failure in report.failures:
        command = again("logs", store.root, failure.cell[:12])
        name = words.name(cells[failure.cell])
        talk().print(f"failed: {name}: {failure.kind}: {failure.reason} ({command})", markup=False)
