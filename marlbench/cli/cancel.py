"""`marlbench cancel`: end jobs, wherever they run, and take them out of their queues."""

from __future__ import annotations

from typing import Annotated

import typer

from marlbench.cli.options import Json, Results
from marlbench.cli.selecting import Names

SCHEMA = 1

All = Annotated[bool, typer.Option("--all", help="Every unfinished job of the store.")]


def command(names: Names = None, all_: All = False, results: Results = None, as_json: Json = False) -> None:
    """End unfinished jobs after a checkpoint, on this machine, on others and in queues.

    What is done stays. `run`, given again, takes them up where they were left. A second `cancel` has queues end
    those that have not left.
    """
    from marlbench.cli import words
    from marlbench.cli.console import data, print_json, talk
    from marlbench.cli.policy_options import open_store
    from marlbench.cli.queued import withdraw_from_queues
    from marlbench.cli.selecting import chosen
    from marlbench.errors import UsageError

    if not names and not all_:
        raise UsageError("nothing is named that could be cancelled.", "Name suites or cells, or give --all.")
    store = open_store(results)
    store.require_writable()
    wanted = {entry.job for entry in chosen(store, names or ())}
    jobs = [job for job in store.jobs(sorted(wanted)) if job.pending]
    ended = {job.id for job in jobs if store.cancelled(job.id)}
    for job in jobs:
        store.cancel(job.id)
    # Only when every mark is there: a queue may start a job at any moment.
    trouble = withdraw_from_queues(jobs, ended)
    for line in trouble:
        talk().print(f"note: {line}", style="yellow", markup=False)
    running = [job for job in jobs if job.running]
    if as_json:
        document = {
            "schema": SCHEMA,
            "cancelled": [
                {"job": job.id, "cells": list(job.pending), "running": job.running} for job in jobs
            ],
            "trouble": trouble,
        }
        print_json(document)
        return
    told = words.plural(len(jobs), "unfinished job")
    data().print(
        f"{told} cancelled, {len(running)} of them running: these write a checkpoint and leave within seconds.",
        markup=False,
        soft_wrap=True,
    )
