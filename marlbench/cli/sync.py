"""`marlbench sync`: bring MLflow up to date with the store."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from marlbench.cli.options import Results


def command(
    results: Results = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on until the standard input ends (Ctrl-D), then send the rest."),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Ask MLflow for every run and point instead of believing what was noted before."
        ),
    ] = False,
) -> None:
    """Send to MLflow what it lacks of the store: to the database in the store, or to MLFLOW_TRACKING_URI.

    Safe at any time and any number of times: MLflow shows every cell once and every point once.
    """
    from marlbench.store.store import Store
    from marlbench.tracking import sync
    from marlbench.tracking.target import Target

    root = Store.locate(results)
    if follow:
        # Beside a run: training has the cores first.
        os.nice(10)
        sync.follow(root, _say, sys.stdin.fileno())
        return
    report = sync.once(root, _say, verify=verify)
    if report is None:
        _say("another process is sending the results of this store, `marlbench run` for example.")
        return
    _say(
        f"MLflow at {Target.locate(root)} is up to date: "
        f"{report.shown} runs brought up to date, {report.complete} of them complete."
    )


def _say(line: str) -> None:
    sys.stderr.write(f"sync: {line}\n")
    sys.stderr.flush()
